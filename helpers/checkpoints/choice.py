"""Checking the reader's own model (TRACE_MODEL) before anything is loaded: a folder of this machine, or a
Hub id.

What the library would say late, and in terms of its own files, is said here at once and with what to do.
"""

from __future__ import annotations

import json
from pathlib import Path

from helpers import safetensors_header
from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints.hub_errors import USE_DEMO, out_of_reach, plain_hub_errors
from helpers.checkpoints.hub_reach import hub_answers
from helpers.checkpoints.hub_weights import PICKLED_WEIGHTS, check_weights_on_hub

GENERATING_ARCHITECTURES = ("ForCausalLM", "LMHeadModel")


def checked_model(model: str) -> str:
    """Return what `from_pretrained` takes: the absolute path of a local folder, or the Hub id as it is.

    A local folder wins over a Hub id of the same spelling, as in transformers.
    Raises CheckpointError when the model is not there, is gated, is damaged, or is no causal language model.
    """
    folder = Path(model).expanduser()
    if folder.exists():
        return str(_checked_folder(folder))
    if spelt_as_path(model):
        raise CheckpointError(f"TRACE_MODEL={model!r}: there is no such folder: correct the path, {USE_DEMO}")
    return _checked_hub_id(model)


def spelt_as_path(model: str) -> bool:
    """Whether a name can only be a path of this machine, never a Hub id."""
    return model.startswith((".", "~", "/")) or "\\" in model or Path(model).is_absolute() or model.count("/") > 1


def _checked_folder(folder: Path) -> Path:
    folder = folder.resolve()
    if not folder.is_dir():
        raise CheckpointError(
            f"TRACE_MODEL={str(folder)!r} is a file: give the folder that holds config.json and the weights, {USE_DEMO}"
        )
    config = folder / "config.json"
    if not config.is_file():
        raise CheckpointError(f"{folder} has no config.json, so it is no checkpoint: give another folder, {USE_DEMO}")
    _check_causal_lm(str(folder), config)
    _check_weights(folder)
    return folder


def _check_weights(folder: Path) -> None:
    if any((folder / name).is_file() for name in PICKLED_WEIGHTS) and not safetensors_header.shard_files(folder):
        return
    if not safetensors_header.shard_files(folder):
        raise CheckpointError(
            f"{folder} has neither {safetensors_header.SINGLE_FILE} nor {safetensors_header.INDEX}: "
            f"fetch the weights in transformers' format, {USE_DEMO}"
        )
    safetensors_header.check_shards(folder)


def _check_causal_lm(model: str, config_file: Path) -> None:
    """transformers itself would load a BERT as a causal LM, with a head that was never trained."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as causal_classes

    config = _read_config(config_file)
    model_type, architectures = config.get("model_type"), config.get("architectures") or []
    if isinstance(architectures, str):
        architectures = [architectures]
    other = f"set TRACE_MODEL to a model with a ...ForCausalLM architecture, {USE_DEMO}"
    if "AutoModelForCausalLM" in (config.get("auto_map") or {}) and model_type not in causal_classes:
        raise CheckpointError(
            f"{model} brings its own modelling code, which this project does not run (trust_remote_code): {other}"
        )
    if model_type not in causal_classes:
        known = model_type in transformers.CONFIG_MAPPING
        what = "is no causal language model" if known else f"is not known to transformers {transformers.__version__}"
        raise CheckpointError(f"{model} has model_type {model_type!r}, which {what}: {other}")
    generating = causal_classes[model_type]
    accepted = {generating} if isinstance(generating, str) else set(generating)
    decoder_only = not config.get("is_encoder_decoder")
    for name in architectures:
        multimodal = decoder_only and name.endswith("ForConditionalGeneration")
        if name in accepted or name.endswith(GENERATING_ARCHITECTURES) or multimodal:
            return
    if architectures:
        raise CheckpointError(f"{model} was trained as {', '.join(architectures)}, no causal language model: {other}")


def _read_config(path: Path) -> dict:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}: {error}): fetch it again") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} is not a model configuration: fetch it again")
    return config


def _checked_hub_id(model: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError:
        raise CheckpointError(
            f"TRACE_MODEL={model!r} is neither a folder of this machine nor a Hub id (owner/name): correct "
            f"it, {USE_DEMO}"
        ) from None
    reached = hub_answers()
    with plain_hub_errors(model):
        config_file = Path(hf_hub_download(model, "config.json", local_files_only=not reached))
    _check_causal_lm(model, config_file)
    if not _weights_in_cache(config_file.parent):
        if not reached:
            raise CheckpointError(out_of_reach(model))
        check_weights_on_hub(model)
    return model


def _weights_in_cache(snapshot: Path) -> bool:
    """True when the weights lie beside the cached config.json; CheckpointError when one is damaged."""
    if any((snapshot / name).is_file() for name in PICKLED_WEIGHTS):
        return True
    shards = safetensors_header.shard_files(snapshot)
    if not shards or not all(path.is_file() for path in shards):
        return False
    safetensors_header.check_shards(snapshot)
    return True
