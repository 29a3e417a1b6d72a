"""What in torch would see the probes read a tensor, so that recording would change what the program does.

A TorchFunctionMode is asked for each attribute of a tensor, a TorchDispatchMode for each operation: the probes read
outside them. torch.jit.trace makes each size that is read a part of its graph: while it traces, nothing is read. In
torch.export and a fake mode a size may be a symbol, which becomes a constant of the program when it is made a number.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.utils._python_dispatch import _disable_current_modes

from ..events import NOT_OBSERVED
from ..landmarks import code_of, find
from .redact import text

if TYPE_CHECKING:
    from .calls import CallProbe

function_mode_is_on = getattr(torch._C, "_is_torch_function_mode_enabled", lambda: False)
outside_function_modes = torch._C.DisableTorchFunction

# the functions of torch.jit in which a graph is traced
TRACERS = ("torch.jit._trace:_trace_impl", "torch.jit._trace:trace_module", "torch.jit._trace:ONNXTracedModule.forward")


def outside_dispatch_modes(hook: Callable) -> Callable:
    """Decorates a hook that computes: a TorchDispatchMode of the program's does not see its operations."""

    @functools.wraps(hook)
    def outside(*arguments: object) -> object:
        if not torch._C._len_torch_dispatch_stack():
            return hook(*arguments)
        with _disable_current_modes():
            return hook(*arguments)

    return outside


def has_no_values(tensor: torch.Tensor) -> bool:
    """Whether a tensor is of a fake mode: reading it would make a symbol of the program's, or fail."""
    from torch._subclasses.fake_tensor import is_fake

    return type(tensor) is not torch.Tensor and is_fake(tensor)


def whole(size: object) -> int:
    """A size as a number; of a symbol that of the example. -1: there is none, as the ragged one of a nested tensor."""
    try:
        return int(size.node.hint if isinstance(size, torch.SymInt) else size)
    except Exception:
        return NOT_OBSERVED


class TracerPause:
    """Stops the reading of events in a thread while torch.jit traces there."""

    def __init__(self, probe: CallProbe) -> None:
        self.problems: dict[str, str] = {}
        self._thread = probe.state
        self._local = threading.local()
        for target in TRACERS:
            try:
                code = code_of(find(target))
            except Exception as error:  # another torch
                self.problems[target] = f"{target}: not observed ({text(f'{type(error).__name__}: {error}')})"
                continue
            if code is not None:
                probe.tell(code, self.begins, self.ends)

    def begins(self, _frame: types.FrameType) -> None:
        depth = self._local.depth = getattr(self._local, "depth", 0) + 1
        if depth == 1:
            thread = self._thread()
            self._local.kept, thread.keeping = thread.keeping, False
            self.problems["torch.jit.trace"] = (
                "torch.jit.trace ran: what it called is not observed, as each size that is read while it traces is "
                "made a part of its graph. Record a call of the model itself."
            )

    def ends(self, _value: object) -> None:
        self._local.depth -= 1
        if not self._local.depth:
            self._thread().keeping = self._local.kept
