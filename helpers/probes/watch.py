"""A Watch says what to do with one code object: how to read its frame when it starts and its value when it ends."""

from __future__ import annotations

import functools
import operator
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..events import BUILTIN, CALL, NOT_OBSERVED
from .read_locals import of_frame
from .redact import Word, is_given_a_word

if TYPE_CHECKING:
    from .describe import Describer

GENERATOR = 0x20 | 0x80 | 0x200  # CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR
VARIABLE_ARGUMENTS, VARIABLE_KEYWORDS = 0x04, 0x08

Seen = tuple[int, int, int]  # function, path (of a module) and description


class Watch:
    """One function that is watched.

    `read(frame)` gives (function, path, description) when a call starts; what it returns is described as `result`.
    Without `read` a call makes no event: only the hooks `on_enter` and `on_exit` are told.
    `samples_memory`: memory is read before and after. `boundary`: stays on in steps of which only a summary is kept,
    and its hooks tell the step tracker. `in_steps`: a generation step has called it. `accepts(frame)`: which of its
    calls count (None: all). `measure(event, value, frame)` reads the values of what a call gave back; it is the only
    one that may look into a tensor.
    """

    __slots__ = (
        "accepts",
        "boundary",
        "code",
        "in_steps",
        "kind",
        "measure",
        "on_enter",
        "on_exit",
        "read",
        "result",
        "samples_memory",
    )

    def __init__(
        self,
        code: types.CodeType,
        read: Callable[[types.FrameType], Seen] | None = None,
        *,
        kind: int = CALL,
        result: str = "result",
        samples_memory: bool = False,
        accepts: Callable[[types.FrameType], bool] | None = None,
    ) -> None:
        self.code = code
        self.kind = kind
        self.read = read
        self.result = (result,)
        self.samples_memory = samples_memory
        self.boundary = False
        self.in_steps = False
        self.measure: Callable[[int, object, types.FrameType], None] | None = None
        self.on_enter: Callable[[types.FrameType], None] | None = None
        self.on_exit: Callable[[object], None] | None = None
        self.accepts = accepts

    def add_hooks(
        self,
        on_enter: Callable[[types.FrameType], None] | None = None,
        on_exit: Callable[[object], None] | None = None,
    ) -> None:
        """Call these too when a call starts and ends; hooks that are there already come first."""
        self.on_enter = _both(self.on_enter, on_enter)
        self.on_exit = _both(self.on_exit, on_exit)

    @property
    def name(self) -> str:
        """As problems call it."""
        return self.code.co_qualname

    @property
    def is_generator(self) -> bool:
        return bool(self.code.co_flags & GENERATOR)


def _both(first: Callable | None, second: Callable | None) -> Callable | None:
    if first is None or second is None:
        return first or second

    def both(argument: object) -> None:
        first(argument)
        second(argument)

    return both


class BuiltinWatch:
    """A builtin that is watched in one calling function. `read(frame)` is given the caller's frame: see
    builtin_reader. What a builtin returns is not told."""

    __slots__ = ("caller", "in_steps", "matches", "name", "read", "samples_memory")

    kind = BUILTIN
    accepts = on_enter = on_exit = None

    def __init__(
        self,
        builtin: object,
        caller: types.CodeType,
        read: Callable[[types.FrameType], Seen],
        *,
        samples_memory: bool = False,
    ) -> None:
        self.caller = caller
        self.name = builtin.__name__
        self.matches = _matcher(builtin)
        self.read = read
        self.samples_memory = samples_memory
        self.in_steps = False  # whether a generation step has called it


def _matcher(builtin: object) -> Callable[[object], bool]:
    """Whether a callable is `builtin`, called as a function, as an unbound method or as a bound one."""
    owner = getattr(builtin, "__objclass__", None)
    name = builtin.__name__
    if owner is None:
        return functools.partial(operator.is_, builtin)  # no Python call: it is asked at each call of the caller
    return lambda called: (
        called is builtin
        or (getattr(called, "__name__", None) == name and isinstance(getattr(called, "__self__", None), owner))
    )


def call_reader(code: types.CodeType, function: int, describer: Describer) -> Callable[[types.FrameType], Seen]:
    """Reads the arguments of an ordinary call from its frame's parameters."""
    positional = code.co_argcount + code.co_kwonlyargcount
    names = code.co_varnames[:positional]
    extra = iter(code.co_varnames[positional:])
    starred = next(extra) if code.co_flags & VARIABLE_ARGUMENTS else None
    keywords = next(extra) if code.co_flags & VARIABLE_KEYWORDS else None
    description = describer.description
    word = names.index("token") if is_given_a_word(code) else None
    given_to = operator.itemgetter(*names) if len(names) > 1 else lambda values: [values[name] for name in names]

    def read(frame: types.FrameType) -> Seen:
        values = frame.f_locals
        given = given_to(values)
        given_names = names
        if word is not None and type(given[word]) is str:
            given = (*given[:word], Word(given[word]), *given[word + 1 :])
        if starred is not None and values[starred]:
            given = (*given, *values[starred])
            given_names += tuple([f"*{starred}.{position}" for position in range(len(values[starred]))])
        if keywords is not None and values[keywords]:
            given = (*given, *values[keywords].values())
            given_names += tuple(values[keywords])
        return function, NOT_OBSERVED, description(given_names, given)

    return read


def builtin_reader(
    function: int,
    local_names: dict[str, str],
    describer: Describer,
    locals_of: Callable[[types.FrameType], Mapping[str, object]] = of_frame,
) -> Callable[[types.FrameType], Seen]:
    """Reads the arguments of a builtin from its caller's locals (`local_names`: local to argument name; `**` opens a
    dictionary), since neither profile events nor monitoring give them."""
    description = describer.description

    def read(frame: types.FrameType) -> Seen:
        values = locals_of(frame)
        names: list[str] = []
        given: list[object] = []
        for local, name in local_names.items():
            if local not in values:
                continue
            if name.startswith("**"):
                names += values[local]
                given += values[local].values()
            else:
                names.append(name)
                given.append(values[local])
        return function, NOT_OBSERVED, description(tuple(names), given)

    return read
