"""A recorded call of a tiny model, for tests of the questions that a recording answers."""

import copy

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import compat, record
from helpers.recording.recording import Recording

NEW_TOKENS, PROMPT = 4, "hello there"


def recorded_call(
    checkpoint, *zoom: str, dtype=torch.float32, attention="sdpa", steps: int | None = None, prompt: str = PROMPT
) -> Recording:
    """Load, pipeline construction and one sampled call; all steps in full unless `steps` says otherwise."""
    with record(*zoom, steps=steps) as recording:
        model = AutoModelForCausalLM.from_pretrained(
            str(checkpoint), attn_implementation=attention, **compat.dtype_argument(dtype)
        )
        pipe = pipeline(
            "text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained(str(checkpoint)), device="cpu",
            max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=True, temperature=0.7, top_k=40,
        )  # fmt: skip
        torch.manual_seed(0)
        pipe(prompt)
    return recording


def edited(recording: Recording, **parts) -> Recording:
    """A copy of the recording with these attributes in place of its own."""
    other = copy.copy(recording)
    for name, value in parts.items():
        setattr(other, name, value)
    return other
