"""Methods that a model's own class has in place of the library's, by which the steps of its generation are told."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping

from ..landmarks import Resolution, code_of
from .guard import noting

Hooks = tuple[Callable | None, Callable | None]  # on_enter, on_exit


class OverriddenMethods:
    """Has the hooks of a landmark, a method of GenerationMixin, told of what runs in its place too.

    `tell(code, on_enter, on_exit)`: see CallProbe. `instead`: by landmark the method that a model has in its place.
    """

    def __init__(self, tell: Callable, resolutions: list[Resolution], hooks: Mapping[str, Hooks]) -> None:
        self.instead: dict[str, str] = {}
        self.problems: dict[str, str] = {}
        self._tell = tell
        self._hooks = hooks
        self._landmarks = [one for one in resolutions if one.landmark.id in hooks and one.code is not None]
        self._told = {id(one.code) for one in self._landmarks}

    @noting("generation steps")
    def generation_begins(self, frame: types.FrameType) -> None:
        """generate() is called."""
        kind = type(frame.f_locals["self"])
        for one in self._landmarks:
            own = code_of(getattr(kind, one.target.rpartition(".")[2], None))
            if own is None or own is one.code:
                continue
            self.instead[one.landmark.id] = own.co_qualname
            if id(own) not in self._told:
                self._told.add(id(own))
                self._tell(own, *self._hooks[one.landmark.id])
