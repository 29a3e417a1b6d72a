"""Two recordings side by side in the player's page."""

import pytest

from helpers.views import player
from tests.player_pages import counter

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def two(player_run, tiny_checkpoint, tmp_path_factory) -> str:
    import torch

    from tests.player_recording import ZOOM, recorded_call, six_layers

    folder = six_layers(tiny_checkpoint, tmp_path_factory.mktemp("six layers in bfloat16"))
    other = recorded_call(folder, *ZOOM, steps=2, dtype=torch.bfloat16, attention="eager")
    return player.step_through(player_run, other).to_html()


def test_two_recordings_stand_side_by_side_with_what_differs(open_player, two):
    page = open_player(two)
    assert page.locator(".compared-side").count() == 2
    page.get_by_role("button", name="Next difference").click()
    first = counter(page)
    assert page.locator(".row.selected .differs").count() == 1
    assert page.locator(".flow .changed, .flow .new, .flow .gone, .line-differs").count() > 0
    page.get_by_role("button", name="Next difference").click()
    assert counter(page) > first
    assert page.locator(".row .differs").count() > 0
    page.get_by_label("Search the recording").fill("model.layers.0.self_attn.q_proj")
    page.get_by_role("treeitem").filter(has_text="prefill").first.click()
    flows = page.locator(".flow").all_inner_texts()
    assert "float32" in flows[0] and "there bfloat16" in flows[0]  # noqa: PT018
    assert "bfloat16" in flows[1] and "there float32" in flows[1]  # noqa: PT018


def test_the_differences_are_listed_and_lead_there(open_player, two):
    page = open_player(two)
    page.get_by_role("button", name="Differences", exact=True).click()
    page.get_by_label("Search the recording").fill("dtype q_proj bfloat16")
    row = page.get_by_role("treeitem").filter(has_text="dtype").first
    assert "float32" in row.inner_text()
    row.click()
    assert page.locator(".changed").count() > 0


def test_what_only_one_has_says_so(open_player, two):
    page = open_player(two)
    page.get_by_label("Search the recording").fill("sdpa_attention_forward")
    page.get_by_role("treeitem").filter(has_text="prefill").first.click()
    assert page.locator(".missing:visible").inner_text() == "This recording has no counterpart of that step."


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_in_two(open_player, axe, two, dark):
    assert axe(open_player(two, dark=dark)) == []
