"""What stands in the outputs of an executed notebook: twins of explorers, and the recordings that players carry."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from html import escape

from helpers.site.widget_outputs import AT_FIRST, WIDGET_VIEW

HTML, SCRIPT = "text/html", "application/javascript"
NEEDS_KERNEL = "needs-kernel"
"""The class of the words for what a page cannot show."""
SHOWN = (
    HTML, "text/markdown", "text/plain", "text/latex", "text/vnd.mermaid",
    "image/svg+xml", "image/png", "image/jpeg",
)  # fmt: skip
"""The kinds of output that a page shows."""
_PROGRESS_BAR = re.compile(r"\d+%\|.*\| *[\d.]+\w*/[\d.]+\w* \[|^\d+\w*it \[")
"""As tqdm writes one in words."""
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
    """Take out, in place, what only a running kernel, or an extension of JupyterLab, can show. Where nothing else is
    there to see, words say what is missing; of a progress bar, which says nothing afterwards, nothing is left."""
    for cell in notebook.cells:
        cell_outputs = cell.get("outputs", [])
        cell_outputs[:] = [output for output in cell_outputs if not _is_progress_bar(output)]
        for output in cell_outputs:
            data = output.get("data", {})
            is_widget = data.pop(WIDGET_VIEW, None) is not None
            if is_widget and output.metadata.get(AT_FIRST):
                data[HTML] = _note("The controls are not on this page, because they need a running notebook.")
            elif is_widget and HTML not in data:
                data[HTML] = _missing("it needs a running notebook", data.get("text/plain", "A widget"))
            elif data.pop(SCRIPT, None) is not None and not any(kind in data for kind in SHOWN if kind != "text/plain"):
                data[HTML] = _missing("only Jupyter runs it", "a script")
            elif data and not any(kind in data for kind in SHOWN):
                data[HTML] = _missing("only JupyterLab shows it", f"an output of the kind {next(iter(data))}")


def _is_progress_bar(output) -> bool:
    data = output.get("data", {})
    return WIDGET_VIEW in data and _PROGRESS_BAR.search(data.get("text/plain", "")) is not None


def _missing(why: str, what: str) -> str:
    return _note(f"Not on this page, because {why}: {escape(what)}.")


def _note(words: str) -> str:
    return f'<p class="{NEEDS_KERNEL}">{words}</p>'


def missing(notebook) -> int:
    """How many outputs are words for what the page cannot show."""
    return sum(f'class="{NEEDS_KERNEL}"' in output.get("data", {}).get(HTML, "") for output in _outputs(notebook))


def _outputs(notebook) -> Iterator:
    for cell in notebook.cells:
        yield from cell.get("outputs", [])
