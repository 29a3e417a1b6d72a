"""The player alive in JupyterLab: it renders, its keys stay its own, and Python and the page agree on the step."""

import pytest

from helpers import lab
from tests.notebook_files import code_cell, write
from tests.player_pages import focus_walk, overprinted_facts, search, state_after, until_event
from tests.player_recording import player_recording

pytestmark = [pytest.mark.browser, pytest.mark.slow]

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
ANSWER_MILLISECONDS = 60_000  # a busy machine
KEYS = (
    "ArrowRight", "ArrowRight", "i", "ArrowDown", "ArrowUp", "Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowLeft",
    "ArrowLeft", "End", "Home",
)  # fmt: skip
STEPS = {  # a button to the key that does the same
    "Forward": "ArrowRight", "Next landmark": "Shift+ArrowRight", "Into": "i", "Over": "ArrowDown", "Out": "ArrowUp",
    "Next token": "Shift+ArrowDown", "Landmark before": "Shift+ArrowLeft", "Back": "ArrowLeft",
}  # fmt: skip
BEGIN = 15  # steps from the first, where every button leads somewhere


@pytest.fixture
def opened(serve, open_lab, tiny_checkpoint, tmp_path):
    """JupyterLab with a player in its first cell, run; and the recording."""
    recording = player_recording(tiny_checkpoint, tmp_path / "six layers")
    path = recording.save(tmp_path / "run.json.gz")
    cells = [
        code_cell(f"from helpers import step_through\nplayer = step_through({str(path)!r})\nplayer"),
        code_cell("player.event = 40"),
        code_cell("print(f'event {player.event}')"),
    ]
    write(tmp_path / "course" / lab.FIRST_NOTEBOOK, *cells, kernelspec=KERNEL)
    page = open_lab(serve(tmp_path / "course"))
    assert [cell["errors"] for cell in page.run_all_cells()] == [[], [], []]
    page.page.wait_for_selector(".explorer .player", timeout=ANSWER_MILLISECONDS)
    return page, recording


def active_cell(page) -> int:
    return page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")


def run_cell(page, index: int) -> None:
    page.evaluate(
        """async (index) => {
            const { commands, shell } = window.jupyterapp;
            shell.currentWidget.content.activeCellIndex = index;
            await commands.execute("notebook:run-cell");
        }""",
        index,
    )


def begin(page) -> None:
    focus_walk(page)
    for key in ["Home", *["ArrowRight"] * BEGIN]:
        page.keyboard.press(key)


def by_mouse_by_key_and_by_enter(page, name: str) -> None:
    button = page.get_by_role("button", name=name, exact=True)

    def enter() -> None:
        button.focus()
        page.keyboard.press("Enter")

    seen = set()
    for way in (button.click, lambda: page.keyboard.press(STEPS[name]), enter):
        begin(page)
        before = state_after(page)
        way()
        seen.add(state_after(page))
        assert seen != {before} or page.locator(".message").is_visible(), name
    assert len(seen) == 1, name


