"""The player where it was wrong once: in the second of two recordings, twice in one page, without a mouse, damaged."""

import re

import pytest

from helpers import landmarks, reference_recording
from helpers.recording.recording import Recording
from helpers.views import explorers, player
from tests.player_pages import counter, until_event

pytestmark = pytest.mark.browser

PARAMETER = "model.layers.1.self_attn.k_proj.weight"
ADDRESS_RESTS = 600  # milliseconds after which the address has the step


@pytest.fixture(scope="module")
def versions() -> list[Recording]:
    return [reference_recording.committed(version) for version in ("4.47.1", "5.23.0")]


@pytest.fixture
def opened(offline_page):
    def start(shown, **options):
        page = offline_page(shown.to_html(), **{"height": 3000, **options})  # all rows of the outline are drawn
        page.wait_for_selector(".player")
        return page

    return start


def stages(page) -> list[list[str]]:
    """The rows of the stages in the outline: name, events and time."""
    return page.locator(".row.node-stage").evaluate_all(
        "rows => rows.sort((one, other) => one.dataset.index - other.dataset.index)"
        ".map((row) => [row.querySelector('.name').textContent, row.querySelector('.aside').textContent])"
    )


WAYS = {
    "breadcrumb": lambda page: page.locator(".compared-side").nth(1).locator(".breadcrumbs button").first.click(),
    "heading": lambda page: page.get_by_role("button", name=re.compile("^transformers 5.23.0")).click(),
    "address": lambda page: page.evaluate("location.hash = '#step=b6400'"),
}


@pytest.mark.parametrize("way", WAYS)
def test_walking_in_the_second_recording_shows_its_own_outline(opened, versions, way):
    first, second = versions
    alone = [stages(opened(player.step_through(one))) for one in versions]
    assert alone[0] != alone[1]
    page = opened(player.step_through(first, second), fragment="#step=4000")
    page.get_by_label("Show one stage only").select_option("8")
    assert stages(page)[0][0] == "8 forward pass"
    WAYS[way](page)
    page.wait_for_function("() => document.querySelector('.counter').textContent.includes('of 6,517')")
    assert stages(page) == alone[1]
    assert page.get_by_label("Show one stage only").input_value() == ""
    page.locator(".compared-side").nth(1).locator(".source-lines").focus()
    page.keyboard.press("End")
    assert counter(page) == 6516
    assert len(second) - 1 == 6516 > len(first)
    page.get_by_role("slider", name="Timeline of transformers 5.23.0").click(position={"x": 400, "y": 20})
    page.wait_for_function("() => document.querySelector('.counter').dataset.event !== '6516'")
    page.get_by_label("Show one stage only").select_option("9")
    page.get_by_role("button", name=re.compile("^Prefill")).click()  # of the first
    assert page.inner_text(".counter").split(" · ")[0].endswith(f"of {len(first):,})")
    assert stages(page) == alone[0]


def test_a_step_in_the_second_recording_has_an_address(opened, versions):
    page = opened(player.step_through(*versions), fragment="#step=b6400")
    assert page.inner_text(".counter").startswith("event 6,400 (6,401 of 6,517)")
    page.get_by_role("button", name="Forward", exact=True).click()
    page.wait_for_function("() => location.hash === '#step=b6401'")


def test_a_filter_leaves_no_row_of_before(opened, player_run):
    page = opened(player.step_through(player_run))
    before = dict(stages(page))
    page.get_by_label("Show one step only").select_option(label="decode step 1")
    page.get_by_label("Show one stage only").select_option("9")
    ((name, told),) = stages(page)
    assert told != before[name]
    assert f" {told.split(' event')[0]} of {len(player_run):,} events pass" in page.inner_text(".filter-notice")


def test_keys_live_on_behind_a_step_from_a_button_that_is_drawn_anew(opened, player_run):
    event = int(player_run.find("model.layers.3.mlp", step=1)["event"].iloc[0])
    page = opened(player.step_through(player_run, event=event))
    for within in (".breadcrumbs button", ".source-title a", ".flow button", ".purposes summary"):
        at = counter(page)
        button = page.locator(within).first
        if not button.count():
            page.keyboard.press("Shift+ArrowRight")
            continue
        button.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert counter(page) == at + 2, within
        assert page.evaluate("document.activeElement.className") == "source-lines"


def test_long_lines_are_read_by_keyboard(opened, player_run):
    event = int(player_run.find("_BaseAutoModelClass.from_pretrained")["event"].iloc[0])
    page = opened(player.step_through(player_run, event=event), height=900)
    lines = page.locator(".source-lines")
    lines.focus()
    seen = []
    for key in ("l", "h", "j", "k"):
        page.keyboard.press(key)
        seen.append(lines.evaluate("one => [one.scrollLeft, one.scrollTop]"))
    assert seen == [[54, 0], [0, 0], [0, 54], [0, 0]]
    assert counter(page) == event
    page.keyboard.press("?")
    assert "scroll it to the right" in page.get_by_role("dialog", name="Keys").inner_text()


# in a page with others -----------------------------------------------------------------------------------------------


def twin(player_run, event: int) -> str:
    shown = player.step_through(player_run, event=event)
    return explorers.twin("player", shown.twin_data(), shown.static_html(), shown.text())


