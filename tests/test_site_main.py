"""`python -m helpers.site.build`: where the site is, and for what must not be published a named reason and status 1."""

import shutil
from pathlib import Path

import nbformat
import pytest

from helpers import notebooks
from helpers.reference_recording import committed
from helpers.site import build, executions, players
from helpers.site.players import PlayerPage
from tests.notebook_files import code_cell, markdown_cell, text_output, write
from tests.test_site import execution

TITLE = "# Read a thing\n\n**Time** 7 minutes"


@pytest.fixture
def built(tmp_path, monkeypatch, capsys):
    """A function that builds a site of one notebook with this text, executed before; gives (status, output, errors)."""
    monkeypatch.setattr(players, "pages", lambda *options: [PlayerPage(committed())])

    def start(text: str):
        path = write(tmp_path / "20_small.ipynb", markdown_cell(text), code_cell("1", text_output("one\n"), count=1))
        kept = nbformat.read(path, as_version=4), execution("20_small")
        monkeypatch.setattr(notebooks, "paths", lambda: [path])
        monkeypatch.setattr(executions, "executed", lambda *options: kept)
        status = build.main(["--output", str(tmp_path / "site")])
        return status, *capsys.readouterr()

    return start


@pytest.mark.slow
def test_it_says_where_the_site_is(built, tmp_path):
    status, output, errors = built(f"{TITLE}\n\nIt is $\\frac{{1}}{{2}}$ and costs $5 and $6.")
    assert (status, errors) == (0, "")
    address = (tmp_path / "site" / "index.html").as_uri()
    assert output.splitlines()[-1].strip() == address
    assert "Open it in a browser, no server needed" in output
    assert (tmp_path / "site" / "index.html").is_file()
    page = (tmp_path / "site" / "notebooks" / "20_small.html").read_text(encoding="utf-8")
    assert page.count("<mfrac>") == 1
    assert "costs $5 and $6." in page
    assert "mathjax@" not in page.lower(), "no script for formulas"


@pytest.mark.slow
def test_a_missing_figure_and_warnings_stop_it_and_each_is_named(built, tmp_path):
    status, output, errors = built(f"{TITLE}\n\n![a figure](missing.png)\n\n$\\nonesuch$\n\n#### Too deep")
    assert status == 1
    assert errors.startswith("error: Sphinx built no site")
    for words in ("missing.png", "cannot be shown: '\\\\nonesuch'", "Non-consecutive header level increase"):
        named = [line for line in errors.splitlines() if words in line]
        assert named, errors
        assert "20_small" in named[0]
    assert "Open it" not in output
    assert not (tmp_path / "site").exists()


def test_a_notebook_that_fails_stops_it_and_is_named(tmp_path, monkeypatch, capsys):
    path = write(tmp_path / "20_wrong.ipynb", markdown_cell(TITLE), code_cell("raise KeyError('gone')"))
    monkeypatch.setattr(notebooks, "paths", lambda: [path])
    assert build.main(["--output", str(tmp_path / "site")]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: 20_wrong.ipynb did not run to its end")
    assert "KeyError" in errors
    assert not (tmp_path / "site").exists()


def test_a_missing_picture_of_the_start_page_stops_it_and_is_named(built, tmp_path, monkeypatch):
    shutil.copytree(build.DOCS / "site", tmp_path / "docs" / "site")
    shutil.copy(build.DOCS / "glossary.md", tmp_path / "docs")
    monkeypatch.setattr(build, "DOCS", Path(tmp_path / "docs"))
    status, _, errors = built(TITLE)
    assert status == 1
    assert "docs/step_through.png, and there is no such file" in errors
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("folder", ["site", "site-source"])
def test_a_folder_with_other_files_is_not_emptied(tmp_path, monkeypatch, capsys, folder):
    thesis = tmp_path / folder / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    monkeypatch.setattr(executions, "executed", lambda *options: pytest.fail("a notebook was run first"))
    assert build.main(["--output", str(tmp_path / "site")]) == 1
    assert "holds files that no build of the site has left" in capsys.readouterr().err
    assert thesis.read_text() == "mine"
