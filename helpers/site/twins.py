"""What stands in the outputs of an executed notebook: twins of explorers, and the recordings that players carry."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from html import escape

HTML, WIDGET_VIEW = "text/html", "application/vnd.jupyter.widget-view+json"
_TWIN = re.compile(
    r'data-explorer="(?P<name>\w+)".*?<script type="application/json">(?P<state>.*?)</script>', re.DOTALL
)


def states(notebook) -> Iterator[tuple[str, dict]]:
    """(name of the explorer, its state) of each twin in the outputs, in order."""
    for output in _outputs(notebook):
        for found in _TWIN.finditer(output.get("data", {}).get(HTML, "")):
            yield found["name"], json.loads(found["state"])


def anchor(notebook, explorer: str) -> str | None:
    """The id, on its page, of the first twin of this explorer; None where there is none."""
    for output in _outputs(notebook):
        found = re.search(rf'id="([\w-]+)"[^>]* data-explorer="{explorer}"', output.get("data", {}).get(HTML, ""))
        if found:
            return found[1]
    return None


def recordings(notebook) -> list[bytes]:
    """The files of the recordings that the players in the outputs show, each once, in order."""
    files = {}
    for name, state in states(notebook):
        if name == "player":
            for key in ("recording_file", "other_file"):
                if state.get(key):  # empty where there is no other
                    files[state[key]] = base64.b64decode(state[key])
    return list(files.values())


def without_widget_views(notebook) -> None:
    """Take out, in place, what only a running kernel can show. Where nothing else is there to see, the words of the
    widget say what is missing."""
    for output in _outputs(notebook):
        data = output.get("data", {})
        if data.pop(WIDGET_VIEW, None) is not None and HTML not in data:
            words = escape(data.get("text/plain", "A widget"))
            data[HTML] = f'<p class="needs-kernel">Not on this page, because it needs a running notebook: {words}.</p>'


def _outputs(notebook) -> Iterator:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])
