"""The base of the explorers: module text, twin, page, and where a result is shown."""

import json
import re

import pytest
import traitlets
from PIL import Image

from helpers import notebooks
from helpers.project import ROOT
from helpers.views import explorers

HOSTILE = "</script><img src=x onerror=alert(1)> $x$ <!-- \u2028 & שלום"


class Small(explorers.Explorer):
    """An explorer for these tests: the player's module, with a state of its own."""

    explorer = "player"
    state = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)

    def static_html(self):
        return "<table><tr><td>the table</td></tr></table>"

    def text(self):
        return "Small: the same on every run"


def test_one_text_has_the_base_and_the_parts_in_order():
    script = explorers.explorer_script("player")
    places = [script.index(mark) for mark in ("function mountExplorer", "function openRecording", "function render(")]
    assert places == sorted(places)
    assert script.count("export default { render };") == 1
    assert not re.search(r"^\s*import\s", script, re.MULTILINE)
    assert "innerHTML" not in script
    assert not re.search(r"\beval\(|new Function\(", script)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", script)


def test_every_style_rule_stands_below_the_explorer():
    text = re.sub(r"/\*.*?\*/", "", explorers.explorer_style("player"), flags=re.DOTALL)
    selectors = re.findall(r"^\s*([^@{}]+?)\s*\{", text, re.MULTILINE)
    assert len(selectors) > 100
    own = (".explorer", ".explorer-static", ".explorer-page")
    assert [one for one in selectors for part in one.split(",\n") if not part.strip().startswith(own)] == []
    assert "url(" not in text
    assert "@import" not in text


def test_an_unknown_explorer_is_refused_by_name():
    with pytest.raises(explorers.ExplorerError, match="There is no explorer 'nothing': there are player"):
        explorers.explorer_script("nothing")


def test_a_script_that_would_end_itself_is_refused(monkeypatch):
    monkeypatch.setitem(explorers.PARTS, "broken", ("player_data.js",))
    monkeypatch.setattr(explorers, "_joined", lambda kind, names: "const x = '</script>';")
    with pytest.raises(explorers.ExplorerError, match="contains </script"):
        explorers.explorer_script("broken")


def test_data_in_a_twin_cannot_leave_its_script():
    text = explorers.twin("player", {"token": HOSTILE}, "<p>table</p>", HOSTILE)
    data = re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL).group(1)
    assert json.loads(data) == {"token": HOSTILE}
    assert not set("<>&$") & set(data)
    assert text.count("<img") == 0
    assert text.count("</script>") == 2


def test_the_same_content_gives_the_same_twin_and_other_content_another_id():
    identity = lambda data: re.search(r'id="(explorer-\w+)"', explorers.twin("player", data, "<p></p>", "x")).group(1)  # noqa: E731
    assert explorers.twin("player", {"a": 1}, "<p></p>", "x") == explorers.twin("player", {"a": 1}, "<p></p>", "x")
    assert identity({"a": 1}) != identity({"a": 2})


def test_numbers_that_json_has_not_are_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        explorers.twin("player", {"a": float("nan")}, "", "x")


@pytest.mark.parametrize(
    ("chosen", "view", "twin"),
    [(None, True, False), ("live", True, False), ("table", False, False), ("page", False, True)],
)
def test_where_it_is_shown_is_chosen_by_the_environment(monkeypatch, chosen, view, twin):
    if chosen:
        monkeypatch.setenv("TRACE_EXPLORERS", chosen)
    bundle, _ = Small(state={"a": 1}, data=b"\0\1")._repr_mimebundle_()
    assert ("application/vnd.jupyter.widget-view+json" in bundle) == view
    assert ("<script" in bundle["text/html"]) == twin
    assert "the table" in bundle["text/html"]
    assert bundle["text/plain"] == "Small: the same on every run" == repr(Small())


def test_another_choice_is_refused(monkeypatch):
    monkeypatch.setenv("TRACE_EXPLORERS", "tabel")
    with pytest.raises(explorers.ExplorerError, match="TRACE_EXPLORERS=tabel: choose one of live, table, page"):
        Small()._repr_mimebundle_()


def test_committed_notebooks_hold_tables():
    assert notebooks.COMMITTED_ENVIRONMENT["TRACE_EXPLORERS"] == "table"


def test_the_state_of_a_page_is_the_widgets_own_with_bytes_as_text():
    assert Small(state={"a": 1}, data=b"\0\1").twin_data() == {"state": {"a": 1}, "data": "AAE="}


def test_a_page_is_whole_and_asks_for_nothing():
    page = Small().to_html("A <title>")
    assert page.startswith("<!DOCTYPE html>")
    assert "<title>A &lt;title&gt;</title>" in page
    sources = re.findall(r'(?:src|href)="([^"]*)"', page.split("<script")[0])
    assert sources == ["data:,"]


def test_the_readme_shows_both_explorers_in_pictures_of_the_script():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / "docs" / "screenshots.py").read_text(encoding="utf-8")
    pictures = re.findall(r'^    "(\w+\.png)": \(', script, re.MULTILINE)
    assert pictures == ["step_through.png", "sampling_explorer.png"]
    for name in pictures:
        assert f"(docs/{name})" in readme
        with Image.open(ROOT / "docs" / name) as picture:
            assert picture.size == (1440, 900)
