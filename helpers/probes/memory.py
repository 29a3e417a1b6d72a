"""Memory as a series of its own, sampled at landmark and step boundaries, never per module.

Reading `/proc/self/statm` on a kept descriptor costs about 8 µs; proportional set size (smaps) costs 13 ms and is
never read. Off Linux only the resident total is known.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable

import psutil
import torch

from ..events import MEMORY_COLUMNS, NOT_OBSERVED


class MemoryProbe:
    """Takes samples of the process's memory. Use `close()` when done: it holds a file descriptor."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.parameters = 0
        self.kv_cache = 0
        self._clock = clock
        self._counted: dict[int, weakref.ref] = {}
        self._process = psutil.Process()
        self._page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        self._statm = os.open("/proc/self/statm", os.O_RDONLY) if sys.platform == "linux" else None

    def sample(self) -> int:
        """Take one sample; returns its index in the series."""
        # index and append must not be torn apart by another thread: take the index from the row's own position
        row = (self._clock(), *self._resident(), self.parameters, self.kv_cache, *self._cuda())
        self.rows.append(row)
        return len(self.rows) - 1

    def _resident(self) -> tuple[int, int, int]:
        if self._statm is None:
            return self._process.memory_info().rss, NOT_OBSERVED, NOT_OBSERVED
        fields = os.pread(self._statm, 128, 0).split()
        resident, shared = int(fields[1]) * self._page, int(fields[2]) * self._page
        return resident, resident - shared, shared

    def _cuda(self) -> tuple[int, int, int]:
        if not torch.cuda.is_initialized():
            return NOT_OBSERVED, NOT_OBSERVED, NOT_OBSERVED
        devices = range(torch.cuda.device_count())
        return (
            sum(torch.cuda.memory_allocated(device) for device in devices),
            sum(torch.cuda.memory_reserved(device) for device in devices),
            sum(torch.cuda.max_memory_allocated(device) for device in devices),
        )

    def count_model(self, model: torch.nn.Module) -> None:
        """Add a model's parameters and buffers to the series, once per model; storages shared by ties count once."""
        if any(reference() is model for reference in self._counted.values()):
            return
        self._counted[id(model)] = weakref.ref(model)
        self.parameters += unique_bytes(model)

    def columns(self) -> dict[str, list[int]]:
        """The series by column name."""
        return {name: [row[place] for row in self.rows] for place, name in enumerate(MEMORY_COLUMNS)}

    def close(self) -> None:
        """Give the file descriptor back."""
        if self._statm is not None:
            os.close(self._statm)
            self._statm = None


def unique_bytes(model: torch.nn.Module) -> int:
    """Bytes of a model's parameters and buffers: each storage once, meta tensors not at all (nothing is allocated)."""
    seen: dict[tuple, int] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.device.type == "meta":
            continue
        try:
            seen[(str(tensor.device), tensor.untyped_storage().data_ptr())] = tensor.numel() * tensor.element_size()
        except (RuntimeError, NotImplementedError):
            seen[("object", id(tensor))] = tensor.numel() * tensor.element_size()
    return sum(seen.values())


def cache_size(cache: object) -> tuple[int, int]:
    """(positions, bytes) of a KV cache as it is now, for the Cache classes of 4.47 to 5.x and legacy tuples.

    (-1, -1) for an object whose layout is unknown: not observed. Bytes are those of the key and value tensors.
    """
    layers = getattr(cache, "layers", None)
    if layers is not None:  # 4.54 and later: an object per layer
        pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    elif getattr(cache, "key_cache", None) is not None:  # before 4.54
        pairs = list(zip(cache.key_cache, cache.value_cache, strict=False))
    elif isinstance(cache, tuple) and cache and isinstance(cache[0], tuple):
        pairs = [layer[:2] for layer in cache]
    else:
        return NOT_OBSERVED, NOT_OBSERVED
    tensors = [tensor for pair in pairs for tensor in pair if isinstance(tensor, torch.Tensor)]
    nbytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return _cache_length(cache, tensors), nbytes


def _cache_length(cache: object, tensors: list[torch.Tensor]) -> int:
    if hasattr(cache, "get_seq_length"):
        length = cache.get_seq_length()
        # a static cache may answer with a tensor; reading it would synchronise a GPU
        return int(length) if isinstance(length, int) or length.device.type == "cpu" else NOT_OBSERVED
    return tensors[0].shape[-2] if tensors else 0
