"""choose(): live a drop-down list that redraws, in a committed notebook and on a page what it shows first."""

import pandas as pd
import pytest

from helpers.tables import Table
from helpers.views.choice import ChoiceError, choose

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def table_of(count: int):
    return Table.of(pd.DataFrame({"number": [10 * count]}))


def test_a_choice_redraws_what_is_shown():
    control = choose("layers", [1, 2, 3], table_of).control()
    choices, shown = control.children
    assert (choices.description, choices.options, choices.value) == ("layers", ("1", "2", "3"), "1")
    assert "10" in shown.value
    choices.value = "3"
    assert "30" in shown.value
    assert "10" not in shown.value


@pytest.mark.parametrize("how", ["table", "page"])
def test_without_a_kernel_there_is_no_dead_control(monkeypatch, how):
    monkeypatch.setenv("TRACE_EXPLORERS", how)
    bundle, _ = choose("layers", {"two": 2, "four": 4}, table_of, chosen="four")._repr_mimebundle_()
    assert WIDGET_VIEW not in bundle
    assert "layers: <b>four</b>" in bundle["text/html"]
    assert "40" in bundle["text/html"]
    assert bundle["text/plain"] == "layers: four (of two, four)"


def test_live_there_is_one_control_and_the_table_beside_it():
    choice = choose("layers", [1, 2], table_of)
    first, second = (choice._repr_mimebundle_()[0] for _ in range(2))
    assert first[WIDGET_VIEW]["model_id"] == second[WIDGET_VIEW]["model_id"] == choice.control().model_id
    assert "10" in first["text/html"]


def test_text_is_text():
    bundle, _ = choose("<b>", ["<img src=x>"], lambda value: f"{value}!")._repr_mimebundle_()
    assert "<img" not in bundle["text/html"]
    assert "&lt;img src=x&gt;!" in bundle["text/html"]


@pytest.mark.parametrize(
    ("options", "chosen", "message"),
    [([], None, "nothing to choose from"), ([1, "1"], None, "called the same"), ([1, 2], 3, "there are 1, 2")],
)
def test_what_cannot_be_chosen_from_is_refused(options, chosen, message):
    with pytest.raises(ChoiceError, match=message):
        choose("layers", options, str, chosen=chosen)