def until(page, holds) -> None:
    """Wait until `holds()`, for as long as a busy machine may take to draw."""
    for _ in range(ANSWER_MILLISECONDS // 50):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it did not come about")


def both_ways(control, told, back) -> None:
    """Use a control with the mouse and with Enter: both change what `told()` gives to the same; `back()` undoes it."""
    changed, before = [], told()
    for way in (control.click, lambda: (control.focus(), control.page.keyboard.press("Enter"))):
        way()
        until(control.page, lambda: told() != before)
        changed.append(told())
        back()
        until(control.page, lambda: told() == before)
    assert changed[0] == changed[1]


def use_zooms(page) -> None:
    whole = page.get_by_role("button", name="Show the whole run")
    zoomed = page.inner_text(".range")  # by its keys, before
    whole.click()
    until(page, lambda: page.inner_text(".range") != zoomed)
    for name in ("Zoom in", "Zoom to the current step"):
        both_ways(page.get_by_role("button", name=name), lambda: page.inner_text(".range"), whole.click)


def use_play(page) -> None:
    begin(page)
    before = page.inner_text(".counter")
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("before => document.querySelector('.counter').textContent !== before", arg=before)
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Steps a second").focus()
    page.keyboard.press("ArrowDown")
    assert page.get_by_label("Steps a second").input_value() == "12"


def use_filters(page) -> None:
    for name in ("stage", "step", "thread"):
        choice = page.get_by_label(f"Show one {name} only")
        choice.focus()
        page.keyboard.press("ArrowDown")
        assert choice.input_value() != "", name
        assert page.locator(".filter-notice").is_visible()
        focus_walk(page)
        page.keyboard.press("c")
        assert choice.input_value() == ""
        choice.select_option(index=1)
        page.get_by_role("button", name="Clear filters").click()
        assert not page.locator(".filter-notice").is_visible()


def use_dialogs(page) -> None:
    for button, title in (("About", "About this recording"), ("Keys", "Keys")):
        dialog = page.get_by_role("dialog", name=title)
        both_ways(
            page.get_by_role("button", name=button, exact=True),
            dialog.is_visible,
            lambda: page.keyboard.press("Escape"),
        )


def use_what_leaves_the_page(page) -> None:
    both_ways(
        page.get_by_role("button", name="Markdown"),
        lambda: page.locator(".message").is_visible(),
        lambda: begin(page),
    )
    for press in (lambda one: one.click(), lambda one: (one.focus(), page.keyboard.press("Enter"))):
        with page.expect_download() as download:
            press(page.get_by_role("button", name="Download"))
        assert download.value.suggested_filename.endswith(".json.gz")


def use_rows_and_crumbs(page) -> None:
    begin(page)
    both_ways(page.locator(".breadcrumbs button").first, lambda: page.inner_text(".counter"), lambda: begin(page))
    both_ways(page.locator(".highlight").nth(1), lambda: page.inner_text(".counter"), lambda: begin(page))
    page.get_by_role("button", name="Back to the outline").click()
    focus_walk(page)
    page.keyboard.press("o")
    for key in ("Home", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    rows = page.get_by_role("treeitem").count()
    page.locator(".row .twisty").first.click()
    assert page.get_by_role("treeitem").count() != rows
    track = page.get_by_role("slider", name="Timeline")
    focus_walk(page)
    page.keyboard.press("End")  # of the run: far from the place that is clicked
    before = page.inner_text(".counter")
    track.click(position={"x": 300, "y": 20})
    page.wait_for_function("before => document.querySelector('.counter').textContent !== before", arg=before)


OTHERS = {
    "zooms": use_zooms, "play": use_play, "filters": use_filters, "dialogs": use_dialogs,
    "what leaves the page": use_what_leaves_the_page, "rows, crumbs, timeline": use_rows_and_crumbs,
}  # fmt: skip


def test_no_fact_is_printed_over_another(opened):
    """JupyterLab floats the terms of a list in an output, each a share of the row."""
    page = opened[0].page
    until_event(page, 40, timeout=ANSWER_MILLISECONDS)  # the second cell set it
    search(page, "self_attn.k_proj.weight").filter(has_text="k_proj.weight").first.click()
    page.locator(".ledger").first.wait_for()
    assert overprinted_facts(page) == []


def test_the_player_is_alive_and_its_keys_do_not_leave_the_cell(opened):
    lab_page, recording = opened
    page = lab_page.page
    until_event(page, 40, timeout=ANSWER_MILLISECONDS)  # the second cell set it
    page.get_by_role("button", name="Greatest memory rise").click()
    where, address = active_cell(page), page.url
    page.locator(".source-lines").click()
    page.keyboard.press("Home")
    until_event(page, 0)
    seen = set()
    for key in KEYS:
        page.keyboard.press(key)
        seen.add(page.inner_text(".counter"))
        assert active_cell(page) == where, key
    assert len(seen) > 5
    page.keyboard.press("/")
    page.keyboard.type("self_attn.q_proj")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("t")
    page.keyboard.press("+")
    page.keyboard.press("?")
    page.keyboard.press("Escape")
    assert active_cell(page) == where
    assert page.locator(".jp-Cell").count() == 3  # no key made or cut a cell
    for step in STEPS:
        by_mouse_by_key_and_by_enter(page, step)
        assert active_cell(page) == where, step
    for control in OTHERS:
        OTHERS[control](page)
        assert active_cell(page) == where, control
    assert page.url == address  # the address is JupyterLab's
    # What the page shows, Python reads.
    page.locator(".source-lines").click()
    page.keyboard.press("End")
    until_event(page, len(recording) - 1)
    run_cell(page, 2)
    page.get_by_text(f"event {len(recording) - 1}", exact=True).wait_for(timeout=ANSWER_MILLISECONDS)
    run_cell(page, 1)
    until_event(page, 40, timeout=ANSWER_MILLISECONDS)
    assert lab_page.errors == []
    assert lab_page.outside == []
