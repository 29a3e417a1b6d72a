"""The tiny checkpoint with one of its two layers on disk, and what it is compared with."""

import torch
from transformers import AutoModelForCausalLM

from helpers import compat

LAYERS = ("model.layers.0", "model.layers.1")
HALF_ON_DISK = {"model.embed_tokens": "cpu", LAYERS[0]: "cpu", LAYERS[1]: "disk", "model.norm": "cpu", "lm_head": "cpu"}
HALF_ON_DISK["model.rotary_emb"] = "cpu"  # a module of the model itself from 4.46 on
NEW_TOKENS = 2


def generate(model) -> torch.Tensor:
    ids = torch.arange(3, 9)[None]
    length = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    return model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **length)


def in_memory(checkpoint):
    """The whole model, in float32."""
    return AutoModelForCausalLM.from_pretrained(str(checkpoint), **compat.dtype_argument(torch.float32))


def bytes_on_disk(model) -> dict[str, int]:
    """Bytes of each parameter of the layer that is on disk."""
    return {
        name: parameter.numel() * parameter.element_size()
        for name, parameter in model.named_parameters()
        if name.startswith(f"{LAYERS[1]}.")
    }
