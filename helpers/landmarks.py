"""The landmarks: the steps of the call path, each with the function that plays the role in the installed version.

`landmarks.json` names the function for each range of transformers versions. Here a landmark is resolved to its code
object (after unwrapping decorators), because matching code objects is the only method that never misses a call:
aliases, copies and registries defeat patching by name.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from importlib.resources import files

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from .probes.redact import text

TABLE_FILE = "landmarks.json"


@dataclass(frozen=True, eq=False)
class Landmark:
    """One step of the call path, independent of the version; `kind` is "call", "c_call" (a builtin) or "fact"."""

    id: str
    stage: int
    role: str
    kind: str
    article_name: str
    in_article: bool
    candidates: dict[str, str | None]
    fires_when: str
    thread: str
    expect: dict[str, str | dict[str, str]]
    note: str
    observed: dict[str, dict]
    notebook: str
    caller: str | None = None
    outside_modules: bool = False  # a call made within a module's is none of this landmark's
    callers: dict[str, dict[str, str]] = field(default_factory=dict)

    @functools.cached_property
    def repeats_within_a_step(self) -> bool:
        """Whether it fires per layer (L), tensor (P) or module, so that a memory reading each time costs much."""
        rules: list[str] = []
        for rule in self.expect.values():
            rules.extend(rule.values() if isinstance(rule, dict) else [rule])
        return any(variable in rule for rule in rules for variable in "LPD") or self.id in _MANY


# Fire hundreds of times, although their rule is only a lower bound.
_MANY = {"init.nn_module", "fwd.module_call", "load.rename", "load.tensor_to", "hub.resolve_revision"}


@dataclass(frozen=True)
class Resolution:
    """What a landmark is in the installed version: its function, or the reason why there is none."""

    landmark: Landmark
    target: str | None = None
    function: Callable | None = None
    code: types.CodeType | None = None
    callers: tuple[tuple[types.CodeType, dict[str, str]], ...] = ()
    reason: str = ""

    @property
    def found(self) -> bool:
        return self.code is not None or bool(self.callers)


@functools.cache
def _document() -> dict:
    return json.loads(files("helpers").joinpath(TABLE_FILE).read_text(encoding="utf-8"))


@functools.cache
def table() -> tuple[Landmark, ...]:
    """All landmarks, in the order of the call path."""
    rows = [Landmark(**row) for row in _document()["landmarks"]]
    return tuple(sorted(rows, key=lambda landmark: landmark.stage))


def stages() -> dict[int, str]:
    """The ten stages: number to name."""
    return {int(number): name for number, name in _document()["stages"].items()}


def scenarios() -> dict[str, str]:
    """The runs in which the table says how often a landmark fires: name to what is run."""
    return dict(_document()["scenarios"])


def tested_versions() -> list[str]:
    """The transformers versions in which the table was checked by running, oldest first."""
    return sorted(_document()["tested"], key=Version)


@functools.cache
def installed_version() -> str:
    """The version of transformers that is installed."""
    return metadata.version("transformers")


def table_version(version: str) -> str:
    """The version to read the table as: `version` itself, or the nearest tested one when it lies outside the range."""
    tested = [Version(text) for text in tested_versions()]
    inside = min(max(Version(version), tested[0]), tested[-1])
    return str(inside)


def version_warning(version: str | None = None) -> str | None:
    """A sentence that names the version and the range read instead, or None when the version is in the tested range."""
    version = version or installed_version()
    nearest = table_version(version)
    if Version(nearest) == Version(version):
        return None
    tested = tested_versions()
    return (
        f"transformers {version} is outside the tested range {tested[0]} to {tested[-1]}: the landmark table is read "
        f"as for {nearest}. Landmarks that moved are listed as not observed; to be exact install transformers "
        f"{nearest}."
    )


def pick(by_range: dict[str, str | None], version: str) -> str | None:
    """The value whose version range (PEP 440, pre-releases included) contains `version`, else None."""
    return next((value for specifier, value in by_range.items() if _contains(specifier, version)), None)


@functools.cache
def _contains(specifier: str, version: str) -> bool:
    return SpecifierSet(specifier, prereleases=True).contains(version)


def resolve(version: str | None = None) -> list[Resolution]:
    """Resolve every landmark that is a call against the installed packages, reading the table as for `version`.

    Imports the modules that the table names, so that a recording made afterwards is not flooded by lazy imports.
    A landmark that cannot be resolved comes back with the reason; nothing is raised.
    """
    version = table_version(version or installed_version())
    return [_resolve_one(landmark, version) for landmark in table() if landmark.kind != "fact"]


@functools.cache
def _target(landmark: Landmark, version: str) -> str | None:
    return pick(landmark.candidates, version)


def _resolve_one(landmark: Landmark, version: str) -> Resolution:
    target = _target(landmark, version)
    if target is None:
        return Resolution(
            landmark,
            reason=f"no function plays this part in transformers {version}: {landmark.note}".rstrip(": "),
        )
    try:
        function = find(target)
    except (ImportError, AttributeError) as error:
        return Resolution(
            landmark, target, reason=f"gone: {target} is not in the installed packages ({text(str(error))})"
        )
    except Exception as error:  # importing a module runs it, and it may fail in any way
        told = text(f"{type(error).__name__}: {error}")
        return Resolution(landmark, target, reason=f"not observed: looking for {target} failed ({told})")
    if landmark.kind == "c_call":
        callers = tuple(_caller_codes(landmark))
        reason = "" if callers else f"gone: none of the functions that call {target} is in the installed packages"
        return Resolution(landmark, target, function, callers=callers, reason=reason)
    code = code_of(function)
    if code is None:
        return Resolution(landmark, target, function, reason=f"{target} is not a Python function")
    return Resolution(landmark, target, function, code)


def _caller_codes(landmark: Landmark) -> Iterator[tuple[types.CodeType, dict[str, str]]]:
    for caller, local_names in landmark.callers.items():
        try:
            code = code_of(find(caller))
        except Exception:  # this caller belongs to another version of the table, or its module cannot be imported
            continue
        if code is not None:
            yield code, local_names


def find(target: str) -> Callable:
    """The object that `module:qualname` names, not unwrapped; `A.<locals>.b` gives the code of `b` within `A`.

    Raises ImportError or AttributeError when there is no such thing.
    """
    module_name, _, qualname = target.partition(":")
    found = sys.modules.get(module_name) or importlib.import_module(module_name)  # it takes locks to look there
    names = qualname.split(".")
    while names:
        name = names.pop(0)
        if name == "<locals>":
            return _nested_code(found, names[0], target)
        found = _of_class(found, name) if isinstance(found, type) else getattr(found, name)
    return found


def _of_class(owner: type, name: str) -> object:
    """An attribute of a class as it stands there: a static method is not yet a function."""
    for base in owner.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return inspect.getattr_static(owner, name)  # of the metaclass; it raises the AttributeError


def _nested_code(function: Callable, name: str, target: str) -> types.CodeType:
    code = code_of(function)
    for constant in code.co_consts if code else ():
        if isinstance(constant, types.CodeType) and constant.co_name == name:
            return constant
    raise AttributeError(f"{target}: no inner function {name!r}")


def code_of(function: object) -> types.CodeType | None:
    """The code object that runs when `function` is called, behind decorators and descriptors; None for builtins."""
    if isinstance(function, types.CodeType):
        return function
    if isinstance(function, property):
        function = function.fget
    if isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, (staticmethod, classmethod)):
        function = function.__func__
    if hasattr(function, "__wrapped__"):
        function = inspect.unwrap(function)
    return getattr(_behind_dynamo(function), "__code__", None)


def _behind_dynamo(function: object) -> object:
    """What a function calls that torch.compile has put in place of it: `Module.__init__`, from its first use on.

    `patched_init` in torch/_dynamo/mutation_guard.py holds the original in a cell and does not name it in __wrapped__.
    """
    if getattr(function, "__module__", None) != "torch._dynamo.mutation_guard":
        return function
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    return next((cell for cell in cells if isinstance(cell, types.FunctionType)), function)
