"""The player's page as a page: its address, what leaves it, its dialogs, its theme, its accessibility."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import landmarks, record
from helpers.recording.recording import Recording
from helpers.views import explorers, player
from tests.player_pages import counter, event_of, focus_walk, until_event

pytestmark = pytest.mark.browser


def test_the_address_holds_the_step(open_player, player_run):
    page = open_player(fragment="#step=12")
    assert counter(page) == 12
    page.get_by_role("button", name="Over").click()
    page.wait_for_function("() => location.hash !== '#step=12'")
    assert page.evaluate("location.hash").startswith("#step=")
    page.evaluate("location.hash = '#step=3'")
    until_event(page, 3)


@pytest.mark.parametrize("fragment", ["#step=99999999", "#step=x", "#other"])
def test_an_address_of_no_step_begins_at_the_beginning(open_player, fragment):
    assert counter(open_player(fragment=fragment)) == 0


@pytest.mark.parametrize("way", ["key", "button"])
def test_a_step_is_copied_as_markdown(open_player, player_run, way):
    page = open_player(fragment="#step=5")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    focus_walk(page)
    if way == "key":
        page.keyboard.press("m")
    else:
        page.get_by_role("button", name="Markdown").click()
    page.wait_for_selector(".message:has-text('clipboard')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("### `")
    assert f"event 5 of {len(player_run)}" in copied
    assert "transformers " in copied


def test_the_download_is_the_recording(open_player, player_run, tmp_path):
    page = open_player()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "run.json.gz")
    assert Recording.load(tmp_path / "run.json.gz") == player_run
    assert download.value.suggested_filename == f"recording-transformers-{landmarks.installed_version()}.json.gz"


def test_keys_and_about_are_told(open_player):
    page = open_player()
    focus_walk(page)
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible()
    page.get_by_role("button", name="About").click()
    about = page.get_by_role("dialog", name="About this recording").inner_text()
    assert "every Python call in the libraries" in about  # the zoom that it does not have
    assert landmarks.installed_version() in about


# hosts --------------------------------------------------------------------------------


def test_without_scripts_the_tables_are_there(browser, player_html, tmp_path):
    (tmp_path / "page.html").write_text(player_html, encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    assert page.get_by_text("weight loading").first.is_visible()
    assert page.locator(".player").count() == 0
    context.close()


def test_a_twin_comes_to_life_when_it_is_scrolled_to(offline_page, player_run):
    shown = player.step_through(player_run)
    twin = explorers.twin("player", shown.twin_data(), shown.static_html(), shown.text())
    above = '<div style="height:5000px">above</div>'
    page = offline_page(f'<!DOCTYPE html><html lang="en"><title>x</title><body>{above}{twin}</body></html>')
    page.wait_for_timeout(300)
    assert page.locator(".player").count() == 0
    page.evaluate("window.scrollTo(0, 5000)")
    page.wait_for_selector(".player")
    assert not page.locator(".explorer-static").is_visible()


def test_the_theme_follows_the_page(open_player):
    page = open_player(dark=True)
    dark = page.evaluate("getComputedStyle(document.querySelector('.explorer')).backgroundColor")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    page.wait_for_function(
        "dark => getComputedStyle(document.querySelector('.explorer')).backgroundColor !== dark", arg=dark
    )
    page.evaluate("delete document.documentElement.dataset.theme; document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function(
        "dark => getComputedStyle(document.querySelector('.explorer')).backgroundColor === dark", arg=dark
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 400])
def test_axe_finds_nothing(open_player, axe, player_run, dark, width):
    page = open_player(dark=dark, width=width, fragment=f"#step={event_of(player_run, 'model.layers.3.mlp', 1)}")
    assert axe(page) == []
    page.get_by_label("Search the recording").fill("is_sharded")
    page.get_by_role("treeitem").filter(has_text="ran").first.click()
    assert axe(page) == []
    page.get_by_role("button", name="Keys").click()
    assert axe(page) == []


@pytest.mark.parametrize("width", [1440, 900, 400])
def test_nothing_is_wider_than_the_page(open_player, width):
    page = open_player(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_of_a_batch_the_chain_says_that_it_is_of_the_first_sequence(offline_page, tiny_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    with record("landmarks", "sampling") as recording:
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=5, max_new_tokens=1)
    event = int(recording.find("smp.topk")["event"].iloc[0])
    page = offline_page(player.step_through(recording).to_html(), fragment=f"#step={event}")
    page.get_by_role("heading", name="The chain of this step, of the first of 2 sequences").wait_for()
