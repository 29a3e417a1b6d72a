"""Hostile, damaged and empty recordings in the player's page: text stays text, and what is wrong is said."""

import pytest

from helpers import record
from helpers.recording.recording import Recording
from helpers.views import explorers, player, player_payload
from tests.player_pages import event_of, until_event

pytestmark = pytest.mark.browser

HOSTILE = '</script><img src=x onerror="document.title=1"> $x$ \u202eshalom שלום a\u0301\u0301 \x00\x1b end'


def changed(player_run, tmp_path, change) -> Recording:
    copy = Recording.load(player_run.save(tmp_path / "copy.json.gz"))
    change(copy)
    return copy


def test_hostile_content_is_text_everywhere(open_player, player_run, tmp_path):
    def poison(copy):
        copy.functions = [
            one._replace(qualname=f"{one.qualname} {HOSTILE}", file=f"{HOSTILE}/{one.file}") for one in copy.functions
        ]
        copy.sources = {
            name + " " + HOSTILE: text.replace('"""', f'"""{HOSTILE}', 1) for name, text in copy.sources.items()
        }
        copy.paths = [f"{path}.{HOSTILE}" for path in copy.paths]
        copy.threads = [HOSTILE for _ in copy.threads]
        copy.specs = [spec._replace(path=HOSTILE, dtype=HOSTILE, device=HOSTILE) for spec in copy.specs]
        copy.value_lists = [tuple((HOSTILE, HOSTILE) for _ in row) for row in copy.value_lists]
        copy.samples = [row._replace(processor=HOSTILE) for row in copy.samples]
        copy.loads = [row._replace(parameter=HOSTILE, key=HOSTILE, file=HOSTILE) for row in copy.loads]
        copy.warnings = [HOSTILE]
        copy.environment["platform"] = HOSTILE

    copy = changed(player_run, tmp_path, poison)
    page = open_player(player.step_through(copy).to_html())
    for event in (0, *player_run.find(stage=9)["event"].iloc[[0]], event_of(player_run, "mlp", 0)):
        page.evaluate(f"location.hash = '#step={event}'")
        until_event(page, event)
        assert page.locator(".explorer img").count() == 0
        assert "<img src=x onerror=" in page.inner_text(".source-title")
        for hidden in ("\u202e", "\x00", "\x1b"):
            assert hidden not in page.inner_text(".explorer")
        assert "⟨U+202E⟩" in page.inner_text(".flow") + page.inner_text(".source-title")
    page.get_by_label("Search the recording").fill("<img")
    page.locator(".row.found").first.wait_for()
    assert page.get_by_role("treeitem").count() > 3
    page.get_by_role("button", name="About").click()
    assert "<img src=x" in page.get_by_role("dialog", name="About this recording").inner_text()
    assert page.title() != "1"


def test_an_empty_recording_says_what_to_do(offline_page):
    with record() as empty:
        pass
    page = offline_page(player.step_through(empty).to_html())
    message = page.get_by_role("alert")
    message.wait_for()
    assert "no function of the call path ran" in message.inner_text()


def test_a_truncated_recording_says_so(offline_page, player_run):
    shown = player.step_through(player_run)
    data = shown.twin_data() | {"recording_file": explorers.base64_text(shown.recording_file[:3000])}
    page = offline_page(explorers.page("player", data, "<p>table</p>", "x", "x"))
    message = page.get_by_role("alert")
    message.wait_for()
    assert "cut short or damaged" in message.inner_text()


def test_what_was_not_recorded_says_how_to_record_it(open_player, player_run, tmp_path):
    def strip(copy):
        copy.sources = {}
        copy.environment |= {"zoom": ["landmarks"], "transformers": "4.0.0", "torch": "1.0.0"}  # not installed here
        copy.memory_series = {name: values[:0] for name, values in copy.memory_series.items()}
        copy.step_rows["memory"][:] = -1
        for name in ("memory_before", "memory_after"):
            copy.events[name][:] = -1

    page = open_player(player.step_through(changed(player_run, tmp_path, strip)).to_html())
    assert "is not in this recording" in page.inner_text(".source")
    assert 'record("memory")' in page.inner_text(".legend")
    page.get_by_role("button", name="About").click()
    assert 'record("landmarks", "modules")' in page.get_by_role("dialog", name="About this recording").inner_text()


def test_a_page_without_its_guide_says_that_it_is_damaged(offline_page, player_run):
    data = player.step_through(player_run).twin_data() | {"guide": explorers.base64_text(player_payload._packed({}))}
    page = offline_page(explorers.page("player", data, "<p>table</p>", "x", "x"))
    page.get_by_role("alert").wait_for()
    assert "damaged" in page.get_by_role("alert").inner_text()
