"""Contrastive search: its decode steps begin with the logits processors, before any inputs are prepared."""

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationMixin

from helpers import record

pytestmark = pytest.mark.skipif(
    not hasattr(GenerationMixin, "_contrastive_search"),
    reason="contrastive search is no part of this transformers: it is loaded from the Hub",
)
NEW_TOKENS = 5
IDS = torch.tensor([[5, 6, 7, 5, 6, 7]])


@pytest.fixture(scope="module")
def recorded(tiny_checkpoint):
    """(recording, tokens that were added)."""
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    settings = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "penalty_alpha": 0.6, "top_k": 4}
    with record("modules", "sampling", steps=2) as recording:
        ids = model.generate(IDS, attention_mask=torch.ones_like(IDS), do_sample=False, pad_token_id=0, **settings)
    return recording, ids[0, IDS.shape[1] :].tolist()


def test_each_step_has_the_chain_that_its_token_came_from(recorded):
    recording, tokens = recorded
    assert recording.warnings == []
    assert recording.steps()["tokens"].tolist() == [1] * NEW_TOKENS
    for step, token in enumerate(tokens):
        chain = recording.sampling(step)
        assert set(chain["chain"]) == {0}
        candidates = [candidate for candidate, _ in chain["after"].iloc[-1]][:4]
        assert token in candidates


def test_the_prefill_has_one_forward_pass_more(recorded):
    recording, _ = recorded
    calls = [(recording.modules(step=step)["path"] == "").sum() for step in (0, 1)]
    assert calls[0] == calls[1] + 1