def test_two_players_in_one_page_have_a_step_each_in_the_address(offline_page, player_run):
    twins = "".join(f"<div>{twin(player_run, event)}</div>" for event in (3, 4))
    html = f'<!DOCTYPE html><html lang="en"><title>x</title><body>{twins}</body></html>'

    def start(**options):
        page = offline_page(html, height=3000, **options)
        page.wait_for_function("() => document.querySelectorAll('.counter').length === 2")
        return page

    page = start()
    page.wait_for_timeout(ADDRESS_RESTS)
    assert page.evaluate("location.hash") == ""  # nobody walked
    page.get_by_role("button", name="Forward", exact=True).nth(1).click()
    page.wait_for_function("() => location.hash.startsWith('#step-2=')")
    assert counter(page, 0) == 3
    page = start(fragment="#step=5&step-2=7")
    assert (counter(page, 0), counter(page, 1)) == (5, 7)
    page.evaluate("location.hash = '#step=6'")
    until_event(page, 6)
    assert counter(page, 1) == 7


IN_VIEW = """place => {
  const { top, bottom } = document.querySelectorAll(".explorer-twin")[place].getBoundingClientRect();
  return top >= -1 && top < innerHeight / 2 && bottom > 0;
}"""


@pytest.mark.parametrize(("fragment", "place"), [("#step-2=7", 1), ("#step-2=7&step=5", 1), ("#step=5", 0)])
def test_a_page_begins_at_the_player_that_its_address_leads_to(offline_page, player_run, fragment, place):
    texts = "<p>text</p>" * 60
    html = f"<!DOCTYPE html><title>x</title>{texts}{texts.join(twin(player_run, event) for event in (3, 4))}{texts}"
    page = offline_page(html, height=900, fragment=fragment)
    page.wait_for_function(IN_VIEW, arg=place)
    player_there = page.locator(".explorer-twin").nth(place)
    player_there.locator(".counter").wait_for()
    before = player_there.locator(".counter").inner_text()
    page.keyboard.press("ArrowRight")
    assert player_there.locator(".counter").inner_text() != before, "keys are for it"


def test_the_player_that_moved_last_stands_first_in_the_address(offline_page, player_run):
    html = f"<!DOCTYPE html><title>x</title>{''.join(twin(player_run, event) for event in (3, 4))}"
    page = offline_page(html, height=3000)
    page.wait_for_function("() => document.querySelectorAll('.counter').length === 2")
    for place in (0, 1):
        page.get_by_role("button", name="Forward", exact=True).nth(place).click()
        page.wait_for_function("start => location.hash.startsWith(start)", arg=("#step=", "#step-2=")[place])
    assert "&step=" in page.evaluate("location.hash")


@pytest.mark.parametrize("why", ["damaged", "old browser"])
def test_what_cannot_be_opened_leaves_the_table(offline_page, player_run, why):
    shown = player.step_through(player_run)
    data = shown.twin_data()
    if why == "damaged":
        data["recording_file"] = explorers.base64_text(shown.recording_file[:3000])
    html = explorers.page("player", data, shown.static_html(), shown.text(), "x")
    if why == "old browser":
        html = html.replace("<head>", "<head><script>delete globalThis.DecompressionStream</script>")
    page = offline_page(html)
    page.get_by_role("alert").wait_for()
    assert ("cut short or damaged" if why == "damaged" else "cannot unpack gzip") in page.get_by_role(
        "alert"
    ).inner_text()
    assert page.locator(".explorer-static").is_visible()
    assert "weight loading" in page.inner_text(".explorer-static")


# what a step says ----------------------------------------------------------------------------------------------------


def test_a_landmark_says_what_it_is_for_and_links_to_the_release(opened, player_run):
    event = int(player_run.find("PreTrainedModel.from_pretrained")["event"].iloc[0])
    page = opened(player.step_through(player_run, event=event))
    statuses = {row.id: row.function for row in player_run.landmark_statuses}
    told = [one for one in landmarks.table() if statuses.get(one.id) == int(player_run.events["function"][event])]
    assert told
    purposes = page.inner_text(".purposes").lower()
    for one in told:
        assert one.id in purposes
        assert one.role.lower() in purposes
        assert not one.in_article or f"the article calls it {one.article_name}".lower() in purposes
    assert page.locator(".source-title a").get_attribute("href") == player_run.source(event).permalink
    assert page.locator(".breadcrumbs [aria-current=step]").inner_text().endswith("from_pretrained")


def test_a_loading_event_shows_the_tensor_that_it_is_about(opened, player_run):
    row = player_run.parameters().set_index("parameter").loc[PARAMETER]
    page = opened(player.step_through(player_run))
    page.get_by_label("Search the recording").fill(PARAMETER)
    page.get_by_role("treeitem").filter(has_text=PARAMETER).first.click()
    event = counter(page)
    page = opened(player.step_through(player_run, event=event))  # stepped onto, not searched for
    card = page.inner_text(".ledger")
    for text in (PARAMETER, row["file"], row["disk_dtype"], "cast", row["device"], row["thread"]):
        assert str(text) in card
