"""`python -m helpers export` as a teacher uses it: folders and files of any name, several notebooks, other scripts."""

import re

import pytest

from helpers.__main__ import main
from tests.notebook_files import code_cell, markdown_cell, text_output, write

CELLS = (markdown_cell("# Title\n\nA text."), code_cell("1", text_output("one\n"), count=1))


def test_two_notebooks_of_one_name_do_not_become_one_page(tmp_path, capsys):
    first, second = (write(tmp_path / folder / "one.ipynb", *CELLS) for folder in "ab")
    arguments = ["export", str(first), str(second), "-o", str(tmp_path / "pages"), "--as-it-is"]
    assert main(arguments) == 1
    page = tmp_path / "pages" / "one.html"
    assert f"{first} and {second} would both become {page}" in capsys.readouterr().err
    assert not page.exists(), "the first would be lost under the second"


def test_a_folder_with_a_dot_in_its_name_is_a_folder(tmp_path, monkeypatch):
    notebook = write(tmp_path / "Übung 1.2" / "größe.ipynb", *CELLS)
    folder = notebook.parent
    assert main(["export", str(notebook), "-o", str(folder), "--as-it-is"]) == 0
    (folder / "größe.html").unlink()
    monkeypatch.chdir(folder)
    assert main(["export", notebook.name, "--as-it-is"]) == 0
    assert (folder / "größe.html").is_file()


def test_a_notebook_that_may_not_be_read_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    import nbformat

    def refused(path, as_version):
        raise PermissionError(13, "Permission denied", str(path))

    notebook = write(tmp_path / "one.ipynb", *CELLS)
    monkeypatch.setattr(nbformat, "read", refused)
    assert main(["export", str(notebook), "-o", str(tmp_path / "one.html"), "--as-it-is"]) == 1
    assert capsys.readouterr().err == "error: one.ipynb cannot be read (Permission denied).\n"


def test_what_stands_in_code_is_shown_as_it_is(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"not looked at")
    picture, link = "![a plot](plot.png)", "[two](two.ipynb)"
    inline = f"Write `{picture}` or ``{link}``."
    text = f"{inline}\n\n```\n{picture} {link}\n```\n\n{picture} and `x` {link}\n\n```\n{link}\n```"
    notebook = write(tmp_path / "one.ipynb", markdown_cell(text), CELLS[1])
    page = tmp_path / "one.html"
    assert main(["export", str(notebook), "-o", str(page), "--as-it-is"]) == 0
    shown = page.read_text(encoding="utf-8")
    assert (shown.count(picture), shown.count(link)) == (2, 3)
    assert shown.count("data:image/png;base64,bm90IGxvb2tlZCBhdA==") == 1
    assert "<code>x</code> two" in shown


def test_one_of_texts_alone_needs_no_outputs(tmp_path):
    notebook = write(tmp_path / "one.ipynb", CELLS[0], code_cell(" "))
    page = tmp_path / "one.html"
    assert main(["export", str(notebook), "-o", str(page), "--as-it-is"]) == 0
    assert "A text." in page.read_text(encoding="utf-8")


def test_a_line_written_over_is_shown_as_it_was_left(tmp_path):
    """As a progress bar writes: each state over the one before, in several pieces."""
    pieces = [text_output(piece) for piece in ("0 of 2\r1 of", " 2\r2 of 2\nend", "\n")]
    notebook = write(tmp_path / "one.ipynb", CELLS[0], code_cell("count()", *pieces, count=1))
    page = tmp_path / "one.html"
    assert main(["export", str(notebook), "-o", str(page), "--as-it-is"]) == 0
    shown = page.read_text(encoding="utf-8")
    assert "<pre>2 of 2\nend\n</pre>" in shown
    assert "0 of 2" not in shown
    assert "1 of" not in shown


def test_a_picture_that_is_attached_no_more_is_told_in_one_line(tmp_path, capsys):
    notebook = write(tmp_path / "one.ipynb", markdown_cell("![a plot](attachment:gone.png)"), CELLS[1])
    assert main(["export", str(notebook), "-o", str(tmp_path / "one.html"), "--as-it-is"]) == 1
    told = "error: one.ipynb: a picture of a text is not in the file (missing attachment: gone.png)\n"
    assert capsys.readouterr().err == told


def exported(tmp_path, language: str):
    notebook = write(tmp_path / "one.ipynb", *CELLS, markdown_cell("`f(x)[0]`"))
    page = tmp_path / f"{language}.html"
    assert main(["export", str(notebook), "-o", str(page), "--as-it-is", "--language", language]) == 0
    return page


@pytest.mark.parametrize(
    ("language", "tag"),
    [("ar", '<html dir="rtl" lang="ar">'), ("he-IL", '<html dir="rtl" lang="he-IL">'), ("de", '<html lang="de">')],
)
def test_a_text_that_begins_at_the_right_is_said_to(tmp_path, language, tag):
    text = exported(tmp_path, language).read_text(encoding="utf-8")
    assert re.search("<html[^>]*>", text)[0] == tag


@pytest.mark.browser
def test_code_runs_from_left_to_right_in_a_text_that_does_not(tmp_path, open_offline):
    file = exported(tmp_path, "ar")
    page = open_offline(file, file)
    direction = "(one) => getComputedStyle(one).direction"
    places = ("h1", ".code pre", ".output pre", "p > code", "footer p")
    found = [page.locator(one).first.evaluate(direction) for one in places]
    assert found == ["rtl", "ltr", "ltr", "ltr", "ltr"]
