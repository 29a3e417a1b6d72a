"""Single files in a browser, from disk with the network off: every notebook of the course as `make html` writes it, the
stock export of nbconvert, and the explorers in them used by keyboard.
"""

import base64
import re

import pytest
from nbconvert import HTMLExporter
from nbformat import read

from helpers import notebooks
from helpers.site import executions, export, twins
from tests.site_tools import (
    OF_LAYOUT,
    layout_problems,
    mount_explorers,
    print_problems,
    settle,
    squeezed,
    text_of_output,
    texts_in,
)

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def files(built_site, tmp_path_factory):
    """The folder of the eleven pages; the executions are those that the site was built of."""
    folder = tmp_path_factory.mktemp("html")
    for path in notebooks.paths():
        export.export(path, folder / f"{path.stem}.html")
    return folder


def test_every_file_is_whole_by_itself(files, open_offline, axe):
    found = []
    for number, file in enumerate(sorted(files.iterdir())):
        page = open_offline(file, file, width=360, dark=number % 2 == 1)
        mount_explorers(page)
        for width in (360, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            settle(page)
            found += [f"{file.name}, {width} pixels: {problem}" for problem in layout_problems(page, width)]
        found += [f"{file.name}: {problem}" for problem in [*page.requests, *page.problems]]
        found += [f"{file.name}: {problem}" for problem in axe(page, rules=OF_LAYOUT)]
        found += [f"{file.name}: {problem}" for problem in print_problems(page, "main", axe)]
        page.context.close()
    assert found == []
    assert len(list(files.iterdir())) == len(notebooks.paths())


def test_a_file_shows_what_the_notebook_gave_and_nothing_else(files, open_offline):
    page = open_offline(next(files.iterdir()), files)  # any page: its parser is used
    for path in notebooks.paths():
        notebook, _ = executions.executed(path)
        twins.without_widget_views(notebook)
        shown = texts_in(page, (files / f"{path.stem}.html").read_text(encoding="utf-8"), ".output")
        given = [cell.outputs for cell in notebook.cells if cell.get("outputs")]
        assert len(shown) == len(given) > 5, path.stem
        for there, outputs in zip(shown, given, strict=True):
            assert squeezed(there) == squeezed("".join(text_of_output(page, one) for one in outputs)), path.stem


def test_explorers_in_a_file_work_by_keyboard(files, open_offline):
    walked = turned = 0
    for file in sorted(files.iterdir()):
        page = open_offline(file, file)
        mount_explorers(page)
        for player in page.locator("[data-explorer=player]").all():
            counter = player.locator(".counter")
            player.locator(".source-lines").first.focus()
            page.keyboard.press("Home")
            first = counter.inner_text()
            page.keyboard.press("ArrowRight")
            assert counter.inner_text() != first, file.name
            page.keyboard.press("ArrowLeft")
            assert counter.inner_text() == first, file.name
            walked += 1
        for explorer in page.locator("[data-explorer=sampling_explorer]").all():
            explorer.get_by_label("top_k", exact=True).focus()
            page.keyboard.press("ControlOrMeta+a")
            page.keyboard.type("3")
            page.keyboard.press("Enter")
            kept = explorer.locator("table.chain tbody tr:last-child td").first.inner_text()
            assert int(re.sub(r"\D", "", kept)) in (3, 4, 5), kept
            turned += 1
        assert page.problems == page.requests == [], file.name
        page.context.close()
    assert walked >= 1
    assert turned >= 1


def test_the_stock_export_of_a_committed_notebook_is_complete_and_honest(tmp_path, open_offline):
    """Plain `jupyter nbconvert --to html`: each output is there, as static tables and figures; nothing seems live."""
    for path in notebooks.paths():
        document, _ = HTMLExporter().from_filename(path)
        file = tmp_path / f"{path.stem}.html"
        file.write_text(document, encoding="utf-8")
        page = open_offline(file, file)
        shown = texts_in(page, document, ".jp-OutputArea-output")
        given = [output for cell in read(path, as_version=4).cells for output in cell.get("outputs", [])]
        assert len(shown) == len(given) > 5, path.stem
        for there, output in zip(shown, given, strict=True):
            assert squeezed(there) == squeezed(text_of_output(page, output)), path.stem
        pictures = [base64.b64decode(one) for one in re.findall(r'src="data:image/png;base64,([^"]+)"', document)]
        assert all(one.startswith(b"\x89PNG") for one in pictures)
        assert page.locator(".jp-OutputArea-output img:not([alt])").count() == 0
        assert page.locator("script[type='application/vnd.jupyter.widget-view+json']").count() == 0, path.name
        assert "explorer-twin" not in document, path.name
        page.context.close()
