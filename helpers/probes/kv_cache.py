"""The KV cache in numbers, at the time: a reference to a cache would show what it holds later (facts: a static cache is
one storage that is written in place)."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch

from ..events import NOT_OBSERVED


class LayerSize(NamedTuple):
    """One layer of a KV cache. -1: not observed."""

    tokens: int  # positions that it has seen; a sliding window keeps fewer of them
    capacity: int  # positions that its tensors have room for
    nbytes: int  # of its keys and values, as allocated


UNKNOWN = LayerSize(NOT_OBSERVED, NOT_OBSERVED, NOT_OBSERVED)


def layer_sizes(cache: object) -> list[LayerSize] | None:
    """Each layer of a KV cache as it is now, for the Cache classes of 4.47 to 5.x and legacy tuples.

    None for an object whose layout is unknown. Of an encoder-decoder cache, tokens and capacity are those of the
    decoder's self-attention; the bytes of its cross-attention are counted too.
    """
    own, cross = getattr(cache, "self_attention_cache", None), getattr(cache, "cross_attention_cache", None)
    if own is not None and cross is not None:
        return _with_bytes_of(layer_sizes(own), layer_sizes(cross))
    layers = getattr(cache, "layers", None)
    if layers is not None:  # 4.54 and later: an object per layer
        return [_layer(layer, getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    if getattr(cache, "key_cache", None) is not None:  # before 4.54
        seen = _whole_length(cache)
        sizes = [_sizes(*pair, seen) for pair in zip(cache.key_cache, cache.value_cache, strict=False)]
        return [_residual(size) for size in sizes] if getattr(cache, "_quantized_key_cache", None) else sizes
    if isinstance(cache, tuple) and cache and isinstance(cache[0], tuple):
        return [_sizes(*layer[:2], None) for layer in cache]
    return None


def _with_bytes_of(own: list[LayerSize] | None, cross: list[LayerSize] | None) -> list[LayerSize] | None:
    if own is None or cross is None:
        return None
    pairs = itertools.zip_longest(own, cross, fillvalue=LayerSize(0, 0, 0))
    return [size._replace(nbytes=_sum(size.nbytes, other.nbytes)) for size, other in pairs]


def _sum(*sizes: int) -> int:
    return NOT_OBSERVED if NOT_OBSERVED in sizes else sum(sizes)


def is_cache(module: torch.nn.Module) -> bool:
    """Whether a module is a KV cache: in 4.47 a static one is, and generate() makes it a part of the model."""
    return hasattr(type(module), "get_seq_length")


def total(sizes: list[LayerSize] | None) -> tuple[int, int]:
    """(tokens, bytes) of a whole cache: the longest layer, the sum of all. (-1, -1) where it was not observed."""
    if sizes is None:
        return NOT_OBSERVED, NOT_OBSERVED
    tokens = max((size.tokens for size in sizes), default=0)
    bytes_by_layer = [size.nbytes for size in sizes]
    return tokens, _sum(*bytes_by_layer)


def holds_another_state(layer: object) -> bool:
    """Whether a layer of a cache is filled with something else than plain keys and values, or with more: with the state
    of a linear attention, or with quantised ones."""
    held = getattr(layer, "__dict__", {}).get  # not getattr: it costs where there is nothing, and there are many layers
    if held("is_conv_states_initialized") or held("is_recurrent_states_initialized"):
        return True
    if _is_quantised(layer):
        return True
    return bool(held("is_initialized")) and not isinstance(held("keys"), torch.Tensor)


def _is_quantised(layer: object) -> bool:
    return getattr(layer, "__dict__", {}).get("_quantized_keys") is not None


def _residual(size: LayerSize) -> LayerSize:
    """The size of a layer of which only the newest positions were looked at; the older ones lie quantised elsewhere."""
    return size._replace(capacity=NOT_OBSERVED, nbytes=NOT_OBSERVED)


def _layer(layer: object, keys: object, values: object) -> LayerSize:
    if not isinstance(keys, torch.Tensor):
        return UNKNOWN if holds_another_state(layer) else LayerSize(0, 0, 0)
    size = _sizes(keys, values, _number(getattr(layer, "get_seq_length", lambda: None)()))
    if _is_quantised(layer):
        return _residual(size)
    return size._replace(nbytes=NOT_OBSERVED) if holds_another_state(layer) else size


def _whole_length(cache: object) -> int | None:
    """Before 4.54 the cache answers for all of its layers."""
    return _number(cache.get_seq_length()) if hasattr(cache, "get_seq_length") else None


def _number(length: object) -> int | None:
    """A static cache answers with a tensor; reading one of a GPU would wait for it. None: nothing was said."""
    if isinstance(length, torch.Tensor):
        return int(length) if length.device.type == "cpu" else NOT_OBSERVED
    return length if isinstance(length, int) else None


def _sizes(keys: object, values: object, seen: int | None) -> LayerSize:
    held = [tensor for tensor in (keys, values) if isinstance(tensor, torch.Tensor)]
    if not held:
        return LayerSize(0, 0, 0)  # 4.x keeps [] for a layer that was skipped
    capacity = held[0].shape[-2] if held[0].ndim >= 2 else 0
    nbytes = sum([tensor.nbytes for tensor in held])
    return LayerSize(capacity if seen is None else seen, capacity, nbytes)
