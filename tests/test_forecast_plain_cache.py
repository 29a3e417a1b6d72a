"""A KV cache that only grows: two passes tell what seven do, and of no other cache is it believed."""

import pytest
import torch
from transformers import DynamicCache, GPT2Config, LlamaConfig, MistralConfig

from helpers import compat
from helpers.forecasting import plain_cache, rehearsal

if compat.transformers_version() < (4, 54):
    pytest.skip("before 4.54 no cache has layers", allow_module_level=True)

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 64,
}  # fmt: skip
PLAIN = {"llama": LlamaConfig(**SIZES), "gpt2": GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=100)}
WINDOWED = MistralConfig(**SIZES, sliding_window=8)
LENGTHS = [(12, 4, 1), (1, 1, 1), (1, 2, 2), (7, 3, 1), (30, 20, 3)]
"""Tokens of the prompt, new tokens, sequences."""


def rehearsed(config, lengths, monkeypatch, believes: bool = True):
    """(what the rehearsal saw, how many passes it ran)."""
    model = rehearsal.FakeModel(config, torch.bfloat16)
    passes = []
    model.model.register_forward_pre_hook(lambda *_: passes.append(1))
    with monkeypatch.context() as patch:
        if not believes:
            patch.setattr(rehearsal, "is_plain", lambda *_: False)
        return model.rehearse(*lengths, cache="dynamic"), len(passes)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_it_sees_what_all_passes_see(name, lengths, monkeypatch):
    found, passes = rehearsed(PLAIN[name], lengths, monkeypatch)
    every, most = rehearsed(PLAIN[name], lengths, monkeypatch, believes=False)
    assert found == every
    assert found.unknown is None
    assert found.decode is None or found.decode.activations > 0
    assert passes == (1 if lengths[1] == 1 else 2) < most


def test_of_a_window_every_pass_is_run(monkeypatch):
    found, passes = rehearsed(WINDOWED, (30, 20, 1), monkeypatch)
    every, most = rehearsed(WINDOWED, (30, 20, 1), monkeypatch, believes=False)
    assert (found, passes) == (every, most)


def test_what_the_prefill_told_is_kept_where_the_decode_step_does_not_run(monkeypatch):
    whole, _ = rehearsed(PLAIN["llama"], (7, 3, 1), monkeypatch)
    run = rehearsal.FakeModel._run

    def failing(self, batch, tokens, cache, position=0):
        if position:
            raise NotImplementedError("no decode step")
        return run(self, batch, tokens, cache, position)

    monkeypatch.setattr(rehearsal.FakeModel, "_run", failing)
    found, _ = rehearsed(PLAIN["llama"], (7, 3, 1), monkeypatch)
    assert found.unknown.startswith("decode step not known: ")
    assert (found.prefill, found.token_by_layer) == (whole.prefill, whole.token_by_layer)
    assert found.cache_by_layer == found.prefill_cache_by_layer == whole.prefill_cache_by_layer


def test_what_is_plain():
    keys, values = torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4)
    cache = DynamicCache()
    cache.update(keys, values, 0)
    assert plain_cache.is_plain(cache, 5)
    assert not plain_cache.is_plain(cache, 6), "a layer that keeps what does not grow"
    plain_cache.lengthen(cache, 9)
    assert plain_cache.is_plain(cache, 9)
    cache.layers[0].keys = torch.zeros(1, 2, 10, 4)[:, :, :9]
    assert not plain_cache.is_plain(cache, 9), "a view keeps more alive"
    cache.layers[0].keys = cache.layers[0].values
    assert not plain_cache.is_plain(cache, 9), "one storage for both"
    assert not plain_cache.is_plain(DynamicCache(), 5)
    assert not plain_cache.is_plain(((keys, values),), 5)


def test_a_class_of_ones_own_is_not_believed():
    class Own(DynamicCache):
        pass

    cache = Own()
    cache.update(torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4), 0)
    assert not plain_cache.is_plain(cache, 5)
