"""`make lab` in a real browser: the first notebook opens, runs to its end without an error, and nothing pops up.

JupyterLab runs with configuration, data and runtime folders of its own, on a copy of the notebooks.
"""

import shutil
from pathlib import Path

import pytest

from helpers import lab, notebooks
from helpers.project import ROOT
from tests.lab_pages import START_SECONDS
from tests.notebook_files import code_cell, write

pytestmark = [pytest.mark.browser, pytest.mark.slow]

POP_UP_MILLISECONDS = 3000  # the question about news comes within a second of the page
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


@pytest.fixture
def small_course(tmp_path) -> Path:
    """A folder with a first notebook that takes a moment."""
    cells = [code_cell("from helpers import devices"), code_cell("x = 6 * 7\nx"), code_cell("assert x == 42")]
    write(tmp_path / "course" / lab.FIRST_NOTEBOOK, *cells, kernelspec=KERNEL)
    return tmp_path / "course"


def test_the_first_notebook_runs_all_cells_without_error(serve, open_lab, tmp_path, demo_checkpoint):
    course = tmp_path / "course"
    shutil.copytree(ROOT / notebooks.FOLDER, course / notebooks.FOLDER)
    page = open_lab(serve(course))
    cells = page.run_all_cells()
    assert [cell["errors"] for cell in cells if cell["errors"]] == []
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert len(cells) > 1
    assert page.errors == []
    assert page.outside == []
    assert page.pop_ups() == []


def test_the_printed_address_opens_the_first_notebook_and_nothing_pops_up(serve, open_lab, small_course):
    address = serve(small_course)
    assert f"/lab/tree/{lab.FIRST_NOTEBOOK}?token=" in address
    page = open_lab(address)
    cells = page.run_all_cells()
    assert cells == [{"count": number, "errors": []} for number in (1, 2, 3)]
    page.page.wait_for_timeout(POP_UP_MILLISECONDS)
    assert page.pop_ups() == []
    assert page.outside == []
    assert page.errors == []


def test_without_the_quiet_options_the_question_about_news_would_be_seen(serve, open_lab, small_course):
    page = open_lab(serve(small_course, quiet=False))
    page.page.wait_for_selector(".Toastify__toast", timeout=START_SECONDS * 1000)
    assert any("news" in text for text in page.pop_ups())


def test_a_failing_cell_would_be_seen(serve, open_lab, small_course):
    write(
        small_course / lab.FIRST_NOTEBOOK, code_cell("assert 6 * 7 == 41, 'wrong'"), code_cell("1"), kernelspec=KERNEL
    )
    cells = open_lab(serve(small_course)).run_all_cells()
    assert cells[0]["errors"] == ["wrong"]
    assert cells[1]["count"] is None
