"""The explorers' base: one ES module for every host, the HTML twin for pages without a kernel, and the widget class.

An explorer is JavaScript in parts (`PARTS`), joined with `base.js` into one module text: anywidget loads it from a
blob and a twin holds it inline, and neither can import. Where an explorer is shown is chosen by the environment
variable TRACE_EXPLORERS: live (a widget; the default), table (a static table, for committed notebooks) or page (the
twin, for exported pages).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
from html import escape
from importlib.resources import files

import anywidget
import traitlets

PARTS = {
    "player": (
        "player_data.js",
        "player_outline_tree.js",
        "player_steps.js",
        "player_search.js",
        "player_compare.js",
        "player_python.js",
        "player_highlights.js",
        "player_words.js",
        "player_list.js",
        "player_outline.js",
        "player_listing.js",
        "player_source.js",
        "player_flow.js",
        "player_timeline.js",
        "player_help.js",
        "player_sides.js",
        "player_address.js",
        "player_toolbar.js",
        "player_keys.js",
        "player.js",
    ),
    "sampling_explorer": (
        "sampling_row.js",
        "sampling_processors.js",
        "sampling_settings.js",
        "sampling_chain.js",
        "sampling_page.js",
        "sampling_controls.js",
        "sampling_plots.js",
        "sampling_tree.js",
        "sampling_frame.js",
        "sampling_explorer.js",
    ),
}
"""The JavaScript of each explorer, in the order in which it is joined; the last part exports `render`."""
STYLES = {
    "player": (
        "player.css",
        "player_outline.css",
        "player_panels.css",
        "player_timeline.css",
        "player_dialogs.css",
        "player_narrow.css",
        "forced_colours.css",
    ),
    "sampling_explorer": (
        "sampling_explorer.css",
        "sampling_settings.css",
        "sampling_tokens.css",
        "sampling_pictures.css",
        "forced_colours.css",
    ),
}
SHOWN_AS = ("live", "table", "page")
VARIABLE = "TRACE_EXPLORERS"
_IN_PLACE = "Where scripts run, an explorer stands here; this is what it holds, as a table."
_ENDS_A_SCRIPT = ("</script", "<!--")
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class ExplorerError(ValueError):
    """An explorer that cannot be made as asked; the message says what to do."""


def shown_as() -> str:
    """Where explorers are shown: live, table or page. Raises ExplorerError for anything else."""
    chosen = os.environ.get(VARIABLE, "").strip() or SHOWN_AS[0]
    if chosen not in SHOWN_AS:
        raise ExplorerError(f"{VARIABLE}={chosen}: choose one of {', '.join(SHOWN_AS)}, or leave it unset.")
    return chosen


def _joined(kind: str, names: tuple[str, ...]) -> str:
    folder = files("helpers.views")
    return "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in (f"base.{kind}", *names))


def _known(name: str) -> str:
    if name not in PARTS:
        raise ExplorerError(f"There is no explorer {name!r}: there are {', '.join(PARTS)}.")
    return name


@functools.cache
def explorer_script(name: str) -> str:
    """The ES module of an explorer as one text: base and parts, with `export default { render }`.

    Raises ExplorerError for an unknown name, and for a text that would end the <script> that it stands in.
    """
    text = _joined("js", PARTS[_known(name)])
    for mark in _ENDS_A_SCRIPT:
        if mark in text.lower():
            raise ExplorerError(f"The script of {name} contains {mark}: inside a page that would end or hide it.")
    return text


@functools.cache
def explorer_style(name: str) -> str:
    """The style of an explorer as one text: base and its own, all of it below the class `explorer`.

    Raises ExplorerError for an unknown name.
    """
    return _joined("css", STYLES[_known(name)])


def base64_text(data: bytes) -> str:
    """Bytes for a twin's data; `bytesOf` in base.js reads them."""
    return base64.b64encode(data).decode("ascii")


