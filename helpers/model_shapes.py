"""Llama-2-7B at its true size on any machine: its config, its shapes without its weights, and a prompt that fits it.

    from helpers import model_shapes, record

    with model_shapes.fake_llama_2_7b() as model, record() as recording:
        model(model_shapes.prompt_ids())
    recording.modules()            # (1, 173) -> (1, 173, 4096) at the embedding, and every shape after it

The tensors are torch's FakeTensors: they have a shape, a dtype and a device, and no memory. The library's code runs as
on real ones; what depends on values (generate(), which asks for the end of text) does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from helpers.forecasting.settings import PROMPT_TOKENS

if TYPE_CHECKING:
    import torch
    from transformers import LlamaConfig, PreTrainedModel

LLAMA_2_7B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_cache": True,
    "vocab_size": 32000,
}
"""config.json of Llama-2-7B, as published."""


def llama_2_7b_config() -> LlamaConfig:
    """Llama-2-7B's config in the installed transformers."""
    from transformers import LlamaConfig

    return LlamaConfig(**{name: value for name, value in LLAMA_2_7B.items() if name not in ("model_type",)})


@contextmanager
def fake_llama_2_7b(dtype: torch.dtype | str = "float16") -> Iterator[PreTrainedModel]:
    """Llama-2-7B without its weights, in evaluation mode; inside the block every new tensor is without memory too.

    Give it no attention mask: building the mask from one reads values. Raises DeviceError for an unknown dtype, and
    RehearsalError where the installed version cannot build it.
    """
    import torch

    from helpers.devices import loaded_dtype
    from helpers.forecasting.rehearsal import FakeModel

    fake = FakeModel(llama_2_7b_config(), loaded_dtype(dtype))
    with fake.mode, torch.no_grad():
        yield fake.model


def prompt_ids(tokens: int = PROMPT_TOKENS) -> torch.Tensor:
    """(1, tokens), int64: ids below Llama-2's 32,000. In fake_llama_2_7b() they are without values too."""
    import torch

    return torch.arange(3, 3 + tokens).remainder(LLAMA_2_7B["vocab_size"]).unsqueeze(0)
