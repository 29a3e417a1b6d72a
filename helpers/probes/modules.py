"""Module calls, read from the frame of `torch.nn.Module._wrapped_call_impl`: self, args and kwargs are its locals.

One source of events: forward hooks under a profile function multiply its cost, and they see no module whose forward
an offload hook replaced. The name of a module is its path in the outermost module that was called.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable

import torch

from ..events import MODULE
from ..landmarks import code_of
from .describe import Describer
from .watch import Seen, Watch

UNNAMED = "(not in the model)"


class ModuleNames:
    """Paths of modules in their model. Holds weak references only."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._index: dict[str, int] = {}
        self._known: dict[int, tuple[weakref.ref, int]] = {}

    def of(self, module: torch.nn.Module) -> int | None:
        """Index into `paths` of this module's path; None for a module that was not met before."""
        known = self._known.get(id(module))
        return known[1] if known is not None and known[0]() is module else None

    def learn(self, model: torch.nn.Module) -> int:
        """Remember the paths of all modules of a model; returns that of the model itself."""
        for path, module in model.named_modules():
            self.remember(module, path)
        return self.of(model)

    def remember(self, module: torch.nn.Module, path: str) -> int:
        index = self._index.get(path)
        if index is None:
            index = self._index[path] = len(self.paths)
            self.paths.append(path)
        self._known[id(module)] = (weakref.ref(module), index)
        return index


class ModuleReader:
    """Reads a module call; `function_of` gives the index of a code object in the recording's functions."""

    def __init__(
        self,
        describer: Describer,
        function_of: Callable[[types.CodeType], int],
        is_outermost: Callable[[], bool],
        on_model: Callable[[torch.nn.Module], None],
    ) -> None:
        self.names = ModuleNames()
        self._describer = describer
        self._function_of = function_of
        self._is_outermost = is_outermost
        self._on_model = on_model
        self._forwards: dict[type, tuple[int, tuple[str, ...]]] = {}

    def read(self, frame: types.FrameType) -> Seen:
        """(function, path, tensors, values) of the module call that starts in this frame."""
        values = frame.f_locals
        module = values["self"]
        forward = self._forwards.get(type(module))
        if forward is None:
            forward = self._forwards[type(module)] = self._forward_of(type(module))
        function, parameters = forward
        path = self.names.of(module)
        if path is None:
            path = self._first_met(module)
        arguments = list(zip(parameters, values["args"], strict=False))
        arguments.extend(values["kwargs"].items())
        return (function, path, *self._describer.describe(arguments))

    def _first_met(self, module: torch.nn.Module) -> int:
        if self._is_outermost():
            self._on_model(module)
            return self.names.learn(module)
        # added after its model's first call, or called from outside its model
        return self.names.remember(module, UNNAMED)

    def _forward_of(self, kind: type[torch.nn.Module]) -> tuple[int, tuple[str, ...]]:
        code = code_of(kind.forward)
        if code is None:
            return self._function_of(torch.nn.Module._wrapped_call_impl.__code__), ()
        positional = code.co_varnames[1 : code.co_argcount]
        if code.co_flags & 0x04:  # *args: further inputs are numbered
            positional += tuple(f"input.{position}" for position in range(8))
        return self._function_of(code), positional


def module_watch(reader: ModuleReader, describer: Describer) -> Watch:
    """The watch on every module call."""
    return Watch(
        torch.nn.Module._wrapped_call_impl.__code__,
        reader.read,
        lambda value: describer.describe((("output", value),)),
        kind=MODULE,
    )
