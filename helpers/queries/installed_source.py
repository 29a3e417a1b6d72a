"""The text of a recorded function from the files that are installed here, where they are those that ran.

A recording carries the sources of landmarks and of functions whose lines were recorded. The rest is in the packages:
it is shown where the same release is installed and has a function of that name at that line, and nowhere else.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from importlib import metadata
from pathlib import Path

from ..permalinks import REPOSITORIES
from ..recording.rows import Function


def installed_text(function: Function, versions: dict) -> tuple[str | None, str]:
    """(source text of `function`, "") or (None, why there is none here).

    `versions` maps packages to the versions that were recorded. Only of published packages: another package's text is
    the reader's own, and has no version that would tell whether it is the one that ran.
    """
    package = function.file.partition("/")[0]
    if package not in REPOSITORIES or ".." in Path(function.file).parts:  # a hostile file must not lead out of it
        return None, f"{function.file} is of no package whose version was recorded"
    here = _version(package)
    if here is None or here != versions.get(package):
        return None, f"recorded with {package} {versions.get(package) or '?'}; installed here: {here or 'none'}"
    path = _folder(package) / function.file
    try:
        text = path.read_text(encoding="utf-8")
        definitions = _definitions(text)
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        return None, f"{function.file} cannot be read here ({type(error).__name__})"
    last = definitions.get((function.qualname, function.line))
    if last is None:
        return None, f"{function.file} has no {function.qualname} at line {function.line} here"
    return "\n".join(text.split("\n")[function.line - 1 : last]) + "\n", ""


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@functools.cache
def _folder(package: str) -> Path:
    """The folder that the package lies in; it is found without being imported."""
    return Path(importlib.util.find_spec(package).origin).parent.parent


@functools.lru_cache(maxsize=64)  # a page asks for many functions of each file
def _definitions(text: str) -> dict[tuple[str, int], int]:
    """Last line of each function by its qualified name and first line, decorators included, as code objects count."""
    found: dict[tuple[str, int], int] = {}

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                found[f"{prefix}{child.name}", first] = child.end_lineno
                inner = f"{prefix}{child.name}.<locals>."
            elif isinstance(child, ast.ClassDef):
                inner = f"{prefix}{child.name}."
            visit(child, inner)

    visit(ast.parse(text), "")
    return found
