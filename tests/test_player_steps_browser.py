"""Walking in the player's page, opened from disk, offline: by mouse and by keyboard."""

import re

import pytest

from tests.player_pages import counter, event_of, focus_walk, state_after, until_behind, until_event

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("button", "key"),
    [
        ("Forward", "ArrowRight"), ("Back", "ArrowLeft"), ("Into", "i"), ("Over", "ArrowDown"), ("Out", "ArrowUp"),
        ("Next landmark", "Shift+ArrowRight"), ("Landmark before", "Shift+ArrowLeft"),
        ("Next token", "Shift+ArrowDown"),
    ],
)  # fmt: skip
def test_each_control_does_the_same_by_mouse_and_by_key(open_player, player_run, button, key):
    begin = int(player_run.find("_get_resolved_checkpoint_files")["event"].iloc[0]) + 2
    page = open_player(fragment=f"#step={begin}")
    before = state_after(page)
    page.get_by_role("button", name=button, exact=True).click()
    by_mouse = state_after(page)
    assert by_mouse != before or "Nothing was recorded" in page.inner_text(".message")
    page.evaluate("location.hash = '#step=0'")  # the address that it has already would be no change
    until_event(page, 0)
    page.evaluate(f"location.hash = '#step={begin}'")
    page.wait_for_function("text => document.querySelector('.counter').textContent === text", arg=before[0])
    focus_walk(page)
    page.keyboard.press(key)
    assert state_after(page) == by_mouse


def test_forward_and_back_go_through_the_lines_that_ran(open_player, player_run):
    event = int(player_run.find("_get_resolved_checkpoint_files")["event"].iloc[0])
    page = open_player(fragment=f"#step={event}")
    focus_walk(page)
    page.keyboard.press("ArrowRight")
    first = int(player_run.lines(event)["line"].iloc[0])
    assert page.locator(".line.current .gutter").get_attribute("data-number") == str(first)
    page.keyboard.press("ArrowLeft")
    assert counter(page) == event
    assert page.locator(".line.current.entry").count() == 1
    ran = {
        int(number)
        for number in page.eval_on_selector_all(".line.ran .gutter", "all => all.map((one) => one.dataset.number)")
    }
    assert ran == set(player_run.lines(event)["line"])
    focus_walk(page)
    page.keyboard.press("End")
    assert counter(page) == len(player_run) - 1
    page.keyboard.press("ArrowRight")
    assert "last step" in page.inner_text(".message")
    page.keyboard.press("Home")
    assert counter(page) == 0


def test_the_source_is_whole_although_it_is_drawn_in_parts(open_player, player_run):
    event = int(player_run.find("PreTrainedModel.from_pretrained")["event"].iloc[0])
    source = player_run.source(event)
    assert len(source.lines) > 400
    page = open_player(fragment=f"#step={event}")
    page.wait_for_function(
        "count => document.querySelectorAll('.line').length === count", arg=len(source.lines), timeout=10_000
    )
    shown = page.eval_on_selector_all(".line code", "all => all.map((one) => one.textContent)")
    assert shown == [line for _, line in source.lines]
    button = page.get_by_role("button", name=re.compile("show the docstring"))
    button.click()
    assert page.get_by_role("button", name=re.compile("fold the docstring")).get_attribute("aria-expanded") == "true"


def test_play_goes_on_until_it_is_stopped(open_player):
    page = open_player()
    page.get_by_label("Steps a second").select_option("30")
    focus_walk(page)
    page.keyboard.press("p")
    until_behind(page, 3)
    page.get_by_role("button", name="Pause").click()
    stopped = counter(page)
    page.wait_for_timeout(200)
    assert counter(page) == stopped


def test_a_step_that_was_only_summarised_says_how_to_keep_it(open_player, player_run):
    page = open_player(fragment=f"#step={len(player_run) - 1}")
    page.get_by_role("button", name="Next token").click()
    assert "record(steps=None)" in page.inner_text(".message")


def test_from_a_call_of_the_prefill_to_the_same_in_the_decode_step_and_back(open_player, player_run):
    prefill, decode = (event_of(player_run, "model.layers.1.mlp", step) for step in (0, 1))
    page = open_player(fragment=f"#step={prefill}")
    page.get_by_role("button", name="Next occurrence").click()
    assert counter(page) == decode
    assert page.get_by_role("button", name="Next occurrence").count() == 0  # of two
    page.get_by_role("button", name="go there").click()
    assert counter(page) == prefill


ADDRESS_GIVEN_BEFORE_THE_LAST_STEP_IS_WRITTEN = """async (address) => {
  const [real, waiting] = [globalThis.setTimeout, []];
  globalThis.setTimeout = (work) => waiting.push(work);
  document.querySelector('button[aria-label="Forward"]').click();
  globalThis.setTimeout = real;
  const heard = new Promise((done) => addEventListener("hashchange", () => setTimeout(done), { once: true }));
  location.hash = address;
  waiting.forEach((work) => work());
  await heard;
  return waiting.length;
}"""


@pytest.mark.parametrize(("address", "shown"), [("#step=40", 40), ("#elsewhere", 1)])
def test_an_address_is_followed_although_the_step_before_waits_to_be_written(open_player, address, shown):
    page = open_player(fragment="#step=0")
    assert page.evaluate(ADDRESS_GIVEN_BEFORE_THE_LAST_STEP_IS_WRITTEN, address) > 0
    assert counter(page) == shown
    assert page.evaluate("location.hash") == address
