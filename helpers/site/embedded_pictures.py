"""Pictures beside a notebook, put into the texts that show them: a page that travels alone takes them along."""

from __future__ import annotations

import base64
import mimetypes
import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

_IN_MARKDOWN = re.compile(
    r"!\[(?P<words>[^\]]*)\]\(\s*(?!\w+:)(?:<(?P<between>[^<>\n]+)>|(?P<plain>(?:[^()\s]|\([^()\s]*\))+))"
    r"(?P<title>\s+(?:\"[^\"]*\"|'[^']*'))?\s*\)"
)
_IN_HTML = re.compile(r"""(?P<before><img\b[^>]*?\bsrc\s*=\s*)(?P<quote>["'])(?!\w+:)(?P<address>[^"']+)(?P=quote)""")


def embedded(source: str, folder: Path) -> str:
    """A text in Markdown whose pictures that are files beside the notebook, in `folder`, are data: addresses."""

    def in_markdown(found: re.Match) -> str:
        address = found["between"] or found["plain"]
        data = _data(address, folder)
        return f"![{found['words']}]({data}{found['title'] or ''})" if data else found[0]

    def in_html(found: re.Match) -> str:
        data = _data(unescape(found["address"]), folder)
        return f"{found['before']}{found['quote']}{data}{found['quote']}" if data else found[0]

    return _IN_HTML.sub(in_html, _IN_MARKDOWN.sub(in_markdown, source))


def _data(address: str, folder: Path) -> str | None:
    """The picture as a data: address; None where that is no picture's file beside the notebook, which is a problem
    then: what names a file is the notebook, which may be another's, so that no other file is read."""
    for named in (Path(address), Path(unquote(address))):
        kind = mimetypes.guess_type(named.name)[0] or ""
        if not named.is_absolute() and kind.startswith("image/") and (folder / named).is_file():
            data = base64.b64encode((folder / named).read_bytes()).decode("ascii")
            return f"data:{kind};base64,{data}"
    return None
