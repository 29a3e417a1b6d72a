"""Tiny random checkpoints of other architectures than Llama, for what must run on any causal language model."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from helpers.checkpoints.tiny_build import CONFIG, VOCABULARY

TOKEN_IDS = {key: CONFIG[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
_LIKE_LLAMA = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
ARCHITECTURES = {
    "qwen2": _LIKE_LLAMA,
    "mistral": {**_LIKE_LLAMA, "head_dim": 16},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
}
"""model_type to the settings that make it tiny."""


def write(model_type: str, tiny_llama: Path, folder: Path) -> Path:
    """Write a random model of `model_type` with the tokenizer of `checkpoints.tiny()` into `folder`; return it."""
    config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **TOKEN_IDS, **ARCHITECTURES[model_type])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    model.generation_config = GenerationConfig(**TOKEN_IDS)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_llama / name, folder / name)
    return folder
