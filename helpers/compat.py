"""The few spellings that differ between library versions. Nothing else in this project asks for a version."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# `dtype=` and `torch_dtype=` are both accepted from 4.56 on; before, `dtype=` reached the model class and
# failed.
FIRST_WITH_DTYPE = (4, 56)

# Where the model classes keep their list of decoder layers, most common first.
DECODER_LAYER_PATHS = (
    "model.layers",  # Llama, Mistral, Qwen, Gemma, Phi, OLMo ...
    "model.decoder.layers",  # OPT
    "model.language_model.layers",  # multimodal models that also generate text
    "transformer.h",  # GPT-2, Falcon, Bloom
    "transformer.blocks",  # MPT
    "gpt_neox.layers",  # GPT-NeoX, Pythia
    "backbone.layers",  # Mamba
)


def transformers_version() -> tuple[int, int, int]:
    """The installed transformers as (major, minor, patch)."""
    from packaging.version import Version

    installed = Version(version("transformers"))
    return installed.major, installed.minor, installed.micro


def dtype_argument(dtype: torch.dtype | str) -> dict[str, torch.dtype | str]:
    """What gives `from_pretrained` the dtype: {"dtype": ...}, or {"torch_dtype": ...} before 4.56."""
    return {"dtype" if transformers_version() >= FIRST_WITH_DTYPE else "torch_dtype": dtype}


def hub_connection_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises when the Hub cannot be reached: OSErrors, httpx's own from 1.0 on."""
    try:
        import httpx
    except ModuleNotFoundError:
        return (OSError,)
    return (OSError, httpx.HTTPError)


def decoder_layers(model: torch.nn.Module) -> torch.nn.ModuleList:
    """The decoder layers of a causal LM, in the order in which they run.

    Raises TypeError when the model keeps them in none of the places that this project knows.
    """
    from torch.nn import ModuleList

    for path in DECODER_LAYER_PATHS:
        place = model
        for name in path.split("."):
            place = getattr(place, name, None)
        if isinstance(place, ModuleList):
            return place
    raise TypeError(
        f"{type(model).__name__} keeps its decoder layers in none of {', '.join(DECODER_LAYER_PATHS)}: "
        "add its path to DECODER_LAYER_PATHS in helpers/compat.py"
    )


def pipeline_device(model: torch.nn.Module, device: torch.device | str) -> dict[str, torch.device | str]:
    """The argument that keeps a pipeline's model on `device`: {"device": device}, or {} where it must not be given.

    5.x moves a model that was loaded with a one-device map to the first GPU unless told; 4.x dispatches such a model
    with accelerate, records `hf_device_map`, and refuses to be told.
    """
    return {} if getattr(model, "hf_device_map", None) else {"device": device}
