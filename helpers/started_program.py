"""What `python -m helpers record` runs: a script or a module, entered as Python itself enters it."""

from __future__ import annotations

import builtins
import os
import runpy
import sys
import types
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path


class ScriptError(RuntimeError):
    """What cannot be recorded as asked; nothing was run."""


class Script:
    """`python SCRIPT.py`. Raises ScriptError where there is nothing to run."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._source = _checked_source(path)

    def enter(self, arguments: list[str]) -> tuple[types.CodeType, types.ModuleType]:
        """The code, and the `__main__` in which it is to run; sys.argv and sys.path are then the script's."""
        place = os.path.abspath(self._path)
        main = _main_module(place, SourceFileLoader("__main__", place), None)
        sys.argv = [self._path, *arguments]
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = _folder_of(self._path)
        return compile(self._source, place, "exec", dont_inherit=True), main


class Module:
    """`python -m MODULE`. Raises ScriptError where Python knows no such module, as far as it can tell without importing
    any of its packages."""

    def __init__(self, name: str) -> None:
        self._name = name
        package = name.partition(".")[0]
        if not all(part.isidentifier() for part in name.split(".")) or find_spec(package) is None:
            raise ScriptError(f"-m {name}: Python finds no module {package} (sys.path begins with this folder)")
        if package == __package__:
            raise ScriptError(f"-m {name} is a part of what records, and cannot be recorded")

    def enter(self, arguments: list[str]) -> tuple[types.CodeType, types.ModuleType]:
        """As Script.enter. Imports the packages that the module is in. Raises SystemExit, with what Python says then,
        where one of them does not have the next."""
        sys.argv = ["-m", *arguments]  # what Python puts there until it has found the module
        try:
            _, spec, code = runpy._get_module_details(self._name, _NoSuchModuleError)  # of a package: its __main__
        except _NoSuchModuleError as error:
            sys.exit(f"{sys.executable}: {error}")
        sys.argv[0] = spec.origin
        return code, _main_module(spec.origin, spec.loader, spec)


class _NoSuchModuleError(ImportError):
    pass


def _main_module(place: str, loader: object, spec: ModuleSpec | None) -> types.ModuleType:
    """A new, empty `__main__`, with what Python gives to that of a script or a module."""
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=place, __builtins__=builtins, __loader__=loader, __cached__=None)
    if spec is not None:
        main.__dict__.update(__spec__=spec, __package__=spec.parent, __cached__=spec.cached)
    sys.modules["__main__"] = main
    return main


def _checked_source(script: str) -> bytes:
    """The text of the script, as it stands in its file. Raises ScriptError where there is nothing to run."""
    path = Path(script)
    if path.suffix != ".py":
        raise ScriptError(f"{script} is not a Python script: its name does not end in .py")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ScriptError(f"{script} cannot be read: {error.strerror}") from error
    found = PathFinder.find_spec(__package__, [_folder_of(script)])
    # a folder without __init__.py has no origin, and hides nothing
    if found is not None and found.origin is not None and Path(found.origin).parent != Path(__file__).parent:
        raise ScriptError(
            f"beside {script} there is a module named {__package__!r}, and this package has the same name: Python can "
            "import one of them only. Rename or move that one."
        )
    return source


def _folder_of(script: str) -> str:
    """Where Python looks for the script's own modules: the folder that it really lies in, links followed."""
    return os.path.dirname(os.path.realpath(script))
