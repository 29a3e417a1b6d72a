"""choose(): a notebook's own small control, which shows a table or a figure for the value that is chosen.

Live it is a drop-down list of ipywidgets. A committed notebook and an exported page hold what is shown for the first
choice, and its name, because a control of ipywidgets is blank or dead there: what needs no kernel is an explorer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape

from helpers.views.explorers import shown_as

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class ChoiceError(ValueError):
    """A control that cannot be made as asked; the message says what to do."""


class Choice:
    """A list of choices and what is shown for the one that is chosen. Made by `choose`."""

    def __init__(self, label: str, options: dict[str, object], show: Callable[[object], object], chosen: str) -> None:
        self.label, self.options, self.chosen = label, options, chosen
        self._show = show
        self._control = None

    def html(self) -> str:
        """What is shown for the choice, as HTML; escaped text where it has no HTML of its own."""
        shown = self._show(self.options[self.chosen])
        markup = getattr(shown, "_repr_html_", lambda: None)()
        return markup if markup is not None else f"<pre>{escape(str(shown))}</pre>"

    def control(self):
        """The control of ipywidgets: a drop-down list above what is shown. One for all displays of it."""
        if self._control is None:
            self._control = self._made()
        return self._control

    def _made(self):
        import ipywidgets

        choices = ipywidgets.Dropdown(
            description=self.label,
            options=list(self.options),
            value=self.chosen,
            style={"description_width": "initial"},
        )
        shown = ipywidgets.HTML(self.html())

        def changed(change) -> None:
            self.chosen = change["new"]
            shown.value = self.html()

        choices.observe(changed, names="value")
        return ipywidgets.VBox([choices, shown])

    def __repr__(self) -> str:
        return f"{self.label}: {self.chosen} (of {', '.join(self.options)})"

    def _repr_mimebundle_(self, **options) -> tuple[dict, dict]:
        head = f"<p>{escape(self.label)}: <b>{escape(self.chosen)}</b></p>"
        bundle = {"text/plain": repr(self), "text/html": head + self.html()}
        if shown_as() == "live":
            bundle[_WIDGET_VIEW] = {
                "version_major": 2, "version_minor": 0, "model_id": self.control().model_id,
            }  # fmt: skip
        return bundle, {}


def choose(
    label: str, options: Iterable | Mapping[str, object], show: Callable[[object], object], *, chosen: object = None
) -> Choice:
    """A control with a list of `options` (values, or names with their values) above `show(value)`.

    `show` gives what a cell would end with: a table, a DataFrame, an IPython HTML; `chosen` is shown first, by default
    the first of the options. Raises ChoiceError where there is no option, where two have one name, and for a `chosen`
    that is none of them.
    """
    pairs = list(options.items()) if isinstance(options, Mapping) else [(option, option) for option in options]
    named = {str(name): value for name, value in pairs}
    if not named:
        raise ChoiceError(f"choose({label!r}, …): there is nothing to choose from.")
    if len(named) < len(pairs):
        raise ChoiceError(f"choose({label!r}, …): two options are called the same.")
    first = next(iter(named)) if chosen is None else str(chosen)
    if first not in named:
        raise ChoiceError(f"choose({label!r}, chosen={chosen!r}): there are {', '.join(named)}.")
    return Choice(str(label), named, show, first)
