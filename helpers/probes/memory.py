"""Memory as a series of its own, sampled at landmark and step boundaries, never per module.

Reading `/proc/self/statm` on a kept descriptor costs about 8 µs; proportional set size (smaps) costs 13 ms and is
never read. Off Linux only the resident total is known.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence

import psutil
import torch
from torch.nn.parameter import is_lazy

from ..events import MEMORY_COLUMNS, NOT_OBSERVED
from .guard import noting
from .kv_cache import is_cache
from .tensor_parts import PLAIN, local_part, parts_with_memory


class MemoryProbe:
    """Takes samples of the process's memory. Use `close()` when done: it holds a file descriptor."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.problems: dict[str, str] = {}
        self.parameters = 0
        self.parameters_virtual = 0
        self.kv_cache = 0
        self._clock = clock
        self._models: dict[int, weakref.ref] = {}
        self._first: list[tuple[weakref.ref, object]] = []  # a parameter of each model, and where it was when counted
        self._stale = False
        self._appending = threading.RLock()
        self._page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
        self._statm = _OwnStatm() if sys.platform == "linux" else None

    def sample(self) -> int:
        """Take one sample; returns its index in the series."""
        if self._stale or any(_moved(reference, place) for reference, place in self._first):
            self.recount()
        parameters = (self.parameters, self.parameters_virtual)
        row = (self._clock(), *self._resident(), *parameters, self.kv_cache, *self._cuda())
        with self._appending:  # the index is this row's, whatever other threads do
            self.rows.append(row)
            return len(self.rows) - 1

    def _resident(self) -> tuple[int, int, int]:
        statm = self._statm  # held until it is read: another thread may end the recording meanwhile
        if statm is None:
            return psutil.Process().memory_info().rss, NOT_OBSERVED, NOT_OBSERVED
        fields = os.pread(statm.descriptor, 128, 0).split()
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
        """Add a model's parameters and buffers to the series, until it is freed; what models share counts once."""
        known = self._models.get(id(model))
        if known is None or known() is not model:
            self._models[id(model)] = weakref.ref(model, self._model_freed)
        self.recount()

    def _model_freed(self, _: weakref.ref) -> None:
        self._stale = True  # counted again at the next sample, not here: this may run in the middle of anything

    @noting("memory")
    def recount(self) -> None:
        """Count the living models again: one that was cast, moved or changed has another size now."""
        self._stale = False
        models = [model for reference in list(self._models.values()) if (model := reference()) is not None]
        try:
            self.parameters, self.parameters_virtual = held_bytes(models)
            firsts = [next(model.parameters(), None) for model in models]
        except RuntimeError:  # another thread changes a model meanwhile
            self._stale = True
            return
        self._first = [(weakref.ref(first), _place(first)) for first in firsts if first is not None]

    def columns(self) -> dict[str, list[int]]:
        """The series by column name."""
        rows = [*self.rows]  # a thread that is late may still add one
        return {name: [row[place] for row in rows] for place, name in enumerate(MEMORY_COLUMNS)}

    def close(self) -> None:
        """Give the file descriptor back, as soon as no thread reads it."""
        self._statm = None


class _OwnStatm:
    """A descriptor of `/proc/self/statm`, closed when the last reference to this is gone."""

    def __init__(self) -> None:
        self.descriptor = os.open("/proc/self/statm", os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # opening it may have failed
            os.close(self.descriptor)


def held_bytes(models: Iterable[torch.nn.Module]) -> tuple[int, int]:
    """(bytes in memory, bytes of meta and fake tensors) of the parameters and buffers of these models, all together.

    Memory that several tensors share (ties, views of one buffer, modules of one model) counts once. What has no size
    yet (the parameters of nn.LazyLinear before its first call) is not counted. A KV cache that is a part of its model
    is no parameter: the series has it in a column of its own.
    """
    modules = [module for model in models for module in model.modules() if not is_cache(module)]
    held = [tensor for module in modules for tensor in (*module._parameters.values(), *module._buffers.values())]
    tensors = {id(tensor): tensor for tensor in held if tensor is not None}
    ranges: dict[torch.device, list[tuple[int, int]]] = {}
    elsewhere = virtual = 0
    for tensor in itertools.chain.from_iterable(map(_parts, tensors.values())):
        size = tensor.element_size()
        nbytes = tensor.numel() * size
        try:
            storage = tensor.untyped_storage()
            if tensor.is_meta or storage.device.type == "meta":
                virtual += nbytes
                continue
            begin = tensor.data_ptr()
            nbytes = min(nbytes, storage.nbytes() - tensor.storage_offset() * size)  # expanded: less
        except (RuntimeError, NotImplementedError):  # a kind of tensor without one storage
            elsewhere += nbytes
        else:
            ranges.setdefault(tensor.device, []).append((begin, begin + nbytes))
    return elsewhere + sum(map(_covered, ranges.values())), virtual


def _parts(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    if type(tensor) in PLAIN:
        return (tensor,)
    return () if is_lazy(tensor) else parts_with_memory(tensor)


def _covered(ranges: list[tuple[int, int]]) -> int:
    """How many addresses lie in at least one of these ranges."""
    covered = reached = 0
    for begin, end in sorted(ranges):
        covered += max(end - max(begin, reached), 0)
        reached = max(reached, end)
    return covered


def _place(tensor: torch.Tensor) -> tuple[torch.dtype, torch.device, int]:
    """Changes when a model is cast or moved."""
    try:
        return tensor.dtype, tensor.device, 0 if tensor.is_meta else local_part(tensor).untyped_storage()._cdata
    except Exception:  # lazy, without one storage, or of a class that does not say
        return tensor.dtype, tensor.device, 0


def _moved(reference: weakref.ref, place: object) -> bool:
    tensor = reference()
    return tensor is None or _place(tensor) != place
