"""The pages of the whole site, opened from disk in a real browser with the network off: what each kind of page holds,
as text, as links and on paper.
"""

import pytest

from helpers import landmarks, notebooks
from helpers.site import executions, inspection
from tests.site_tools import mount_explorers, print_problems, squeezed, text_of_output, texts_in

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_every_link_leads_somewhere_and_no_weight_is_too_great(built_site):
    assert [*inspection.link_problems(built_site), *inspection.weight_problems(built_site)] == []


def test_a_page_shows_what_its_notebook_gave_and_nothing_else(built_site, open_offline):
    """Output by output: the text below each cell is the text of that cell's outputs, all of it and no more."""
    page = open_offline(built_site / "search.html", built_site)  # any page: its parser is used
    for path in notebooks.paths():
        notebook, _ = executions.executed(path)
        html = (built_site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        shown = texts_in(page, html, ".cell_output")
        with_outputs = [cell.outputs for cell in notebook.cells if cell.get("outputs")]
        assert len(shown) == len(with_outputs) > 5
        for there, outputs in zip(shown, with_outputs, strict=True):
            given = "".join(text_of_output(page, output) for output in outputs)
            assert squeezed(there) == squeezed(given), f"{path.stem}: {given[:300]!r}"


def test_search_from_disk_finds_the_notebook_and_the_table(built_site, open_offline):
    page = open_offline(built_site / "search.html", built_site, fragment="?q=set_module_tensor_to_device")
    page.locator("#search-results li a").first.wait_for()
    page.wait_for_function("document.querySelector('#search-results p.search-summary')?.innerText.includes('found')")
    addresses = page.locator("#search-results li a").evaluate_all("links => links.map((link) => link.href)")
    found = {address.split("/site/")[1].split("#")[0].split("?")[0] for address in addresses}
    assert {"notebooks/04_loading_weights.html", "landmarks.html"} <= found
    assert page.problems == page.requests == []


def test_the_table_has_a_row_for_each_step_with_its_notebook_and_its_place_in_the_player(built_site, open_offline):
    page = open_offline(built_site / "landmarks.html", built_site)
    rows = page.locator("table.landmarks tbody tr").evaluate_all("rows => rows.map((row) => row.id)")
    assert rows == [landmark.id for landmark in landmarks.table()]
    heads = page.locator("table.landmarks").first.locator("thead th").all_inner_texts()
    assert heads == ["step", "the article's name", *landmarks.tested_versions(), "notebook"]
    row = page.locator('[id="load.read_tensor"]')
    assert row.locator("a", has_text="04 loading weights").get_attribute("href") == "notebooks/04_loading_weights.html"
    link = row.locator("a", has_text=landmarks.installed_version())
    link.click()
    page.locator(".explorer .counter").wait_for()
    assert "get_slice" in page.locator(".explorer .counter").inner_text()


def test_the_status_page_tells_time_and_memory_of_each_notebook(built_site, open_offline):
    page = open_offline(built_site / "status.html", built_site)
    rows = page.locator("table").first.locator("tbody tr").all_inner_texts()
    assert [row[:2] for row in rows] == [path.name[:2] for path in notebooks.paths()]
    for row, path in zip(rows, notebooks.paths(), strict=True):
        _, execution = executions.executed(path)
        assert f"{execution.seconds / 60:.1f}" in row
        assert execution.executed_at in " ".join(row.split())
    versions = page.locator("table").nth(1).inner_text()
    assert landmarks.installed_version() in versions


def test_downloads_are_the_notebooks_and_recordings_as_they_are(built_site):
    from helpers.recording.recording import Recording

    for path in notebooks.paths():
        assert (built_site / "downloads" / "notebooks" / path.name).read_text() == path.read_text()
    recordings = sorted((built_site / "downloads" / "recordings").iterdir())
    versions = {Recording.load(file).environment["transformers"] for file in recordings}
    assert versions >= set(landmarks.tested_versions())


@pytest.mark.parametrize(("folder", "least"), [("notebooks", 2), ("player", 4), (".", 0)])
def test_pages_print_in_black_on_white_with_tables_for_explorers_and_nothing_cut(
    built_site, open_offline, axe, folder, least
):
    found, explorers = [], 0
    for file in sorted((built_site / folder).glob("*.html")):
        if file.stem == "search":
            continue  # nobody prints it
        page = open_offline(file, built_site, dark=True)
        mount_explorers(page)
        explorers += page.locator(".explorer-twin").count()
        found += [f"{file.stem}: {problem}" for problem in print_problems(page, "article", axe)]
        page.context.close()
    assert found == []
    assert explorers >= least
