"""Paths in what a cell wrote that name a machine and say nothing to a reader: of a warning, of a traceback."""

from __future__ import annotations

import re

_WORD = re.compile(r"\x1b\[[0-9;]*m|[^\s'\"<>()\x1b]+")
"""A colour of a terminal, or what may be a path."""
_CELL = re.compile(r"^.*[\\/]ipykernel_\d+[\\/]\d+\.py")
_PACKAGE = re.compile(r"^.*[\\/](?=(?:site|dist)-packages[\\/])")
_STANDARD_LIBRARY = re.compile(r"^.*[\\/]lib[\\/](?=python3\.\d+[\\/])")


def shorten(notebook) -> None:
    """Shorten, in place, in what cells wrote: the kernel's file of a cell to "<cell>", an installed package's file to
    site-packages/…, one of Python's to python3.x/…"""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = shortened(output.text)
            elif output.output_type == "error":
                output.traceback = [shortened(line) for line in output.traceback]


def shortened(text: str) -> str:
    """A text with those paths shortened; addresses stay."""
    return _WORD.sub(lambda found: _short(found[0]), text)


def _short(word: str) -> str:
    if "://" in word:
        return word
    return _STANDARD_LIBRARY.sub("", _PACKAGE.sub("", _CELL.sub("<cell>", word)))
