"""The KV cache of a generation, layer by layer and step by step, as the step tracker sees it."""

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, cache_utils

from helpers.events import RecordingError
from helpers.probes.kv_cache import LayerSize
from helpers.probes.steps import _cache_of, _runs
from tests.generations import NEW_TOKENS, PROMPT, recorded

IS_5 = transformers.__version__.startswith("5")


@pytest.fixture
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


def test_the_kv_cache_layer_by_layer(model):
    recording, _ = recorded(model, steps=1)
    config, cache, steps = model.config, recording.kv_cache(), recording.steps()
    per_token = 2 * config.num_key_value_heads * (config.hidden_size // config.num_attention_heads) * 4
    assert len(cache) == config.num_hidden_layers * NEW_TOKENS
    assert sorted(set(cache["layer"])) == list(range(config.num_hidden_layers))
    for row in cache.to_dict("records"):
        assert row["tokens"] == row["capacity"] == PROMPT.shape[1] + row["step"]
        assert row["nbytes"] == per_token * row["tokens"]
    assert list(cache.groupby("step")["nbytes"].sum()) == list(steps["kv_bytes"])
    assert len(recording.kv_cache(step=3)) == config.num_hidden_layers
    with pytest.raises(RecordingError, match="no step 99"):
        recording.kv_cache(step=99)


def test_a_static_cache_has_its_room_from_the_beginning(model):
    recording, _ = recorded(model, cache_implementation="static")
    cache = recording.kv_cache()
    assert cache["capacity"].nunique() == cache["nbytes"].nunique() == 1
    assert list(cache[cache["layer"] == 0]["tokens"]) == [PROMPT.shape[1] + step for step in range(NEW_TOKENS)]


@pytest.mark.skipif(not IS_5, reason="before 5.0 a sliding window has a cache class of its own only in some models")
def test_a_sliding_window_keeps_less_than_it_has_seen():
    config = transformers.MistralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    recording, _ = recorded(transformers.MistralForCausalLM(config).eval(), pad_token_id=0)
    last = recording.kv_cache(step=NEW_TOKENS - 1)
    assert set(last["tokens"]) == {PROMPT.shape[1] + NEW_TOKENS - 1}
    assert (last["capacity"] < 5).all()


def test_without_a_cache_there_is_none(model):
    recording, _ = recorded(model, use_cache=False)
    assert recording.kv_cache().empty
    assert set(recording.steps()["kv_tokens"]) == {0}


@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_the_cache_under_its_name_of_each_version(name):
    """From 5.24 on generate() keeps it as `cache`."""
    cache = transformers.DynamicCache()
    cache.update(torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4), 0)
    assert _cache_of({name: cache, "use_cache": True}) == [LayerSize(5, 5, 2 * 40 * 4)]


def test_a_cache_under_another_name_is_not_observed_and_not_told_as_empty():
    assert _cache_of({"some_new_name": object(), "use_cache": True}) is None
    assert _cache_of({"use_cache": False}) == []


def test_equal_layers_are_one_row_of_the_file():
    small, large = LayerSize(4, 4, 10), LayerSize(9, 9, 30)
    assert _runs([small, small, large, small]) == [(0, 2, *small), (2, 1, *large), (3, 1, *small)]
    assert _runs([]) == []


def quantised_cache(layers):
    """A quantised KV cache of whole numbers, which needs no package that quantises."""
    quantise = {
        "_quantize": lambda self, states, axis: (states * 64).round(),
        "_dequantize": lambda self, held: held / 64,
    }
    if hasattr(cache_utils, "QuantizedLayer"):
        layer = type("Layer", (cache_utils.QuantizedLayer,), quantise)
        return cache_utils.Cache(layers=[layer(residual_length=4) for _ in range(layers)])
    config = cache_utils.QuantizedCacheConfig("quanto", residual_length=4)
    return type("Quantised", (cache_utils.QuantizedCache,), quantise)(config)


def test_a_quantised_cache_is_not_told_as_its_newest_positions(model):
    recording, _ = recorded(model, past_key_values=quantised_cache(model.config.num_hidden_layers))
    sizes = recording.kv_cache()
    assert sizes.query("layer == 0")["tokens"].tolist() == [PROMPT.shape[1] + step for step in range(NEW_TOKENS)]
    assert sizes["capacity"].isna().all()
    assert sizes["nbytes"].isna().all()
    assert recording.steps()["kv_bytes"].isna().all()


def test_the_state_of_a_mamba_is_not_told_as_an_empty_cache():
    config = transformers.MambaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, state_size=4)
    mamba = transformers.MambaForCausalLM(config).eval()
    recording, _ = recorded(mamba)
    assert [*recording.steps()["kv_bytes"].isna()] == [True] * NEW_TOKENS
