"""What a host's styles do to the explorers, and what the player shows in the width that JupyterLab leaves it."""

import pytest

from helpers.reference_recording import committed
from helpers.site import export
from helpers.views import player
from helpers.views.explorers import twin
from helpers.views.sampling_explorer import explore_sampling
from tests.notebook_files import code_cell, markdown_cell, result_output, write
from tests.player_pages import overprinted_facts, search
from tests.site_tools import mount_explorers, settle

pytestmark = pytest.mark.browser

IN_LAB = 967
"""The player's width in JupyterLab, in a window of 1400 pixels with its file browser open."""
TENSOR = "model.layers.1.self_attn.k_proj.weight"
LAB_RULES = """
.output :is(dl, dt, dd) { display: block; padding: 0; margin: 0; }
.output dl { width: 100%; overflow: hidden; }
.output dt { font-weight: bold; float: left; width: 20%; }
.output dd { float: left; width: 80%; }
"""
"""What JupyterLab says of lists of terms in its .jp-OutputArea-output."""
STYLES = """(within) => [...document.querySelectorAll(`${within}, ${within} *`)].map((one) => {
  const style = getComputedStyle(one);
  const properties = ["margin", "padding", "border", "background-color", "color", "font", "float", "display",
    "text-align", "list-style", "vertical-align", "white-space", "overflow-wrap", "text-decoration-line"];
  const told = properties.map((name) => `${name}: ${style.getPropertyValue(name)}`);
  return told.map((text) => `${one.tagName} ${one.getAttribute("class")}: ${text}`);
}).flat()"""
NARROW = """() => [...document.querySelectorAll(".row .parted")].map((name) => {
  const [head, tail] = name.children;
  return [name.textContent, head.clientWidth, tail.scrollWidth - tail.clientWidth];
})"""


def test_no_fact_is_printed_over_another_where_the_host_floats_terms(open_player, player_html):
    lab = player_html.replace("</title>", f"</title><style>{LAB_RULES}</style>")
    lab = lab.replace("<main>", '<main class="output">')
    page = open_player(lab, width=IN_LAB)
    search(page, TENSOR).filter(has_text=TENSOR).first.click()
    page.locator(".ledger").first.wait_for()
    assert overprinted_facts(page) == []


def test_no_style_of_an_exported_page_reaches_into_an_explorer(tmp_path, open_offline, tiny_pair):
    """Without the style of the page, which comes first, they look as with it."""
    cells = [
        code_cell("x", result_output(1, text__html=twin(one.explorer, one.twin_data(), one.static_html(), one.text())))
        for one in (player.step_through(committed()), explore_sampling(*tiny_pair, "a b c a"))
    ]
    notebook = write(tmp_path / "two.ipynb", markdown_cell("# Two"), *cells)
    page = open_offline(export.export(notebook, tmp_path / "two.html", run=False), tmp_path)
    mount_explorers(page)
    page.evaluate("document.querySelector('main').style.cssText = 'width: 900px; margin: 0; padding: 0'")
    settle(page)
    with_style = page.evaluate(STYLES, ".explorer")
    page.evaluate("document.styleSheets[0].disabled = true")
    settle(page)
    assert len(with_style) > 500
    assert [
        pair for pair in zip(with_style, page.evaluate(STYLES, ".explorer"), strict=True) if pair[0] != pair[1]
    ] == []


def test_no_style_of_one_explorer_reaches_into_the_other(offline_page, tiny_pair):
    """JupyterLab, and a page with both, has the style sheets of both."""
    both = (player.step_through(committed()), explore_sampling(*tiny_pair, "a b c a"))
    page = offline_page("".join(twin(one.explorer, one.twin_data(), one.static_html(), one.text()) for one in both))
    mount_explorers(page)
    page.locator(".settings-details").evaluate("one => (one.open = true)")
    for sheet in (0, 1):
        other = f"[data-explorer={both[1 - sheet].explorer}] .explorer"
        settle(page)
        with_both = page.evaluate(STYLES, other)
        page.evaluate("sheet => (document.styleSheets[sheet].disabled = true)", sheet)
        settle(page)
        alone = page.evaluate(STYLES, other)
        assert len(with_both) > 500
        assert [pair for pair in zip(with_both, alone, strict=True) if pair[0] != pair[1]] == []
        page.evaluate("sheet => (document.styleSheets[sheet].disabled = false)", sheet)


def test_of_a_name_that_is_too_long_the_end_is_whole_and_the_rest_has_its_sign(open_player):
    page = open_player(player.step_through(committed()).to_html(), width=IN_LAB)
    rows = page.evaluate(NARROW)
    assert rows
    for name, head, missing_of_the_tail in rows:
        assert head >= 8, f"no room for the sign: {name}"
        assert missing_of_the_tail <= 0, name
    calls = page.locator(".row .which")
    assert calls.all_inner_texts() == ["call 1 of 2", "call 2 of 2"]
    assert calls.evaluate_all("all => all.map((one) => one.scrollWidth - one.clientWidth)") == [0, 0], "whole"


def test_the_names_and_numbers_beside_the_timeline_do_not_overlap(open_player, player_html):
    """The widest number that there is, since the unit above begins at 1,024."""
    page = open_player(width=IN_LAB)
    page.locator(".scale.top").evaluate("one => (one.textContent = '1,023.9 MiB')")
    name, top, bottom = (page.locator(one).bounding_box() for one in (".memory-name", ".scale.top", ".scale.bottom"))
    assert top["y"] + top["height"] <= name["y"] + 2
    assert name["y"] + name["height"] <= bottom["y"] + 2
    assert top["x"] >= page.locator(".lane-names").bounding_box()["x"]
