"""What a forecast reads: the config, and the headers of the weights' files. No tensor is read.

From a folder of this machine, a config.json, a Hub id (its cache first, else by range requests), or a config object.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import safetensors_header
from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints import choice
from helpers.checkpoints.hub_errors import out_of_reach, plain_hub_errors
from helpers.checkpoints.hub_reach import hub_answers
from helpers.forecasting import unread_weights
from helpers.forecasting.other_things import check_is_checkpoint, check_is_name, dtypes_and_bytes
from helpers.probes.load_rows import DTYPES

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "moe_intermediate_size", "num_local_experts", "num_experts", "n_routed_experts",
)  # fmt: skip
"""What decides how much memory a text model takes. Where a config leaves one out, transformers would silently take its
class's default: fine where that is None and follows from the others, wrong where it is a number."""
ALSO_SPELT = {"hidden_size": ("n_embed",)}  # in the published configs of BLOOM
ANOTHER = "or give another model"


@dataclass(frozen=True)
class StoredWeight:
    """One tensor of a checkpoint: `dtype` in torch's spelling, `nbytes` in its file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: str


@dataclass(frozen=True)
class Source:
    """A model as its files tell of it. `stored` is None where no header was read; `note` then says why."""

    name: str
    config: PretrainedConfig
    stored: tuple[StoredWeight, ...] | None
    note: str | None = None


def read(model: str | Path | PretrainedConfig) -> Source:
    """The source of a forecast: a folder, a config.json, the name of a shape, a Hub id, or a config object.

    Raises CheckpointError when it is not there, is damaged or cannot be reached, or when its config does not say how
    large the model is.
    """
    from transformers import LlamaConfig, PretrainedConfig

    from helpers.checkpoints.shaped_build import SHAPES

    if isinstance(model, PretrainedConfig):
        _check_not_quantised(type(model).__name__, getattr(model, "quantization_config", None))
        return Source(type(model).__name__, model, None, "a config alone: no stored weights were read")
    check_is_name(model)
    if not str(model).strip():
        raise CheckpointError("no model is named: give a folder, a config.json, a Hub id or the name of a shape")
    path = Path(model).expanduser()
    check_is_checkpoint(path)
    if path.is_file():
        return Source(str(model), _config(path), None, "a config alone: no stored weights were read")
    if path.is_dir():
        return _from_folder(str(model), path)
    if str(model) in SHAPES:
        return Source(str(model), LlamaConfig(**SHAPES[str(model)]), None, "a shape alone: there are no stored weights")
    if choice.spelt_as_path(str(model)):
        raise CheckpointError(f"{model} does not exist: correct the path, {ANOTHER}")
    return _from_hub(str(model))


def _from_folder(name: str, folder: Path) -> Source:
    files = safetensors_header.shard_files(folder)
    config = _config(folder / "config.json", files)
    if not files:
        return Source(name, config, None, unread_weights.note(folder))
    return Source(name, config, tuple(_stored(files)))


def _stored(files: Iterable[Path]) -> Iterable[StoredWeight]:
    for file in files:
        for tensor in safetensors_header.read_header(file):
            dtype = DTYPES.get(tensor.dtype, tensor.dtype)
            yield StoredWeight(tensor.name, dtype, tensor.shape, tensor.nbytes, file.name)


def _config(path: Path, files: Sequence[Path] = ()) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING, AutoConfig

    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        model_type = values.get("model_type")
    except (ValueError, OSError, AttributeError) as error:
        raise CheckpointError(f"{path} is no model configuration ({type(error).__name__}: {error})") from error
    if model_type is None:
        raise CheckpointError(f"{path} does not say its model_type: fetch it again, {ANOTHER}")
    if model_type not in CONFIG_MAPPING and values.get("auto_map"):
        raise CheckpointError(
            f"{path} has model_type {model_type!r}, whose code comes with the checkpoint (trust_remote_code) and is "
            "not run here: give another model"
        )
    if model_type not in CONFIG_MAPPING:
        raise CheckpointError(
            f"{path} has model_type {model_type!r}, which the installed transformers does not know: install a release "
            f"that does, {ANOTHER}; classes of your own: AutoConfig.register({model_type!r}, YourConfig) and "
            "AutoModelForCausalLM.register(YourConfig, YourModel) before this"
        )
    _check_not_quantised(path, values.get("quantization_config"), files)
    if "text_config" not in values:  # published ones leave out what is their class's default, as Gemma 3's does
        _check_sizes(path, values, CONFIG_MAPPING[model_type])
    try:
        return AutoConfig.from_pretrained(str(path))
    except Exception as error:  # strict configs raise errors of their own for values that contradict each other
        raise CheckpointError(f"{path} is refused by transformers: {' '.join(str(error).split())}") from error


def _check_not_quantised(where: Path | str, quantization: object, files: Sequence[Path] = ()) -> None:
    """The classes of a quantised model are of the package that quantised it, which may not be here."""
    if quantization is None:
        return
    values = quantization if isinstance(quantization, dict) else vars(quantization)  # of a model that was loaded
    method = values.get("quant_method")
    method = getattr(method, "value", method)
    stored = [tensor for file in files if file.is_file() for tensor in safetensors_header.read_header(file)]
    held = f" Its files hold {dtypes_and_bytes(stored)} of tensors." if stored else ""
    raise CheckpointError(
        f"{where} is of a quantised checkpoint ({method or 'by a method that it does not name'}), of which neither "
        f"weights nor activations in memory are forecast.{held} Give the checkpoint that it was made from, {ANOTHER}"
    )


def _check_sizes(path: Path, values: dict, config_class: type[PretrainedConfig]) -> None:
    """A size that the class does not know (no attention), or derives from the others, is not asked for."""
    defaults = inspect.signature(config_class.__init__).parameters
    for name in SIZES:
        spelt = config_class.attribute_map.get(name, name)
        value = next((values[one] for one in (name, spelt, *ALSO_SPELT.get(name, ())) if one in values), None)
        if spelt not in defaults or (isinstance(value, list) and value):  # a list: layer by layer
            continue
        if value is None and not isinstance(defaults[spelt].default, int):
            continue
        if value is None:
            raise CheckpointError(f"{path} does not say {spelt}: fetch it again, {ANOTHER}")
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{path} says {spelt}={value!r}, which is no size: fetch it again, {ANOTHER}")


def _from_hub(model: str) -> Source:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(model)
    except HFValidationError:
        raise CheckpointError(
            f"{model!r} is neither a folder of this machine nor a Hub id (owner/name): correct it, {ANOTHER}"
        ) from None
    reached = hub_answers()
    with plain_hub_errors(model, otherwise=ANOTHER):
        config_file = Path(hf_hub_download(model, "config.json", local_files_only=not reached))
    config = _config(config_file)
    files = safetensors_header.shard_files(config_file.parent)
    if files and all(file.is_file() for file in files):
        return Source(model, config, tuple(_stored(files)))
    try:
        if not reached:
            raise CheckpointError(out_of_reach(model, ANOTHER))
        return Source(model, config, tuple(_stored_on_hub(model)))
    except CheckpointError as error:
        return Source(model, config, None, f"the headers of its weights were not read: {error}")


def _stored_on_hub(model: str) -> Iterable[StoredWeight]:
    """The headers of the files on the Hub: huggingface_hub asks for the first bytes of each by a range request."""
    from huggingface_hub import errors, get_safetensors_metadata

    try:
        with plain_hub_errors(model, otherwise=ANOTHER):
            metadata = get_safetensors_metadata(model)
    except (errors.NotASafetensorsRepoError, errors.SafetensorsParsingError) as error:
        raise CheckpointError(f"{model} has no readable safetensors files on the Hub ({error})") from error
    for file in sorted(metadata.files_metadata):
        tensors = metadata.files_metadata[file].tensors.items()
        for name, tensor in sorted(tensors, key=lambda item: item[1].data_offsets[0]):
            begin, end = tensor.data_offsets
            yield StoredWeight(name, DTYPES.get(tensor.dtype, tensor.dtype), tuple(tensor.shape), end - begin, file)
