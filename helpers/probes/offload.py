"""What accelerate's hooks move: one event per call of AlignDevicesHook.pre_forward that brings weights for a module.

The module's parameters are meta tensors until then; what is moved, from where to where, is read from the hook and from
them, so that no weight is touched. Its time on a CPU is that of reading and copying, on a GPU that of queueing.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator

from ..events import NOT_OBSERVED
from ..landmarks import code_of
from .describe import Describer
from .watch import Seen, Watch, call_reader
from .weights import as_device, stored_on

HOOK = "AlignDevicesHook.pre_forward"
MOVED = "moved."  # before the name of a weight, among the inputs of the event
FROM, TO = "moved_from", "moved_to"


def offload_watch(describer: Describer, function_of: Callable[[types.CodeType], int], *, all_calls: bool) -> Watch:
    """The watch on the hook that moves weights; `all_calls`: its calls that move none are events too."""
    from accelerate.hooks import AlignDevicesHook

    code = code_of(AlignDevicesHook.pre_forward)
    function = function_of(code)
    call = call_reader(code, function, describer)

    def read(frame: types.FrameType) -> Seen:
        if not moves_weights(frame):
            return call(frame)
        hook, module = frame.f_locals["self"], frame.f_locals["module"]
        names, values = zip(*_moved(hook, module), strict=True)
        return function, NOT_OBSERVED, describer.description(names, values)

    return Watch(code, read, accepts=None if all_calls else moves_weights)


def moves_weights(frame: types.FrameType) -> bool:
    """Whether this call of pre_forward is one of a hook whose module's weights are kept elsewhere."""
    return bool(getattr(frame.f_locals.get("self"), "offload", False))


def _moved(hook: object, module: object) -> Iterator[tuple[str, object]]:
    """What a hook brings for its module: the weights' names and sizes, where they are kept, and where they go."""
    yield "module", module
    yield TO, None if hook.execution_device is None else str(as_device(hook.execution_device))
    named = list(module.named_parameters(recurse=hook.place_submodules))
    if hook.offload_buffers:
        named += module.named_buffers(recurse=hook.place_submodules)
    sources = dict.fromkeys(str(stored_on(hook.weights_map, name)) for name, _ in named)
    yield FROM, ", ".join(sources)
    for name, tensor in named:
        yield MOVED + name, tensor
