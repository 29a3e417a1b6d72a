"""What keeps a newcomer from getting lost in the player's page: filters and messages that say so, room, keys, names."""

import re

import pytest

from helpers.project import ROOT
from helpers.recording.recording import Recording
from helpers.views import explorers, player
from tests.player_pages import counter, event_of, focus_walk, search, until_event

pytestmark = pytest.mark.browser

LEAST_LINES = 8
IN_VIEW = """line => {
    const [own, pane] = [line, line.closest('.source-lines')].map((one) => one.getBoundingClientRect());
    return own.top >= pane.top && own.bottom <= pane.top + line.closest('.source-lines').clientHeight;
}"""


# filters that are left set -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_a_filter_says_that_it_steers_the_steps_and_is_cleared(open_player, player_run, way):
    page = open_player()
    notice = page.locator(".filter-notice")
    assert not notice.is_visible()
    page.get_by_label("Show one thread only").select_option(label="MainThread")
    page.get_by_label("Show one stage only").select_option("9")
    within = player_run.find(stage=9)
    main = player_run.threads.index("MainThread")
    passing = [int(event) for event in within["event"] if player_run.events["thread"][event] == main]
    text = notice.inner_text()
    assert "stage 9 sampling · thread MainThread" in text
    assert f"{len(passing):,} of {len(player_run):,} events pass" in text
    assert "The step shown is not one of them" in text
    focus_walk(page)
    page.keyboard.press("ArrowRight")
    assert counter(page) == passing[0]
    assert "not one of them" not in notice.inner_text()
    if way == "mouse":
        page.get_by_role("button", name="Clear filters").click()
    else:
        page.keyboard.press("c")
    assert not notice.is_visible()
    assert page.get_by_label("Show one thread only").input_value() == ""
    page.keyboard.press("ArrowLeft")
    assert counter(page) == passing[0] - 1


def test_the_thread_filter_leaves_the_events_of_that_thread(open_player, player_run):
    threads = player_run.threads
    other = next(name for name in threads if name != "MainThread")
    page = open_player()
    page.get_by_label("Show one thread only").select_option(label=other)
    focus_walk(page)
    own = [event for event, thread in enumerate(player_run.events["thread"]) if threads[thread] == other]
    for key, event in (("End", own[-1]), ("Home", own[0]), ("ArrowRight", own[1])):
        page.keyboard.press(key)
        assert counter(page) == event
        assert f"thread {other}" in page.inner_text(".facts").replace("\n", " ")


def test_filters_that_leave_nothing_say_so(open_player):
    page = open_player()
    page.get_by_label("Show one stage only").select_option("1")
    page.get_by_label("Show one step only").select_option(label="prefill")
    assert "No event passes" in page.inner_text(".filter-notice")


def test_a_message_goes_with_the_step_that_it_was_about(open_player, player_run):
    page = open_player(fragment=f"#step={len(player_run) - 1}")
    ways = (
        lambda: page.keyboard.press("ArrowLeft"),
        lambda: page.locator(".row.node-event:not(.selected)").first.click(),
        lambda: page.locator(".breadcrumbs button").first.click(),
        lambda: page.evaluate("location.hash = '#step=3'"),
        lambda: page.get_by_label("Show one stage only").select_option("8"),
    )
    for way in ways:
        focus_walk(page)
        page.keyboard.press("End")
        page.keyboard.press("ArrowRight")
        assert "last step" in page.inner_text(".message")
        way()
        page.wait_for_function("() => document.querySelector('.message').hidden")


# room ----------------------------------------------------------------------------------------------------------------


def in_a_site(run, width: int) -> str:
    """A page in which the player has a column of its own, as in the site."""
    shown = player.step_through(run)
    twin = explorers.twin("player", shown.twin_data(), shown.static_html(), shown.text())
    return (
        f'<!DOCTYPE html><html lang="en"><title>x</title><body><div style="width:{width}px">{twin}</div></body></html>'
    )


@pytest.mark.parametrize(
    ("width", "height", "column"), [(1440, 900, None), (1440, 900, 1040), (1366, 650, None), (768, 1024, None)]
)
def test_a_jump_shows_its_line_among_enough_others(open_player, player_run, player_html, width, height, column):
    page = open_player(in_a_site(player_run, column) if column else player_html, width=width, height=height)
    search(page, "is_sharded = True").filter(has_text="ran").first.click()
    line = page.locator(".line.current")
    assert "is_sharded = True" in line.inner_text()
    page.wait_for_function(IN_VIEW, arg=line.element_handle())  # the room is measured after the step
    assert page.locator(".source-lines").evaluate("one => one.clientHeight") >= LEAST_LINES * 18
    page.set_viewport_size({"width": width, "height": height - 60})
    page.wait_for_function("height => innerHeight === height", arg=height - 60)
    page.wait_for_function(IN_VIEW, arg=line.element_handle())


# keys ----------------------------------------------------------------------------------------------------------------


def test_every_key_is_in_the_help_and_those_of_a_walk_are_in_sight(open_player):
    page = open_player()
    hints = page.locator(".key-hints kbd").all_inner_texts()
    assert hints == ["→", "←", "↓", "i", "↑", "Shift →", "Shift ↓", "p", "/", "?"]
    assert page.locator(".key-hints").is_visible()
    focus_walk(page)
    page.keyboard.press("?")
    told = "".join(page.locator("dialog .keys th").all_inner_texts())
    script = (ROOT / "helpers" / "views" / "player_keys.js").read_text(encoding="utf-8")
    keys = {*re.findall(r"(?:[{,]|^) *\"?(\w|/|\?)\"?: ", script, re.MULTILINE), *re.findall(r"=== \"(\w)\"", script)}
    assert {"p", "c", "m", "i", "/", "?", "h", "j"} <= keys
    assert [key for key in sorted(keys) if key not in told] == []


