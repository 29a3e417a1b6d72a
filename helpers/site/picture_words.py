"""Words for the pictures that a cell draws: lines `# alt: what it shows` in it, one for each picture."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from html import escape

REMEDY = 'put a line "# alt: what it shows" into the cell that draws it; in a text, write ![what it shows](…)'
SVG = "image/svg+xml"
KINDS = (SVG, "image/png", "image/jpeg")
"""The pictures that a page holds as images, the first that an output has."""
_BEFORE_THEM = ("text/html", "text/markdown")
_LINE = re.compile(r"^\s*# ?alt: *(\S.*)$", re.MULTILINE)


def from_comments(notebook) -> None:
    """Give, in place, the pictures of each code cell the words of its `# alt:` lines, in their order."""
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        words = (found[1].strip() for found in _LINE.finditer(cell["source"]))
        for (kind, output), said in zip(_pictures(cell), words, strict=False):
            output["metadata"].setdefault(kind, {})["alt"] = said


def as_images(cell) -> Iterator[str]:
    """The pictures of a cell's outputs as a page shows them."""
    for kind, output in _pictures(cell):
        said = output["metadata"].get(kind, {}).get("alt") or cell["metadata"].get("alt")
        words = f'alt="{escape(said)}" ' if said else ""
        data = output["data"][kind]
        if kind == SVG:
            data = base64.b64encode(data.encode("utf-8")).decode("ascii")
        yield f'<img {words}src="data:{kind};base64,{data}">'


def _pictures(cell) -> Iterator[tuple]:
    """(kind, output) of each output that a page shows as a picture."""
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        kind = next((one for one in KINDS if one in data), None)
        if kind is not None and not any(before in data for before in _BEFORE_THEM):
            yield kind, output
