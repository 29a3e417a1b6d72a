"""A KV cache that only grows: what it holds follows from its length, so that fewer passes need to be rehearsed."""

from __future__ import annotations

import torch


def is_plain(cache: object, positions: int) -> bool:
    """Whether each layer of this cache keeps keys and values of `positions` positions, in storages of their own, and
    adds what comes: no window, no state, no view of a larger tensor.

    Told by the class: transformers' DynamicCache of DynamicLayer, of 4.54 and later. False for any other.
    """
    layers = getattr(cache, "layers", None)
    if not layers or not _is_librarys(cache, "DynamicCache"):
        return False
    return all(_is_librarys(layer, "DynamicLayer") and _is_whole(layer, positions) for layer in layers)


def lengthen(cache: object, positions: int) -> None:
    """Let a plain cache hold `positions` positions, as after so many tokens; call it in the mode of its tensors."""
    for layer in cache.layers:
        for name in ("keys", "values"):
            held = getattr(layer, name)
            setattr(layer, name, held.new_empty((*held.shape[:-2], positions, held.shape[-1])))


def _is_librarys(value: object, name: str) -> bool:
    return type(value).__name__ == name and type(value).__module__ == "transformers.cache_utils"


def _is_whole(layer: object, positions: int) -> bool:
    held = [getattr(layer, "keys", None), getattr(layer, "values", None)]
    if not all(isinstance(tensor, torch.Tensor) and tensor.shape[-2:-1] == (positions,) for tensor in held):
        return False
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in held}
    return len(storages) == len(held) and sum(storages.values()) == sum(tensor.nbytes for tensor in held)