def test_every_button_tells_its_key(open_player):
    page = open_player()
    titles = page.locator(".tool").evaluate_all("all => all.map((one) => one.title)")
    assert len(titles) == 8
    for title, key in zip(titles, ("Shift ←", "←", "→", "Shift →", "i", "↓", "↑", "Shift ↓"), strict=True):
        assert title.endswith(f"({key})")


# search --------------------------------------------------------------------------------------------------------------


def test_enter_goes_to_what_was_found_first_not_to_what_was_found_before(open_player, player_run):
    page = open_player()
    search(page, "self_attn.q_proj")
    box = page.get_by_label("Search the recording")
    box.focus()
    box.evaluate("one => (one.value = 'is_sharded = True')")  # typed, and not yet searched for: a frame is missing
    page.keyboard.press("Enter")
    assert "is_sharded = True" in page.locator(".line.current, .line.found-line").first.inner_text()
    assert "“is_sharded = True”" in page.inner_text(".outline-status")


def test_from_what_was_found_a_press_leads_back_to_the_outline(open_player):
    page = open_player()
    search(page, "no such thing")
    page.get_by_role("button", name="Back to the outline").wait_for()  # found in the next frame
    assert page.get_by_role("treeitem").count() == 0
    assert "Nothing has all of “no such thing”" in page.inner_text(".outline-status")
    page.get_by_role("button", name="Back to the outline").click()
    assert page.get_by_label("Search the recording").input_value() == ""
    assert page.inner_text(".outline-status") == ""
    assert page.locator(".row.node-stage").count() > 0


def test_a_bare_number_finds_the_tensors_of_that_size(open_player, player_run):
    page = open_player()
    rows = search(page, "384")
    page.wait_for_function("() => document.querySelectorAll('.row.found').length > 0")
    found = player_run.find(shape="384")
    assert 0 < len(found) < len(player_run)
    assert f"{len(found):,} events" in page.inner_text(".outline-status")
    rows.filter(has_text=re.compile("decode step|prefill")).first.click()
    assert "384" in page.inner_text(".flow")


# names ---------------------------------------------------------------------------------------------------------------


def test_rows_of_one_function_are_told_apart(open_player, player_run):
    page = open_player()
    rows = search(page, "set_param_for_module")
    rows.filter(has_text=".weight").first.wait_for()
    told = page.locator(".row.found .telling").evaluate_all("all => all.map((one) => one.title)")
    assert len(told) > 4
    assert set(told) <= set(player_run.parameters()["parameter"])
    assert len(set(told)) == len(told)
    lanes = page.locator(".lane-names bdi").evaluate_all("all => all.map((one) => one.title)")
    tails = [text[-4:] for text in page.locator(".lane-names .name-tail").all_inner_texts()]
    assert tails == [title[-4:] for title in lanes if title != "MainThread"]


def test_a_line_break_in_a_value_is_seen(open_player, player_run, tmp_path):
    copy = Recording.load(player_run.save(tmp_path / "copy.json.gz"))
    copy.value_lists = [tuple((name, "first\nsecond\tthird") for name, _ in row) for row in copy.value_lists]
    page = open_player(player.step_through(copy).to_html())
    assert "first⏎second⇥third" in page.inner_text(".flow")


def test_the_counter_agrees_with_the_number_of_events(open_player, player_run):
    page = open_player(fragment=f"#step={len(player_run) - 1}")
    count = f"{len(player_run):,}"
    assert page.inner_text(".counter").startswith(f"event {len(player_run) - 1:,} ({count} of {count})")
    page.get_by_role("button", name="About").click()
    assert f"{count} events" in page.get_by_role("dialog", name="About this recording").inner_text()


def test_a_stages_time_says_that_it_is_its_own(open_player):
    page = open_player()
    stages = page.locator(".row.node-stage .aside").all_inner_texts()
    assert all("own" in text for text in stages if "not observed" not in text)
    assert "a call below may have taken longer" in page.locator(".row.node-stage .aside").first.get_attribute("title")


# what the page has more ----------------------------------------------------------------------------------------------


def test_the_timelines_buttons_zoom(open_player, player_run):
    page = open_player(fragment=f"#step={event_of(player_run, 'model.layers.3.mlp', 1)}")
    whole = page.inner_text(".range")
    seen = [whole]
    for name in ("Zoom in", "Zoom out", "Zoom to the current step", "Show the whole run"):
        page.get_by_role("button", name=name).click()
        page.wait_for_function("before => document.querySelector('.range').textContent !== before", arg=seen[-1])
        seen.append(page.inner_text(".range"))
    assert seen[2] == seen[4] == whole
    assert len(set(seen)) == 3


def test_link_copies_an_address_that_leads_to_the_step(open_player, player_html):
    page = open_player(fragment="#step=5")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Over").click()
    at = counter(page)
    assert at > 5
    page.get_by_role("button", name="Link").click()
    page.wait_for_selector(".message:has-text('clipboard')")
    address = page.evaluate("navigator.clipboard.readText()")
    assert address.endswith(f"#step={at}")
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector(".player .counter")
    until_event(page, at)


def test_the_focus_is_seen_on_every_control(open_player):
    page = open_player()
    focus_walk(page)
    unseen, seen = [], set()
    for _ in range(70):
        page.keyboard.press("Tab")
        ring, name = page.evaluate(
            "() => { const one = document.activeElement, style = getComputedStyle(one);"
            " return [one === document.body || (style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 2),"
            " one.className + one.getAttribute('aria-label') + one.innerText]; }"
        )
        seen.add(name)
        if not ring:
            unseen.append(name)
    assert unseen == []
    assert len(seen) > 25
