"""Do something as soon as a package has been imported for the first time, by whoever imports it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec


def after_first_import(package: str, then: Callable[[], None]) -> None:
    """Call `then()` when `package` has been imported; now, if it is imported already.

    It is called within the import, in the importing thread, after the package's own code has run. An import that
    fails does not count. `then` must not raise: the exception would come out of the import statement.
    """
    if package in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, _Finder(package, then))


class _Finder(MetaPathFinder):
    """Finds nothing itself: it takes what the other finders find, and adds `then` to the execution of the module."""

    def __init__(self, package: str, then: Callable[[], None]) -> None:
        self._package = package
        self._then = then
        self._asking = False

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if name != self._package or self._asking:
            return None
        self._asking = True  # the search below comes by here again
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._asking = False
        if spec is not None and spec.loader is not None:
            self._extend(spec.loader)
        return spec

    def _extend(self, loader) -> None:
        """On the loader object of this one import: its class, which all packages share, stays as it is."""
        execute = loader.exec_module

        def execute_and_tell(module) -> None:
            del loader.exec_module
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._then()

        loader.exec_module = execute_and_tell
