"""What widgets show before anybody touches them (`interact`, an Output): kept as outputs, for pages without kernel."""

from __future__ import annotations

from collections.abc import Iterator

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
AT_FIRST = "shown_at_first"
"""In the metadata of a widget's output, where what it showed at first stands after it."""
_REFERENCE = "IPY_MODEL_"


def show(notebook) -> None:
    """Put, in place, what the widgets of a notebook hold in their Output areas after the widgets' own outputs.

    The notebook must still hold the state of its widgets.
    """
    models = notebook.metadata.get("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for output in cell.outputs for one in _with_its_own(output, models)]


def _with_its_own(output, models) -> Iterator:
    yield output
    view = output.get("data", {}).get(WIDGET_VIEW)
    if view:
        held = [*_held(view["model_id"], models, set())]
        if held:
            output.metadata[AT_FIRST] = True
        yield from held


def _held(model_id: str, models, seen: set[str]) -> Iterator:
    """The outputs in a widget and in those within it, in order."""
    import nbformat

    if model_id in seen or model_id not in models:
        return
    seen.add(model_id)
    state = models[model_id]["state"]
    if models[model_id]["model_name"] == "OutputModel":
        yield from (nbformat.from_dict(output) for output in state.get("outputs", ()))
    for child in state.get("children", ()):
        yield from _held(str(child).removeprefix(_REFERENCE), models, seen)
