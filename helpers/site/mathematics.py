"""Mathematics in pages as MathML, which browsers show by themselves: no script, no fonts, nothing to load."""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree

from helpers.site import SiteError

_COMMAND_LEFT = re.compile(r"\\[A-Za-z]+")
_ALIGNED = re.compile(r"\{aligned\}")
"""The same for the converter, which knows the other name only."""
_MATHEMATICS = re.compile(
    r"\$\$(?P<dollars>(?:\\.|[^$\\])+)\$\$|\$(?P<dollar>(?:\\.|[^$\\])+)\$"
    r"|\\\[(?P<square>.+?)\\\]|\\\((?P<round>.+?)\\\)"
    r"|(?P<environment>\\begin\{(?P<name>\w+\*?)\}.+?\\end\{(?P=name)\})",
    re.DOTALL,
)


def mathml(tex: str, display: bool = False) -> str:
    """TeX, without its dollars, as a <math> element; `display`: on a line of its own.

    Raises SiteError, with the TeX, for what cannot be converted whole.
    """
    from latex2mathml.converter import convert

    try:
        element = convert(_ALIGNED.sub("{align*}", tex.strip()), display="block" if display else "inline")
        ElementTree.fromstring(element)  # an environment that it does not know leaves bare & behind
    except Exception as error:  # it also fails by IndexError and the like
        raise SiteError(
            f"This mathematics cannot be shown: {tex.strip()!r} ({type(error).__name__}: {error})"
        ) from error
    left = _COMMAND_LEFT.search(element)
    if left:
        raise SiteError(f"This mathematics cannot be shown: {tex.strip()!r} (there is no {left[0]})")
    return element


def between_dollars(text: str) -> str:
    """What stands between two dollars in Markdown: mathematics, unless a space touches a dollar ("$5 and $6")."""
    return mathml(text) if text == text.strip() else f"${escape(text, quote=False)}$"


def without_latex(notebook) -> None:
    """Give, in place, each output that is mathematics only the HTML of it, which every page shows."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/latex" in data and "text/html" not in data:
                data["text/html"] = _typeset(data["text/latex"].strip())


def _typeset(text: str) -> str:
    """LaTeX as a notebook shows it: what is between dollars, \\(…\\) or \\[…\\] and in environments is mathematics, the
    rest are words. A formula alone, as a Math object gives it, is on a line of its own."""
    is_alone = _MATHEMATICS.fullmatch(text) is not None
    parts, end = [], 0
    for found in _MATHEMATICS.finditer(text):
        parts.append(escape(text[end : found.start()]))
        end = found.end()
        inline = found["dollar"] or found["round"]
        tex = inline or found["dollars"] or found["square"] or found["environment"]
        parts.append(mathml(tex, display=is_alone or inline is None))
    return "".join([*parts, escape(text[end:])])
