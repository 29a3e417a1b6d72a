"""Counting what tensors take while code runs: the storages that live at one time, and a KV cache layer by layer."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from helpers.probes.kv_cache import holds_another_state

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of the storages that are alive inside the block, `model`'s own left out. `most`: the peak."""

    def __init__(self, model: PreTrainedModel, cache: object | None) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: dict[int, weakref.ref] = {}
        for tensor in [*model.parameters(), *model.buffers()]:
            self._see(tensor, counts=False)
        for tensor in tree_iter(_cached_tensors(cache) if cache is not None else []):
            self._see(tensor)
        self.most = self._now

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for item in tree_iter(result):
            if isinstance(item, torch.Tensor):
                self._see(item)
        self.most = max(self.most, self._now)
        return result

    def _see(self, tensor: torch.Tensor, *, counts: bool = True) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        known = self._known.get(key)
        if known is not None and known() is not None:
            return
        nbytes = storage.nbytes() if counts else 0
        self._now += nbytes

        def gone(reference, key=key, nbytes=nbytes) -> None:
            self._now -= nbytes
            if self._known.get(key) is reference:
                del self._known[key]

        self._known[key] = weakref.ref(storage, gone)


def _cached_tensors(cache: object) -> list[list[torch.Tensor]] | None:
    """The key and value tensors of each layer, and its state; None for a cache of unknown layout."""
    cache = getattr(cache, "self_attention_cache", cache)
    if getattr(cache, "layers", None) is not None:  # an object per layer: 4.54 and later
        pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
        states = [_states(layer) for layer in cache.layers]
        if any(holds_another_state(layer) and not state for layer, state in zip(cache.layers, states, strict=True)):
            return None
        pairs = [(*pair, *state) for pair, state in zip(pairs, states, strict=True)]
    elif getattr(cache, "key_cache", None) is not None:
        pairs = zip(cache.key_cache, cache.value_cache, strict=False)
    elif isinstance(cache, list) and cache and all(isinstance(one, torch.Tensor) for one in cache):
        # RWKV's state: each tensor has all layers, in its last dimension
        pairs = zip(*(one.unbind(-1) for one in cache), strict=True)
    elif isinstance(cache, tuple) and cache and isinstance(cache[0], tuple):
        pairs = [layer[:2] for layer in cache]
    else:
        return None
    return [[tensor for tensor in pair if isinstance(tensor, torch.Tensor)] for pair in pairs]


def _states(layer: object) -> list[torch.Tensor]:
    """What a layer of a linear attention (Mamba's is one) keeps in place of keys and values, or beside them."""
    held = [getattr(layer, name, None) for name in ("conv_states", "recurrent_states")]
    return [state for states in held if isinstance(states, dict) for state in states.values() if state is not None]


def layer_bytes(cache: object) -> tuple[int, ...] | None:
    """Bytes of the keys, values and state of each layer; None for a cache of unknown layout."""
    layers = _cached_tensors(cache)
    if layers is None:
        return None
    return tuple(sum(tensor.numel() * tensor.element_size() for tensor in layer) for layer in layers)
