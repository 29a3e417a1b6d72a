"""The zoom level "values": minimum, maximum, mean, NaN and infinities of what each module call gave back.

Read when the call returns, without autograd and without random numbers; nothing of the tensor is kept. On a GPU each
tensor is waited for. The inputs of a call are looked at only where its output has NaN: to tell the module that made it
from those that passed it on.
"""

from __future__ import annotations

import math
import threading
import types

import torch

from ..events import NOT_OBSERVED, VALUE_STATUSES
from .describe import Describer
from .guard import noting
from .torch_modes import has_no_values, outside_dispatch_modes

READ, META, EMPTY, NOT_FLOATING, NOT_STRIDED, FAILED = range(len(VALUE_STATUSES))
SUMMED_IN_FLOAT32 = frozenset((torch.float32, torch.float16, torch.bfloat16))
NOTHING_READ = (math.nan, math.nan, math.nan, NOT_OBSERVED, NOT_OBSERVED)


class _Finder(Describer):
    """Finds the tensors of a value in the order in which a recording describes them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.Tensor] = []

    def tensor(self, path: str, value: torch.Tensor) -> int:
        self.found.append(value)
        return 0

    def of(self, value: object) -> list[torch.Tensor]:
        """The tensors, held by nobody else afterwards."""
        if type(value) is torch.Tensor:
            return [value]
        self.describe((("output", value),))
        found, self.found = self.found, []
        return found


class ValuesProbe:
    """Collects rows (event, output, status, min, max, mean, nan, inf, nan_in), in the order in which calls returned."""

    def __init__(self) -> None:
        self.rows: list[tuple] = []
        self.problems: dict[str, str] = {}
        self._local = threading.local()

    @noting("values")
    @outside_dispatch_modes
    def module_returned(self, event: int, value: object, frame: types.FrameType) -> None:
        """A module call gave `value`; `frame` is that of its `_wrapped_call_impl`."""
        if type(value) is torch.Tensor:
            read = _read_as_most_are(value)
            if read is not None:
                self.rows.append((event, 0, *read, NOT_OBSERVED))
                return
        found = [_read(tensor) for tensor in self._tensors(value)]
        nan_in = self._nan_in(frame) if any(nan > 0 for *_, nan, _ in found) else NOT_OBSERVED
        for output, read in enumerate(found):
            self.rows.append((event, output, *read, nan_in))

    def _tensors(self, value: object) -> list[torch.Tensor]:
        if not hasattr(self._local, "finder"):
            self._local.finder = _Finder()
        return self._local.finder.of(value)

    def _nan_in(self, frame: types.FrameType) -> int:
        """How many NaN the arguments of this module call hold."""
        arguments = frame.f_locals
        tensors = [
            tensor for value in (*arguments["args"], *arguments["kwargs"].values()) for tensor in self._tensors(value)
        ]
        return sum(int(torch.isnan(tensor.detach()).sum()) for tensor in tensors if _status(tensor) == READ)


def _read_as_most_are(tensor: torch.Tensor) -> tuple | None:
    """What `_read` gives for a tensor of finite numbers on a CPU, in half the time; None for any other."""
    if tensor.dtype not in SUMMED_IN_FLOAT32 or not tensor.is_cpu or tensor.requires_grad:
        return None
    try:
        found = _summary(tensor, torch.float32)
    except Exception:  # empty, sparse
        return None
    return (READ, *found, 0, 0) if all(map(math.isfinite, found)) else None


def _read(tensor: torch.Tensor) -> tuple:
    """(status, min, max, mean, nan, inf) of one tensor."""
    status = _status(tensor)
    if status != READ:
        return (status, *NOTHING_READ)
    try:
        return (READ, *statistics(tensor))
    except Exception:  # a subclass, a wrapper of functorch, a kernel that is missing: the run must go on unchanged
        return (FAILED, *NOTHING_READ)


def _status(tensor: torch.Tensor) -> int:
    """Whether the values can be read, else why not: an index into VALUE_STATUSES."""
    if tensor.is_meta or has_no_values(tensor):
        return META
    if not tensor.is_floating_point():
        return NOT_FLOATING
    if not tensor.numel():
        return EMPTY
    return READ if tensor.layout == torch.strided else NOT_STRIDED


def statistics(tensor: torch.Tensor) -> tuple[float, float, float, int, int]:
    """(min, max, mean, NaN, infinities) of a floating-point tensor that is not empty.

    The first three are of its finite values, as Python floats, NaN where there is none. The mean is summed in float32
    (float64 for float64): pairwise, so to about 1e-7 of the mean magnitude. Where that overflows it is summed in
    float64 (not on MPS, which has none). The last two are counts.
    """
    values = tensor.detach()  # outside autograd, and so is all that is computed from it
    if values.element_size() == 1:
        values = values.float()  # float8 can be stored, not computed with
    # float64 for all would cost twice the time: torch copies the tensor to add it up
    low, high, mean = _summary(values, torch.float64 if values.dtype == torch.float64 else torch.float32)
    if math.isfinite(low) and math.isfinite(high) and math.isfinite(mean):
        return low, high, mean, 0, 0
    nan, inf = int(torch.isnan(values).sum()), int(torch.isinf(values).sum())
    finite = values[torch.isfinite(values)]
    if not finite.numel():
        return math.nan, math.nan, math.nan, nan, inf
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    low, high, mean = _summary(finite, wide)
    if not math.isfinite(mean):  # the sum is too large: divide first
        mean = float((finite.to(wide) / finite.numel()).sum())
    return low, high, mean, nan, inf


def _summary(values: torch.Tensor, wide: torch.dtype) -> tuple[float, float, float]:
    """Minimum, maximum and mean; all of them NaN where one value is."""
    low, high = torch.aminmax(values)
    total = values.sum(dtype=wide)
    if values.device.type != "cpu":  # one wait for the device in place of three; on a CPU it only costs
        low, high, total = torch.stack([low.to(wide), high.to(wide), total]).tolist()
        return low, high, total / values.numel()
    return low.item(), high.item(), total.item() / values.numel()
