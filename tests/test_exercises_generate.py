"""The exercises of notebook 06: right answers are right, and each wrong one is explained."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from helpers.exercises.generate import check_cache_bytes, check_cache_positions, check_decode_loop

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint).eval()


def _wrong(verdict, hint):
    assert not verdict
    assert hint in verdict.explanation


def test_positions_in_the_cache():
    assert check_cache_positions(14, prompt_tokens=5, new_tokens=10)
    assert "Not answered" in repr(check_cache_positions(None, 5, 10))
    _wrong(check_cache_positions(15, 5, 10), "length of the result")
    _wrong(check_cache_positions(10, 5, 10), "prompt's keys")
    _wrong(check_cache_positions(3, 5, 10), "kv_tokens")
    _wrong(check_cache_positions("14", 5, 10), "whole number")


def test_bytes_of_the_cache():
    grouped = LlamaConfig(num_hidden_layers=3, hidden_size=64, num_attention_heads=8, num_key_value_heads=2)
    right = 2 * 3 * 2 * 8 * 2 * 100
    assert check_cache_bytes(right, grouped, tokens=100, bytes_per_number=2)
    assert "Not answered" in repr(check_cache_bytes(None, grouped, 100, 2))
    _wrong(check_cache_bytes(right // 2, grouped, 100, 2), "keys or values")
    _wrong(check_cache_bytes(right * 4, grouped, 100, 2), "query heads")
    _wrong(check_cache_bytes(right // 3, grouped, 100, 2), "one layer")
    _wrong(check_cache_bytes(7, grouped, 100, 2), "Multiply")
    _wrong(check_cache_bytes(2.5, grouped, 100, 2), "whole number")


@torch.no_grad()
def _loop(model, input_ids, new_tokens, *, cached=True, shift=0):
    ids = step_ids = input_ids
    cache = None
    for _ in range(new_tokens):
        output = model(input_ids=step_ids, past_key_values=cache, use_cache=cached)
        new = (output.logits[:, -1:].argmax(-1) + shift) % model.config.vocab_size
        ids = torch.cat([ids, new], dim=-1)
        cache, step_ids = (output.past_key_values, new) if cached else (None, ids)
    return ids


def test_the_decode_loop(model):
    assert check_decode_loop(_loop, model, IDS)
    assert "Not answered" in repr(check_decode_loop(None, model, IDS))
    _wrong(check_decode_loop(lambda model: IDS, model, IDS), "your function raised TypeError")
    _wrong(check_decode_loop(5, model, IDS), "the function itself")
    _wrong(check_decode_loop(lambda *given: _loop(*given, cached=False), model, IDS), "[4, 5, 6, 7] positions")
    _wrong(check_decode_loop(lambda *given: _loop(*given, shift=1), model, IDS), "other tokens")
    _wrong(check_decode_loop(lambda *given: _loop(*given)[:, 4:], model, IDS), "ids of shape (1, 8)")
    _wrong(check_decode_loop(_by_generate, model, IDS), "calls generate()")


@torch.no_grad()
def _a_pass_at_the_end_of_each_turn(model, input_ids, new_tokens):
    """The loop as it is often written: it runs the model once more than anybody asks."""
    ids, output = input_ids, model(input_ids=input_ids, use_cache=True)
    for _ in range(new_tokens):
        new = output.logits[:, -1:].argmax(-1)
        ids = torch.cat([ids, new], dim=-1)
        output = model(input_ids=new, past_key_values=output.past_key_values, use_cache=True)
    return ids


def test_a_decode_loop_with_a_pass_too_many_is_right_and_told_of_it(model):
    verdict = check_decode_loop(_a_pass_at_the_end_of_each_turn, model, IDS)
    assert verdict
    assert "makes 4 passes, yours 5" in verdict.explanation
    assert "passes, yours" not in check_decode_loop(_loop, model, IDS).explanation


def _by_generate(model, input_ids, new_tokens):
    mask = torch.ones_like(input_ids)
    return model.generate(input_ids=input_ids, attention_mask=mask, do_sample=False, max_new_tokens=new_tokens)
