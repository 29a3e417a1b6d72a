"""The player's page in a browser, for tests: a recording of a tiny model, its page, and what is asked of a page.

The fixtures reach every test through conftest.py.
"""

import pytest

from helpers.recording.recording import Recording
from helpers.views import player
from tests.player_recording import player_recording

OVERLAPS = """() => {
  const facts = [...document.querySelectorAll(":is(.facts, .ledger) :is(dt, dd:not(:has(button)))")];
  const boxes = facts.map((fact) => {
    const text = document.createRange(); // a text may be wider than its element
    text.selectNodeContents(fact);
    return text.getBoundingClientRect();
  });
  const before = (a, b) => a.right <= b.left + 1 || a.bottom <= b.top + 1;
  const found = [];
  boxes.forEach((box, one) => boxes.slice(0, one).forEach((other, two) => {
    const [first, second] = [facts[two].textContent, facts[one].textContent];
    if (!before(box, other) && !before(other, box)) found.push(`${second} over ${first}`);
  }));
  return [boxes.length, found];
}"""


@pytest.fixture(scope="session")
def player_run(tiny_checkpoint, tmp_path_factory) -> Recording:
    """The recorded call of a model of six layers; not to be changed."""
    return player_recording(tiny_checkpoint, tmp_path_factory.mktemp("player") / "six layers")


@pytest.fixture(scope="session")
def player_html(player_run) -> str:
    return player.step_through(player_run).to_html()


@pytest.fixture
def open_player(offline_page, player_html):
    """A function that opens a player's page (of `player_run` unless told) and waits until it is there."""

    def start(text: str = player_html, **options):
        page = offline_page(text, **options)
        page.wait_for_selector(".player")
        return page

    return start


def counter(page, place: int = 0) -> int:
    """The number of the event that is shown, in the player at `place`."""
    return int(page.locator(".counter").nth(place).get_attribute("data-event"))


def until_event(page, event: int, **options) -> None:
    page.wait_for_function(
        "event => document.querySelector('.counter').dataset.event === event", arg=str(event), **options
    )


def until_behind(page, event: int) -> None:
    page.wait_for_function("event => Number(document.querySelector('.counter').dataset.event) > event", arg=event)


def event_of(recording, name: str, step: int) -> int:
    return int(recording.find(name, step=step)["event"].iloc[0])


def focus_walk(page) -> None:
    page.locator(".source-lines").first.focus()


def state_after(page) -> tuple:
    return page.inner_text(".counter"), page.locator(".line.current .gutter").first.get_attribute("data-number")


def search(page, text: str):
    """Type into the search box; the rows that are found."""
    page.get_by_label("Search the recording").fill(text)
    return page.get_by_role("treeitem")


def overprinted_facts(page) -> list[str]:
    """Which facts of the event that is shown, and of its tensors, are printed on top of each other."""
    count, found = page.evaluate(OVERLAPS)
    assert count > 15, "of an event with a tensor"
    return found
