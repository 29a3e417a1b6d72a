"""The functions of a recording: code objects to rows, and their source as installed."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable

from ..events import NOT_OBSERVED
from ..recording.rows import Function
from . import redact

# Their text is public; that of any other function is the reader's own, and may hold a token or a home directory.
PUBLISHED = frozenset(("transformers", "accelerate", "safetensors", "huggingface_hub", "tokenizers", "torch"))


class FunctionTable:
    """The functions of a recording: code objects to rows, kept once."""

    def __init__(self) -> None:
        self.rows: list[Function] = []
        self._codes: list[types.CodeType | None] = []
        self._by_code: dict[int, int] = {}
        self._by_builtin: dict[str, int] = {}

    def of(self, code: types.CodeType) -> int:
        """Index of the row of this code object."""
        index = self._by_code.get(id(code))
        if index is None:
            file = redact.source_path(code.co_filename)
            module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            index = self._by_code[id(code)] = self._add(
                Function(module, code.co_qualname, file, code.co_firstlineno), code
            )
        return index

    def known(self, code: types.CodeType) -> int | None:
        """Index of the row of this code object; None for one that was not asked for yet."""
        return self._by_code.get(id(code))

    def of_builtin(self, target: str) -> int:
        """Index of the row of a builtin, named `module:qualname`."""
        index = self._by_builtin.get(target)
        if index is None:
            module, _, qualname = target.partition(":")
            index = self._by_builtin[target] = self._add(Function(module, qualname, "", 0), None)
        return index

    def _add(self, function: Function, code: types.CodeType | None) -> int:
        self.rows.append(function)
        self._codes.append(code)  # kept alive, so that its id stays its own
        return len(self.rows) - 1

    def sources(self, indexes: Iterable[int]) -> dict[str, str]:
        """Source text as installed, by "module:qualname"; functions without source are left out."""
        texts: dict[str, str] = {}
        for index in sorted(indexes):
            if index == NOT_OBSERVED or self._codes[index] is None:
                continue
            text = _source(self._codes[index])
            if text is not None:  # else its file is not there: a view says so
                function = self.rows[index]
                is_published = function.file.partition("/")[0] in PUBLISHED
                texts[f"{function.module}:{function.qualname}"] = text if is_published else redact.source(text)
        return texts


_known_sources: dict[
    int, tuple[types.CodeType, str | None]
] = {}  # by id; the code is held, so that its id stays its own


def _source(code: types.CodeType) -> str | None:
    """The source of this code, read once per process: finding where a long function ends takes milliseconds."""
    known = _known_sources.get(id(code))
    if known is None:
        try:
            known = code, inspect.getsource(code)
        except (OSError, TypeError):
            known = code, None
        _known_sources[id(code)] = known
    return known[1]
