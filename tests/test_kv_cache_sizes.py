"""Tokens and bytes of a KV cache, of made-up caches of each layout: what is not known is not told as a number."""

from types import SimpleNamespace

import pytest
import torch

from helpers.events import NOT_OBSERVED
from helpers.probes.kv_cache import UNKNOWN, LayerSize, layer_sizes, total

KEYS, VALUES = torch.zeros(1, 2, 8, 4), torch.zeros(1, 2, 8, 6)  # of some models the two differ in their last dimension
BYTES = KEYS.nbytes + VALUES.nbytes


def layer(keys=KEYS, values=VALUES, *, seen=5, **state) -> SimpleNamespace:
    return SimpleNamespace(keys=keys, values=values, get_seq_length=lambda: seen, **state)


def cache(*layers) -> SimpleNamespace:
    return SimpleNamespace(layers=layers)


def test_a_layer_has_what_it_has_seen_its_room_and_the_bytes_of_both():
    assert layer_sizes(cache(layer(), layer(seen=torch.tensor(7)), layer(None, None))) == [
        LayerSize(5, 8, BYTES), LayerSize(7, 8, BYTES), LayerSize(0, 0, 0),
    ]  # fmt: skip
    assert total(layer_sizes(cache(layer(seen=5), layer(seen=7)))) == (7, 2 * BYTES)
    assert total(None) == (NOT_OBSERVED, NOT_OBSERVED)


def test_room_that_nothing_was_written_to_yet_has_no_tokens():
    assert layer_sizes(cache(layer(seen=0))) == [LayerSize(0, 8, BYTES)]  # a static cache that was reset


def test_an_empty_cache_is_not_an_unknown_one():
    assert layer_sizes(cache()) == []
    assert layer_sizes(SimpleNamespace(key_cache=[], value_cache=[])) == []  # before 4.54


def test_a_cache_that_does_not_say_what_it_has_seen_has_seen_what_it_holds():
    assert layer_sizes(cache(SimpleNamespace(keys=KEYS, values=VALUES))) == [LayerSize(8, 8, BYTES)]
    assert layer_sizes(SimpleNamespace(key_cache=[KEYS], value_cache=[VALUES])) == [LayerSize(8, 8, BYTES)]


def test_a_length_that_lies_on_another_device_is_not_read():
    length = torch.zeros((), dtype=torch.int64, device="meta")  # reading it would raise; that of a GPU would wait
    assert layer_sizes(cache(layer(seen=length))) == [LayerSize(NOT_OBSERVED, 8, BYTES)]


@pytest.mark.parametrize("state", ["is_conv_states_initialized", "is_recurrent_states_initialized"])
def test_the_bytes_of_a_layer_with_another_state_are_not_those_of_its_keys_and_values(state):
    assert layer_sizes(cache(layer(**{state: True}))) == [LayerSize(5, 8, NOT_OBSERVED)]
    assert layer_sizes(cache(layer(None, None, **{state: True}))) == [UNKNOWN]


def test_of_a_quantised_layer_only_the_positions_that_it_has_seen_are_known():
    assert layer_sizes(cache(layer(_quantized_keys=(1,)))) == [LayerSize(5, NOT_OBSERVED, NOT_OBSERVED)]
    assert layer_sizes(cache(layer(None, None, _quantized_keys=(1,)))) == [UNKNOWN]
    whole = SimpleNamespace(
        key_cache=[KEYS], value_cache=[VALUES], _quantized_key_cache=[1], get_seq_length=lambda: 9
    )  # before 4.54
    assert layer_sizes(whole) == [LayerSize(9, NOT_OBSERVED, NOT_OBSERVED)]


def test_a_layer_that_is_filled_with_something_else_than_tensors_is_unknown():
    assert layer_sizes(cache(layer([KEYS], [VALUES], is_initialized=True))) == [UNKNOWN]
    assert layer_sizes(cache(layer(None, None, is_initialized=False))) == [LayerSize(0, 0, 0)]


def test_legacy_tuples_and_caches_of_lists():
    assert layer_sizes(((KEYS, VALUES), (KEYS, VALUES, KEYS))) == [LayerSize(8, 8, BYTES)] * 2
    lists = SimpleNamespace(key_cache=[KEYS, []], value_cache=[VALUES, []], get_seq_length=lambda: 6)
    assert layer_sizes(lists) == [LayerSize(6, 8, BYTES), LayerSize(0, 0, 0)]
    for unknown in ((), [], object(), (KEYS, VALUES)):
        assert layer_sizes(unknown) is None


def test_an_encoder_decoder_has_the_tokens_of_its_own_and_the_bytes_of_both():
    own, cross = cache(layer(), layer()), cache(layer(seen=30))
    both = SimpleNamespace(self_attention_cache=own, cross_attention_cache=cross)
    assert layer_sizes(both) == [LayerSize(5, 8, 2 * BYTES), LayerSize(5, 8, BYTES)]
    turned = SimpleNamespace(self_attention_cache=cross, cross_attention_cache=own)
    assert layer_sizes(turned) == [LayerSize(30, 8, 2 * BYTES), LayerSize(0, 0, BYTES)]
    unknown = SimpleNamespace(self_attention_cache=own, cross_attention_cache=cache(layer(_quantized_keys=(1,))))
    assert [size.nbytes for size in layer_sizes(unknown)] == [NOT_OBSERVED, BYTES]
    for parts in ((own, object()), (object(), cross)):
        assert layer_sizes(SimpleNamespace(self_attention_cache=parts[0], cross_attention_cache=parts[1])) is None
    alone = SimpleNamespace(self_attention_cache=own, cross_attention_cache=None, layers=[layer()])
    assert layer_sizes(alone) == [LayerSize(5, 8, BYTES)]


def test_an_unknown_cache_is_not_observed():
    assert layer_sizes(object()) is None
    assert total(None) == (NOT_OBSERVED, NOT_OBSERVED)


def test_a_legacy_cache_of_tuples():
    layer = (torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4))
    assert layer_sizes((layer, layer)) == [LayerSize(5, 5, 320)] * 2
    assert total(layer_sizes((layer, layer))) == (5, 640)


@pytest.mark.parametrize(
    "state", [{"is_conv_states_initialized": True}, {"is_initialized": True}, {"_quantized_keys": (1,), "keys": KEYS}]
)
def test_a_layer_with_another_state_than_keys_and_values_has_no_known_size(state):
    class Layer:
        keys = values = None

        def get_seq_length(self):
            return 8

    known, unknown = Layer(), Layer()
    known.keys = known.values = torch.zeros(1, 2, 8, 4)
    vars(unknown).update(state)
    cache = type("Cache", (), {"layers": [known, unknown]})()
    assert total(layer_sizes(cache)) == (8, NOT_OBSERVED)
