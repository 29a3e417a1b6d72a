"""What a newcomer finds in the exported page of the reference recording, with nothing but that page."""

import re

import pytest

from helpers import reference_recording
from helpers.recording.recording import Recording
from helpers.views import player
from tests.player_pages import counter, focus_walk, search

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PARAMETER = "model.layers.7.self_attn.k_proj.weight"
LARGEST_PAGE = 1_500_000  # bytes


@pytest.fixture(scope="module")
def reference(demo_checkpoint) -> Recording:
    return reference_recording.make(*reference_recording.CLOSER_ZOOM)


@pytest.fixture(scope="module")
def html(reference) -> str:
    return player.step_through(reference).to_html()


@pytest.fixture
def page(open_player, html):
    return open_player(html)


def test_it_is_small_enough_to_mail_and_holds_what_is_looked_for(reference, html):
    assert len(html.encode("utf-8")) <= LARGEST_PAGE
    assert len(reference.lines()) > 50
    assert len(reference.sampling()) > 0


def test_which_file_a_tensor_came_from_and_its_dtype_there(page, reference):
    rows = search(page, PARAMETER)
    rows.filter(has_text=PARAMETER.removeprefix("model.")).first.click()
    ledger = reference.parameters()
    row = ledger[ledger["parameter"] == PARAMETER].iloc[0]  # of the first load; the second read the same file
    assert page.locator(".ledger").count() == 1
    told = dict(zip(*(page.locator(f".ledger {tag}").all_inner_texts() for tag in ("dt", "dd")), strict=False))
    assert told["tensor"] == PARAMETER
    assert told["file"] == row["file"]
    assert told["dtype in the file"] == row["disk_dtype"] == "bfloat16"
    assert told["load"].startswith("0, of 2")


def test_what_shape_the_key_of_sdpa_had_at_decode_step_3(page, reference):
    page.get_by_label("Show one step only").select_option(label="decode step 3")
    search(page, "scaled_dot_product_attention").filter(has_text=re.compile("decode step 3")).nth(1).click()
    event = counter(page)
    assert reference.events["step"][event] == 3
    key = next(spec for spec in reference.tensors(event)[0] if spec.path == "key")
    assert key.shape_text == f"(1, 3, {reference_recording.PROMPT_TOKENS + 3}, 64)"
    assert key.shape_text in page.locator(".tensors tr").filter(has_text=re.compile("^key")).first.inner_text()


def test_which_line_chose_between_sharded_and_a_single_file(page, reference):
    search(page, "is_sharded = True").filter(has_text="ran").first.click()
    number = int(page.locator(".line.current .gutter").get_attribute("data-number"))
    assert page.locator(".row.selected .line-number").inner_text() == str(number)  # which of the hits it is
    lines = reference.lines()
    assert number in set(lines[lines["text"] == "is_sharded = True"]["line"])
    assert "is_sharded = True" in page.locator(".line.current .line-values").inner_text()
    focus_walk(page)
    page.keyboard.press("ArrowLeft")  # the condition that led there stands above it, and ran
    assert page.locator(".line.ran", has_text="SAFE_WEIGHTS_INDEX_NAME").count() > 0


def test_where_the_greatest_memory_rise_was(page, reference):
    chip = page.get_by_role("button", name=re.compile("^Greatest memory rise"))
    own = re.search(r"\+[\d.]+ \w+", chip.inner_text())[0]
    chip.click()
    event = counter(page)
    before, after = (reference.events[f"memory_{one}"][event] for one in ("before", "after"))
    resident = reference.memory_series["resident"]
    assert resident[after] - resident[before] > 0
    facts = page.inner_text(".facts").replace("\n", " ")
    assert "memory +" in facts
    assert own in facts  # what the chip says stands there too
    assert page.locator(".time-cursor").is_visible()


def test_about_says_what_became_of_each_tensor(page, reference):
    page.get_by_role("button", name="About").click()
    statuses = reference.parameters()["status"].value_counts()
    assert statuses["tied"] > 0
    assert f"({statuses['loaded']} loaded, {statuses['tied']} tied)" in page.locator("dialog[open]").inner_text()
