"""Module calls, read from the frame of `torch.nn.Module._wrapped_call_impl`: self, args and kwargs are its locals.

One source of events: forward hooks under a profile function multiply its cost, and they see no module whose forward
an offload hook replaced. The name of a module is its path in the outermost module that was called.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable

import torch

from ..events import MODULE, NOT_OBSERVED
from ..landmarks import code_of
from ..recording.rows import ModuleRow
from .describe import Describer
from .watch import Seen, Watch

UNNAMED = "(not in the model)"
MOST_NUMBERED = 256  # inputs behind a *


class ModuleNames:
    """Paths of modules in their model. Holds weak references only.

    `paths[i]` is one module's, `rows[i]` says of which model and which class it is.
    """

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.rows: list[ModuleRow] = []
        self.models = 0  # how many were learned
        self._index: dict[tuple, int] = {}
        self._models: dict[int, weakref.ref] = {}  # by id of a module, the model that it is expected to be a part of
        # by id of a module, its place in `paths`; a module that dies takes its entry out, so none need be checked
        self.known: dict[int, int] = {}
        self._references: dict[int, weakref.ref] = {}

    def of(self, module: torch.nn.Module) -> int | None:
        """Index into `paths` of this module's path; None for a module that was not met before."""
        return self.known.get(id(module))

    def expect(self, model: torch.nn.Module) -> None:
        """This is a whole model: a part of it that is called before it is named as its part."""
        whole = weakref.ref(model)
        self._models |= {id(module): whole for module in model.modules()}

    def model_of(self, module: torch.nn.Module) -> torch.nn.Module | None:
        """The model that a module is a part of, as far as is known."""
        model = self._models.get(id(module), lambda: None)()
        return model if model is not None and any(part is module for part in model.modules()) else None

    def learn(self, model: torch.nn.Module) -> None:
        """Remember the paths of all modules of a model, which has the next number."""
        for path, module in model.named_modules():
            self.remember(module, path, self.models)
        self.models += 1

    def remember(self, module: torch.nn.Module, path: str, model: int = NOT_OBSERVED) -> int:
        """Index into `paths` of this module from now on."""
        row = ModuleRow(model, type(module).__name__)
        index = self._index.get((path, row))
        if index is None:
            index = self._index[path, row] = len(self.paths)
            self.paths.append(path)
            self.rows.append(row)
        key = id(module)
        self.known[key] = index
        self._references[key] = weakref.ref(module, lambda _, known=self.known: known.pop(key, None))
        return index


class ModuleReader:
    """Reads a module call; `function_of` gives the index of a code object in the recording's functions.

    `on_model(module)` is told of each outermost module that is called, `on_class(class)` of each class, the first time.
    """

    def __init__(
        self,
        describer: Describer,
        function_of: Callable[[types.CodeType], int],
        is_outermost: Callable[[], bool],
        on_model: Callable[[torch.nn.Module], None],
        on_class: Callable[[type[torch.nn.Module]], None],
    ) -> None:
        self.names = ModuleNames()
        self._function_of = function_of
        self._is_outermost = is_outermost
        self._on_model = on_model
        self._on_class = on_class
        self.read = self._reading(describer)

    def _reading(self, describer: Describer) -> Callable[[types.FrameType], Seen]:
        """`read(frame)`: (function, path, description) of the module call that starts in this frame."""
        description, description_of_one = describer.description, describer.description_of_one
        path_of, first_met, forward_of = self.names.known.get, self._first_met, self._forward_of
        forwards: dict[type, tuple[int, tuple[str, ...], tuple[str, ...]]] = {}
        known_forward = forwards.get

        def read(frame: types.FrameType) -> Seen:
            values = frame.f_locals
            module = values["self"]
            kind = type(module)
            forward = known_forward(kind)
            if forward is None:
                forward = forwards[kind] = forward_of(kind)
            function, parameters, first = forward
            path = path_of(id(module))
            if path is None:
                path = first_met(module)
            arguments, keywords = values["args"], values["kwargs"]
            if keywords:
                if not arguments:
                    return function, path, description(tuple(keywords), keywords.values())
                given = (*arguments[: len(parameters)], *keywords.values())
                return function, path, description((*parameters[: len(arguments)], *keywords), given)
            if len(arguments) == 1 and first:
                return function, path, description_of_one(first, arguments[0])
            return function, path, description(parameters[: len(arguments)], arguments)

        return read

    def generation_begins(self, frame: types.FrameType) -> None:
        """generate() is called: its model is a whole one, though its encoder is called before it."""
        model = frame.f_locals["self"]
        if isinstance(model, torch.nn.Module) and self.names.of(model) is None:
            self.names.expect(model)

    def _first_met(self, module: torch.nn.Module) -> int:
        model = self.names.model_of(module)
        if model is None and self._is_outermost():
            model = module
        if model is not None:
            self._on_model(model)
            self.names.learn(model)
            return self.names.of(module)
        # added after its model's first call, or called from outside its model
        return self.names.remember(module, UNNAMED)

    def _forward_of(self, kind: type[torch.nn.Module]) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """The function of a class's forward, the names of its positional inputs, and the first of them."""
        self._on_class(kind)
        code = code_of(getattr(kind, "forward", None))  # a scripted module's class has none that can be looked up
        if code is None:
            return self._function_of(torch.nn.Module._wrapped_call_impl.__code__), (), ()
        positional = code.co_varnames[1 : code.co_argcount]
        if code.co_flags & 0x04:  # *args: further inputs are numbered
            positional += tuple(f"input.{position}" for position in range(MOST_NUMBERED))
        return self._function_of(code), positional, positional[:1]


def module_watch(reader: ModuleReader) -> Watch:
    """The watch on every module call."""
    return Watch(torch.nn.Module._wrapped_call_impl.__code__, reader.read, kind=MODULE, result="output")
