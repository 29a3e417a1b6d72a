"""What the player shows with the reader's own colours, to readers of screens, after an error, of several ranks, and at
an address deep in a recording.
"""

import numpy as np
import pytest

from helpers.events import RAISED
from helpers.process_group import BEGAN
from helpers.recording.recording import Recording
from helpers.views import player
from tests.player_pages import counter
from tests.site_tools import CUT, PAPER, heading_problems, settle

pytestmark = pytest.mark.browser

IN_VIEW = """() => {
  const [list, row] = [".list", ".row.selected"].map((one) => document.querySelector(one)?.getBoundingClientRect());
  return Boolean(row) && row.top >= list.top - 1 && row.bottom <= list.bottom + 1;
}"""


def style_of(locator, name: str) -> str:
    return locator.evaluate("(one, name) => getComputedStyle(one)[name]", name)


def test_with_the_readers_own_colours_marks_are_kept_and_none_appears(open_player):
    page = open_player()
    page.emulate_media(forced_colors="active")
    settle(page)
    assert style_of(page.locator(".row.selected"), "outlineStyle") == "solid"
    assert style_of(page.locator(".line.current"), "outlineStyle") == "solid"
    assert style_of(page.locator(".stage-colour").first, "backgroundColor") != style_of(
        page.locator(".stage-colour").last, "backgroundColor"
    )
    plain, ground = page.locator(".line:not(.ran, .later)").first, page.locator(".source-lines")
    assert style_of(plain, "borderLeftColor") == style_of(ground, "backgroundColor"), "no bar beside what did not run"


def test_a_page_has_its_title_as_heading_which_is_seen_on_paper_only(open_player, player_run):
    page = open_player(player.step_through(player_run).to_html("My run"))
    assert heading_problems(page) == []
    title = page.get_by_role("heading", name="My run", level=1)
    assert title.bounding_box()["width"] <= 1
    page.emulate_media(media="print")
    assert title.bounding_box()["width"] > 50
    assert page.locator(".explorer-static table").first.is_visible(), "on paper, the table in place of the player"
    assert not page.locator(".player").is_visible()
    page.set_viewport_size({"width": PAPER, "height": 1000})
    assert page.evaluate(CUT, "main") == []


def test_after_an_error_the_first_thing_to_begin_with_is_where_it_began(open_player, player_run, tmp_path):
    copy = Recording.load(player_run.save(tmp_path / "copy.json.gz"))
    parents = copy.events["parent"]
    inner = next(event for event in range(len(copy)) if parents[event] >= 0 and parents[parents[event]] >= 0)
    event = inner
    while event >= 0:
        copy.events["status"][event] = RAISED
        event = parents[event]
    page = open_player(player.step_through(copy).to_html())
    page.locator(".highlight").first.click()
    assert counter(page) == inner
    assert page.locator(".counter").inner_text().endswith("raised an error")
    assert page.locator(".row.selected .raised").is_visible()


@pytest.mark.parametrize("height", [600, 760, 1200])
def test_the_step_of_an_address_is_in_view_in_the_outline(open_player, player_run, height):
    for event in (0, len(player_run) // 3, len(player_run) // 2, len(player_run) - 1):
        page = open_player(fragment=f"#step={event}", height=height)
        page.wait_for_function(IN_VIEW)


def test_of_several_ranks_the_memory_is_that_of_the_steps_rank(open_player, player_run, tmp_path):
    """Two runs on one clock would be a merged recording; here each is made of the same one."""
    merged = Recording.merge([of_rank(player_run, rank, tmp_path) for rank in (0, 1)])
    page = open_player(player.step_through(merged).to_html())
    name = page.locator(".memory-name")
    ranks = merged.ranks["threads"][merged.events["thread"]]
    for rank in (0, 1, 0):
        page.evaluate("step => (location.hash = `#step=${step}`)", int(np.flatnonzero(ranks == rank)[3]))
        page.wait_for_function(
            "text => document.querySelector('.memory-name').textContent === text", arg=f"rank {rank}: memory"
        )
    assert name.is_visible()


def of_rank(recording: Recording, rank: int, folder) -> Recording:
    copy = Recording.load(recording.save(folder / f"{rank}.json.gz"))
    copy.environment |= {"rank": rank, "world_size": 2, BEGAN: rank * 1_000_000}
    return copy
