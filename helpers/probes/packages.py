"""The zoom levels "calls" and "functions": Python calls in the libraries of the call path, found as they happen.

Whether a code object belongs to one of them is decided once, by its file. Left out: module and class bodies,
comprehensions, attribute access (a config's `__getattribute__` alone runs thousands of times in a load), and whatever
runs while a module is imported: a first load imports more than it calls.
"""

from __future__ import annotations

import importlib._bootstrap
import importlib.util
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .watch import Watch, call_reader

if TYPE_CHECKING:
    from .describe import Describer

PACKAGES = ("transformers", "accelerate", "safetensors", "huggingface_hub", "tokenizers")
BODIES = {"<module>", "<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<lambda>"}
ATTRIBUTE_ACCESS = {"__getattribute__", "__getattr__", "__setattr__", "__contains__", "__hash__", "__eq__", "__len__"}
LEFT_OUT = frozenset(BODIES | ATTRIBUTE_ACCESS | {"__bool__"})


def is_computation(code: types.CodeType) -> bool:
    """Whether a function computes on tensors outside a module: the attention function that really runs, RoPE, masks,
    `Cache.update`, every logits processor and stopping criterion of the library, of any architecture."""
    file = Path(code.co_filename).as_posix()
    if "/transformers/models/" in file and Path(file).name.startswith("modeling_"):
        return "." not in code.co_qualname  # the functions between the classes
    if "/transformers/integrations/" in file:
        return "attention" in code.co_name
    if file.endswith("/transformers/cache_utils.py"):
        return code.co_name == "update"
    if file.endswith(("/transformers/generation/logits_process.py", "/transformers/generation/stopping_criteria.py")):
        return code.co_name == "__call__"
    return file.endswith("/transformers/masking_utils.py") and code.co_name.startswith("create_")


class CallFinder:
    """Gives the watch for a code object of the libraries, None for any other. Each is asked about once.

    `chosen(code)`: which of their functions (None: all). `forwards`: whether methods named forward are calls too; not
    where module events tell of them already.
    """

    def __init__(
        self,
        describer: Describer,
        function_of: Callable[[types.CodeType], int],
        *,
        forwards: bool,
        chosen: Callable[[types.CodeType], bool] | None = None,
    ) -> None:
        self._chosen = chosen
        self._left_out = LEFT_OUT if forwards else LEFT_OUT | {"forward"}
        self._describer = describer
        self._function_of = function_of
        self._folders = tuple(_folders())
        self._imports = threading.local()

    def __call__(self, code: types.CodeType) -> Watch | None:
        if code.co_name in self._left_out or not code.co_filename.startswith(self._folders):
            return None
        if self._chosen is not None and not self._chosen(code):
            return None
        reader = call_reader(code, self._function_of(code), self._describer)
        return Watch(code, reader, accepts=self._outside_imports)

    def import_watch(self) -> Watch:
        """The watch that tells when an import runs; it makes no events."""
        watch = Watch(importlib._bootstrap._find_and_load.__code__)
        watch.add_hooks(self._import_begins, self._import_ends)
        return watch

    def _outside_imports(self, _frame: types.FrameType) -> bool:
        return not getattr(self._imports, "depth", 0)

    def _import_begins(self, _frame: object) -> None:
        self._imports.depth = getattr(self._imports, "depth", 0) + 1

    def _import_ends(self, _value: object) -> None:
        self._imports.depth -= 1


def _folders() -> list[str]:
    """Where the libraries that are installed keep their code, each with its separator at the end."""
    specs = [importlib.util.find_spec(package) for package in PACKAGES]
    return [str(Path(spec.origin).parent / "_")[:-1] for spec in specs if spec is not None and spec.origin]
