"""A recorded generation of a few tokens, in any way of decoding."""

import torch

from helpers import record
from helpers.recording.recording import Recording

NEW_TOKENS = 6
PROMPT = torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6]])


def recorded(model, steps=None, zoom=(), **settings) -> tuple[Recording, torch.Tensor]:
    torch.manual_seed(0)
    settings = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False} | settings
    with record(*zoom, steps=steps) as recording:
        result = model.generate(input_ids=PROMPT, attention_mask=torch.ones_like(PROMPT), **settings)
    return recording, result
