"""The exercises of notebook 07: right answers are right, and each wrong one is explained."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers.compat import transformers_version
from helpers.exercises.forward_pass import check_decode_step, check_key_shape, check_mlp_share

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint).eval()


def test_the_key_at_a_decode_step(model):
    config = model.config
    heads, size = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
    if transformers_version() < (4, 48):  # it copies them
        heads = config.num_attention_heads
    asked = {"sequences": 3, "step": 5}
    assert check_key_shape((3, heads, 9, size), model, IDS, **asked)
    assert check_key_shape([3, heads, 9, size], model, IDS, **asked)
    assert "Not answered" in repr(check_key_shape(None, model, IDS, **asked))
    for wrong, hint in (
        ((3, heads, 10, size), "positions"),
        ((3, heads + 1, 9, size), "heads"),
        ((1, heads, 9, size), "how many sequences"),
        ((9, size), "four dimensions"),
        ("key", "four dimensions"),
    ):
        verdict = check_key_shape(wrong, model, IDS, **asked)
        assert not verdict
        assert hint in verdict.explanation


def test_the_share_of_the_mlp(model):
    layer = model.model.layers[0]
    mlp, attention = ({name: p.numel() for name, p in part.named_parameters()} for part in (layer.mlp, layer.self_attn))
    whole = sum(mlp.values()) + sum(attention.values()) + 2 * model.config.hidden_size
    gate = mlp["gate_proj.weight"]
    assert check_mlp_share(sum(mlp.values()) / whole, model)
    assert "Not answered" in repr(check_mlp_share(None, model))
    everything = sum(parameter.numel() for parameter in model.parameters())
    for wrong, hint in (
        ((sum(mlp.values()) - gate) / (whole - gate), "three matrices"),
        (sum(mlp.values()) / everything, "whole model"),
        (0.1, "numel"),
        (75, "between 0 and 1"),
        ("most", "between 0 and 1"),
        (True, "between 0 and 1"),
    ):
        verdict = check_mlp_share(wrong, model)
        assert not verdict
        assert hint in verdict.explanation


def test_a_decode_step_by_hand(model):
    with torch.no_grad():
        before = model(IDS).logits
        next_id = before[:, -1:].argmax(-1)
        after = model(torch.cat([IDS, next_id], dim=-1)).logits[:, -1:]
    assert check_decode_step(after, model, IDS, next_id)
    assert "Not answered" in repr(check_decode_step(None, model, IDS, next_id))
    for wrong, hint in (
        (before[:, -1:], "Put next_id through the layers"),
        (after + 1, "angle of position n"),
        (after[0], "Give a tensor of shape"),
        (after.tolist(), "Give a tensor of shape"),
    ):
        verdict = check_decode_step(wrong, model, IDS, next_id)
        assert not verdict
        assert hint in verdict.explanation
