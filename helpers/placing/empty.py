"""The model of a checkpoint on the meta device, from its config alone, and the class of transformers that makes it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from helpers import compat
from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints import choice
from helpers.checkpoints.shaped_build import SHAPES
from helpers.forecasting import source as forecast_source
from helpers.forecasting.other_things import check_is_checkpoint, check_is_name
from helpers.placing.error import PlacementError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

AUTO_CLASSES = (
    "AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq",
    "AutoModelForMaskedLM", "AutoModelForSequenceClassification", "AutoModelForTokenClassification",
    "AutoModelForQuestionAnswering", "AutoModelForImageClassification", "AutoModelForAudioClassification", "AutoModel",
)  # fmt: skip
"""Those that are asked for the class that a config names; where it names none, the first that has one for it."""


def empty_model(checkpoint: str | Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model from its config alone, on the meta device. Raises PlacementError where there is no class for it."""
    config = read_config(checkpoint)
    maker = auto_class(config)
    # not accelerate's init_empty_weights, which makes each parameter first: the experts of a layer can be 30 GB
    with torch.device("meta"):
        model = maker.from_config(config, **compat.dtype_argument(dtype))
    model.tie_weights()
    return model


def auto_class(config: PretrainedConfig) -> type:
    """The Auto class that loads what `config` is of: a decoder alone, where the checkpoint has an encoder too, is not.

    Raises PlacementError for a config for which there is none.
    """
    import transformers

    named = (getattr(config, "architectures", None) or [None])[0]
    having = [getattr(transformers, name) for name in AUTO_CLASSES if hasattr(transformers, name)]
    having = [one for one in having if type(config) in one._model_mapping]
    if not having:
        raise PlacementError(f"transformers has no model for this {type(config).__name__}.")
    return next((one for one in having if named in _made_by(one, config)), having[0])


def _made_by(maker: type, config: PretrainedConfig) -> list[str]:
    """The names of the classes that an Auto class makes of a config."""
    made = maker._model_mapping[type(config)]
    return [one.__name__ for one in (made if isinstance(made, (list, tuple)) else (made,))]


def read_config(checkpoint: str | Path) -> PretrainedConfig:
    """The config of a checkpoint. Raises PlacementError where it cannot be read, or needs code of the checkpoint."""
    from transformers import AutoConfig

    try:
        check_is_name(checkpoint)
    except CheckpointError as error:
        raise PlacementError(str(error)) from error
    if str(checkpoint) in SHAPES:
        return forecast_source.read(checkpoint).config
    path = Path(checkpoint).expanduser()
    if choice.spelt_as_path(str(checkpoint)) and not path.exists():
        raise PlacementError(f"{checkpoint} does not exist: correct the path, or give another model.")
    try:
        check_is_checkpoint(path)
        return AutoConfig.from_pretrained(str(checkpoint), trust_remote_code=False)
    except CheckpointError as error:
        raise PlacementError(str(error)) from error
    except (OSError, ValueError, KeyError) as error:
        told = " ".join(str(error).split())
        if "trust_remote_code" in told:
            raise PlacementError(
                f"The code of {checkpoint} comes with it (trust_remote_code), and is not run here: give another model."
            ) from error
        raise PlacementError(f"{checkpoint} has no config that transformers can read: {told[:300]}") from error


def check_sizes_are_known(checkpoint: str | Path, config: PretrainedConfig) -> None:
    """Raise PlacementError for a quantised checkpoint: only the package that did it knows how large it will be."""
    quantization = getattr(config, "quantization_config", None)
    if quantization is None:
        return
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization.quant_method
    raise PlacementError(
        f"{checkpoint} is of a quantised checkpoint ({method or 'by a method that it does not name'}): how large its "
        'modules will be is not known here. from_pretrained(…, device_map="auto", max_memory=…) plans with the package '
        "that quantised it; or give the checkpoint that it was made from."
    )
