"""torch.compile looks at every Python function that runs while it traces a model, the probes' callbacks too."""

from __future__ import annotations

import types
from collections.abc import Iterable


def keep_from_compiler(functions: Iterable[types.FunctionType]) -> None:
    """Have torch.compile look neither at these functions nor at what they call.

    Else it would compile the probes, and warn of them in the reader's program. Does nothing where torch is too old to
    be told.
    """
    try:
        from torch._C._dynamo.eval_frame import _FrameAction, _FrameExecStrategy, set_code_exec_strategy
    except ImportError:
        return
    strategy = _FrameExecStrategy(_FrameAction.SKIP, _FrameAction.SKIP)
    for function in functions:
        set_code_exec_strategy(function.__code__, strategy)