def escaped_json(data: object) -> str:
    """JSON that may stand in a <script>: no text in it can end the script, start a comment or begin mathematics."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("$", "\\u0024")


def twin(name: str, data: dict, static_html: str, text: str) -> str:
    """An explorer as HTML for a page without a kernel: alive where scripts run, a static table where they do not.

    `data`: the state that `model.get` answers from, as plain JSON values; `static_html`: what is shown without
    scripts (trusted markup: escape what comes from data); `text`: its label. The id is a hash of the content, so that
    the same explorer gives the same text on every run. Raises ExplorerError for an unknown name.
    """
    script, style, state = explorer_script(name), explorer_style(name), escaped_json(data)
    content = "\0".join((name, script, style, state, static_html, text))
    identity = f"explorer-{hashlib.sha256(content.encode('utf-8')).hexdigest()[:16]}"
    return (
        f'<div id="{identity}" class="explorer-twin tex2jax_ignore mathjax_ignore" data-explorer="{name}" '
        f'role="group" aria-label="{escape(text)}">\n'
        f"<style>\n{style}</style>\n"
        f'<div class="explorer-static">\n<p>{_IN_PLACE}</p>\n{static_html}\n</div>\n'
        f'<script type="application/json">{state}</script>\n'
        f'<script type="module">\n{script}\nmountTwin("{identity}", explorer);\n</script>\n'
        "</div>"
    )


def page(name: str, data: dict, static_html: str, text: str, title: str, recorded: str = "") -> str:
    """A whole HTML document, in one file and without any request, that holds one explorer.

    `recorded`: with what, the words of the line below it ('transformers 5.23.0, …, on the CPU'); none without.
    """
    foot = (
        f"\n<footer><p>Recorded with {escape(recorded)}; nothing on this page is live.</p></footer>" if recorded else ""
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n"
        f'</head>\n<body class="explorer-page">\n<main>\n<h1>{escape(title)}</h1>\n'
        f"{twin(name, data, static_html, text)}\n</main>{foot}\n</body>\n</html>\n"
    )


class Explorer(anywidget.AnyWidget):
    """Base of the explorers' widgets: the module and the style of `explorer`, and what is shown where.

    A subclass names its `explorer` (a key of PARTS), adds its synced traits, and gives `static_html` and `text`.
    """

    explorer = ""
    kernel = traitlets.Bool(True).tag(sync=True)  # undefined on a page without a kernel

    def __init_subclass__(cls, **options) -> None:
        if "explorer" in vars(cls):  # not the class that add_traits makes of it
            cls._esm, cls._css = explorer_script(cls.explorer), explorer_style(cls.explorer)
        super().__init_subclass__(**options)

    def twin_data(self) -> dict:
        """The state for a page without a kernel, as plain JSON values: by default the explorer's own synced traits."""
        shared = Explorer.class_trait_names()
        own = [name for name in self.trait_names(sync=True) if name not in shared and not name.startswith("_")]
        values = {name: getattr(self, name) for name in own}
        return {name: base64_text(value) if isinstance(value, bytes) else value for name, value in values.items()}

    def static_html(self) -> str:
        """What is shown without scripts: complete, and markup that escapes what comes from data."""
        raise NotImplementedError

    def text(self) -> str:
        """What is shown as plain text: the same on every run."""
        raise NotImplementedError

    def recorded_with(self) -> str:
        """With which versions, on which device its numbers came about, for its page; "" where that is unknown."""
        return ""

    def to_html(self, title: str | None = None) -> str:
        """A whole HTML document with this explorer, that works without a kernel and without a network."""
        return page(
            self.explorer, self.twin_data(), self.static_html(), self.text(), title or self.text(), self.recorded_with()
        )

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        bundle = {"text/plain": self.text(), "text/html": self.static_html()}
        how = shown_as()
        if how == "page":
            bundle["text/html"] = twin(self.explorer, self.twin_data(), self.static_html(), self.text())
        elif how == "live":
            # The table goes with the widget: it is what a saved notebook shows where there is no kernel.
            view = {"version_major": 2, "version_minor": 1, "model_id": self.model_id}
            bundle[_WIDGET_VIEW] = view
        return bundle, {}
