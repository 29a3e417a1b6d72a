"""`python -m helpers export`: which notebook becomes which page, what is in the page, and what must not go out."""

import re
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from nbformat import v4

from helpers.__main__ import main
from helpers.project import ROOT
from helpers.reference_recording import committed
from helpers.site import SiteError, executions, export
from helpers.tables import Table
from helpers.views.explorers import twin
from helpers.views.player import step_through
from tests.notebook_files import code_cell, markdown_cell, result_output, text_output, write
from tests.site_tools import PAPER, heading_problems, mount_explorers

WORDS = markdown_cell(
    "# Read `x` & more\n\nThe [KV cache](../docs/glossary.md#kv-cache), see [04](04_loading_weights.ipynb) and "
    "[glossary](../docs/glossary.md), costs $5 and $6."
)
OUTPUTS = code_cell(
    "print('<b>')",
    text_output("a <b>bold</b> line\n"),
    result_output(1, text__plain="t", text__html='<table><tr><td>cell</td></tr></table><img alt="bars" src="data:,">'),
    count=1,
)


def page_of(tmp_path: Path, *cells, **options) -> str:
    path = write(tmp_path / "20_small.ipynb", *cells)
    return export.export(path, tmp_path / "page.html", **options).read_text(encoding="utf-8")


def test_the_page_holds_texts_outputs_and_the_words_that_it_links_to(tmp_path):
    text = page_of(tmp_path, WORDS, OUTPUTS, run=False)
    assert "<title>Read x &amp; more</title>" in text
    assert "a &lt;b&gt;bold&lt;/b&gt; line" in text
    assert "<td>cell</td>" in text
    assert '<a href="#word-kv-cache">KV cache</a>' in text
    assert '<span id="word-kv-cache"><strong>KV cache</strong></span>: The keys and values' in text
    assert ".ipynb" not in text
    assert "The outputs are those that the notebook's file held; nothing is live." in text
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert [link for link in re.findall(r'href="#([^"]+)"', text) if link not in ids] == []


def test_links_to_notebooks_that_do_not_travel_are_words_and_others_stay(tmp_path):
    links = (
        "[one](<my first.ipynb>)", '[two](b.ipynb "the second")', "[three](c.ipynb#part)", "[four](<d d.ipynb#part>)",
        "[five](https://example.org/e.ipynb)", "[six](<https://example.org/f f.ipynb>)",
    )  # fmt: skip
    text = page_of(tmp_path, markdown_cell(f"# Links\n\nSee {', '.join(links)}."), OUTPUTS, run=False)
    assert "See one, two, three, four, <a" in text
    assert re.findall(r'href="(https://example[^"]+)"', text) == [
        "https://example.org/e.ipynb",
        "https://example.org/f%20f.ipynb",
    ]


def test_without_the_glossary_of_a_checkout_its_words_are_no_links(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "GLOSSARY", tmp_path / "none.md")
    text = page_of(tmp_path, WORDS, OUTPUTS, run=False)
    assert "The KV cache, see 04 and glossary, costs" in text
    assert "Words" not in re.findall(r'href="#([^"]+)"', text)


def test_an_installed_package_keeps_executions_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path / "cache"))
    site_packages = tmp_path / "site-packages"
    assert executions.kept_in(site_packages) == tmp_path / "cache" / "executions"
    assert executions.kept_in(ROOT) == ROOT / "build" / "executions"


def test_a_notebook_is_run_first_unless_it_is_to_stay_as_it_is(tmp_path):
    cells = [markdown_cell("# Run it"), code_cell("print(6 * 7)", text_output("stale\n"), count=1)]
    text = page_of(tmp_path, *cells, kept=tmp_path / "kept")
    assert "42" in text
    assert "stale" not in text
    assert re.search(r"Recorded with transformers \S+, torch \S+, on the CPU, \d+ logical cores, \d{4}-", text)
    assert "stale" in page_of(tmp_path, *cells, run=False)


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ({"text__html": "<img src=data:,x>"}, "the picture 'data:,x' has no alt text"),
        ({"image__png": "aGk="}, "the picture 'data:image/png;base64,aGk=' has no alt text"),
        ({"text__html": "<script src=https://example.org/x.js></script>"}, "it would fetch https://example.org/x.js"),
        ({"text__html": "<p>/home/ada/x</p>"}, "names a path of this machine: /home/ada/x"),
        ({"text__html": "<p>hf_abcdefghijklmnop</p>"}, "holds a secret: hf_abc…"),
        ({"text__html": "x" * 3_000_001}, "more than 3,000,000"),
    ],
)
def test_a_page_that_must_not_go_out_is_not_written(tmp_path, output, problem):
    with pytest.raises(SiteError) as told:
        page_of(
            tmp_path, markdown_cell("# Title"), code_cell("x", result_output(1, text__plain="x", **output)), run=False
        )
    assert str(told.value).startswith("20_small.ipynb must not go out as it is:\n")
    assert problem in str(told.value)
    assert "more than" in problem or ', in the cell that begins "x"' in str(told.value)
    assert ('a line "# alt: what it shows"' in str(told.value)) == ("no alt text" in problem), "the remedy"
    assert not (tmp_path / "page.html").exists()


def test_a_picture_beside_the_notebook_travels_in_the_page(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"not looked at")
    text = page_of(tmp_path, markdown_cell('# Title "x"\n\n![a plot](plot.png)'), OUTPUTS, run=False)
    assert 'src="data:image/png;base64,bm90IGxvb2tlZCBhdA=="' in text


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('<img alt="a plot" src="plot.png">', "it would load the file plot.png, which does not travel with it"),
        ("[data](data.csv)", "the link data.csv leads to a file that does not travel with it"),
        ("[there](#nowhere)", "the link #nowhere leads to no such place in it"),
        ("## The end\n\n[there](#the-end)", "the link #the-end leads to no such place in it; there is #The-end"),
    ],
)
def test_what_does_not_travel_with_the_page_is_named(tmp_path, source, problem):
    with pytest.raises(SiteError) as told:
        page_of(tmp_path, markdown_cell(f"# Title\n\n{source}"), OUTPUTS, run=False)
    assert problem in str(told.value)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", ["key.txt", "key", "/etc/hostname.png"])
def test_a_file_that_is_no_picture_beside_the_notebook_is_not_put_into_the_page(tmp_path, name):
    """The notebook that names it may be another's, and what it takes along must be seen."""
    if not name.startswith("/"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(SiteError, match="which does not travel with it"):
        page_of(tmp_path, markdown_cell(f"# Title\n\n![key]({name})"), OUTPUTS, run=False)


def test_a_notebook_without_outputs_is_not_shown_as_it_is(tmp_path):
    with pytest.raises(SiteError, match="holds no outputs: export it without --as-it-is"):
        page_of(tmp_path, markdown_cell("# Title"), code_cell("1"), run=False)


def test_a_comment_gives_a_picture_its_words_and_nobody_else_warns(tmp_path, caplog):
    two = [v4.new_output("display_data", data={"image/png": "aGk=", "text/plain": "<Figure>"}) for _ in range(2)]
    words = "# alt: loss <by> step\nplot(losses)\n    # alt: the same, logarithmic"
    text = page_of(tmp_path, markdown_cell("# Title"), code_cell(words, *two, count=1), run=False)
    assert re.findall('alt="(.*?)"', text) == ["loss &lt;by&gt; step", "the same, logarithmic"]
    with pytest.raises(
        SiteError, match=r"^[^\n]+\n[^\n]+no alt text, in the cell[^\n]+\n[^\n]+# alt: what it shows[^\n]+$"
    ):
        page_of(tmp_path, markdown_cell("# Title"), code_cell("# alt: one of two", *two, count=1), run=False)
    assert caplog.text == ""


def test_the_title_is_of_a_text_and_no_comment(tmp_path):
    assert "<title>20_small</title>" in page_of(tmp_path, code_cell("# 1", text_output("x"), count=1), run=False)


# command -------------------------------------------------------------------------------------------------------------


def test_a_page_that_cannot_be_written_is_told_in_one_line(tmp_path, monkeypatch, capsys):
    def full(path: Path, data: bytes) -> Path:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(export, "write_whole", full)
    notebook = write(tmp_path / "one.ipynb", WORDS, OUTPUTS)
    assert main(["export", str(notebook), "-o", str(tmp_path / "a.html"), "--as-it-is"]) == 1
    told = capsys.readouterr().err
    assert told == f"error: -o {tmp_path / 'a.html'}: the page cannot be written (No space left on device).\n"


def test_help_names_what_stops_an_export(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    told = capsys.readouterr().out
    for words in (
        '"# alt: what it shows"',
        "a link to a file",
        "would fetch",
        "an access token",
        "a path of this machine",
    ):
        assert words in told


def test_one_notebook_becomes_the_page_that_is_named_and_several_a_folder_of_pages(tmp_path, capsys):
    first, second = (write(tmp_path / f"{name}.ipynb", WORDS, OUTPUTS) for name in ("one", "two"))
    assert main(["export", str(first), "-o", str(tmp_path / "a.html"), "--as-it-is"]) == 0
    assert main(["export", str(first), str(second), "-o", str(tmp_path / "pages"), "--as-it-is"]) == 0
    assert sorted(path.name for path in tmp_path.rglob("*.html")) == ["a.html", "one.html", "two.html"]
    assert "it needs no network" in capsys.readouterr().out


def test_a_notebook_is_run_again_only_where_that_is_asked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export, "export", partial(export.export, kept=tmp_path / "kept"))
    path = write(tmp_path / "reads.ipynb", markdown_cell("# Read"), code_cell("print(open('data.txt').read())"))
    page = tmp_path / "reads.html"

    def shown(*options: str) -> set[str]:
        assert main(["export", str(path), "-o", str(page), *options]) == 0
        return set(re.findall("first|second", page.read_text(encoding="utf-8")))

    (tmp_path / "data.txt").write_text("first")
    assert shown() == {"first"}
    (tmp_path / "data.txt").write_text("second")
    assert shown() == {"first"}, "what a notebook reads is not looked at"
    assert shown("--again") == {"second"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone.ipynb"], "There is no notebook gone.ipynb"),
        (["one.txt"], "There is no notebook one.txt: give the path of a file that ends in .ipynb."),
        (["one.ipynb", "one.ipynb", "-o", "a.html"], "-o a.html is one page, for 2 notebooks: give a folder."),
        (
            ["one.ipynb", "-o", "no/folder/a.html"],
            f"-o {Path('no/folder/a.html')}: give the name of a page in a folder that exists.",
        ),
        (["one.ipynb", "-o", "a.pdf"], "-o a.pdf: give the name of a page (page.html), or a folder."),
        (["one.ipynb", "-o", "one.txt"], "-o one.txt: give the name of a page (page.html), or a folder."),
        (["wrong.ipynb"], "wrong.ipynb did not run to its end"),
        (["cut.ipynb"], "cut.ipynb is not a notebook that can be read: "),
        (["list.ipynb", "--as-it-is"], "list.ipynb is not a notebook that can be read: "),
        (["binary.ipynb"], "binary.ipynb is not a notebook that can be read: "),
        (["empty.ipynb"], "empty.ipynb has no cells: there is nothing to show."),
        (["empty.ipynb", "--as-it-is"], "empty.ipynb has no cells: there is nothing to show."),
    ],
)
def test_what_cannot_be_exported_gets_a_clear_error_and_status_1(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(export.executions, "FOLDER", tmp_path / "kept")
    write(tmp_path / "one.ipynb", WORDS, OUTPUTS)
    write(tmp_path / "wrong.ipynb", code_cell("1 / 0"))
    write(tmp_path / "empty.ipynb")
    (tmp_path / "one.txt").write_text("")
    (tmp_path / "cut.ipynb").write_text('{"cells": [')
    (tmp_path / "list.ipynb").write_text("[]")
    (tmp_path / "binary.ipynb").write_bytes(b"\x80\x00")
    assert main(["export", *arguments]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1 or arguments == ["wrong.ipynb"], "one line"
    assert list(tmp_path.rglob("*.html")) == []


# in a browser --------------------------------------------------------------------------------------------------------


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_is_accessible_and_asks_for_nothing(tmp_path, open_offline, axe, dark):
    explorer = twin("sampling_explorer", {}, "<table><tr><td>static</td></tr></table>", "an explorer")
    more = code_cell("def wide(): return " + "1 + " * 60 + "1  # a comment", result_output(2, text__html=explorer))
    page_of(tmp_path, WORDS, OUTPUTS, markdown_cell("## More"), more, run=False)
    page = open_offline(tmp_path / "page.html", tmp_path / "page.html", width=360, dark=dark)
    assert axe(page, "main > :not(:has(.explorer-twin))") == []
    assert heading_problems(page) == []
    assert page.requests == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    wide = page.locator(".code pre").nth(1)
    assert wide.get_attribute("tabindex") == "0", "what scrolls is reached by keyboard"


@pytest.mark.browser
def test_on_paper_an_explorer_is_its_static_table(tmp_path, open_offline):
    player = step_through(committed())
    assert "Where scripts run" not in player.static_html(), "in a notebook no explorer takes its place"
    explorer = twin("player", player.twin_data(), player.static_html(), player.text())
    page_of(tmp_path, WORDS, code_cell("x", result_output(1, text__html=explorer), count=1), run=False)
    page = open_offline(tmp_path / "page.html", tmp_path / "page.html")
    assert "Where scripts run" in page.locator(".explorer-static").text_content()
    mount_explorers(page)
    table, live, anchor = (page.locator(one).first for one in (".explorer-static", ".explorer", ".anchor-link"))
    page.wait_for_function("document.querySelector('.explorer-static').hidden")
    assert (table.is_visible(), live.is_visible(), anchor.is_visible()) == (False, True, True)
    page.emulate_media(media="print")
    assert (table.is_visible(), live.is_visible(), anchor.is_visible()) == (True, False, False)


TABLES = """() => [...document.querySelectorAll("table")].filter((table) => table.checkVisibility()).map((table) => ({
  heads: [...table.rows[0].cells].filter((cell) => cell.checkVisibility()).map((cell) => cell.textContent),
  sides: [...table.rows[0].cells].map((head) => [...table.rows].map((row) => row.cells[head.cellIndex])
    .filter((cell) => cell.textContent.trim()).map((cell) => getComputedStyle(cell).textAlign)),
  broken: [...table.rows].flatMap((row) => [...row.cells])
    .filter((cell) => cell.tagName === "TH" || cell.style.textAlign === "right")
    .filter((cell) => cell.getBoundingClientRect().width && cell.firstChild)
    .filter((cell) => {
      const text = document.createRange();
      text.selectNodeContents(cell);
      return text.getClientRects().length > 1;
    })
    .map((cell) => cell.textContent),
  width: table.getBoundingClientRect().right,
}))"""


@pytest.mark.browser
def test_heads_stand_over_their_cells_and_are_whole_on_paper(tmp_path, open_offline):
    landmarks = committed().landmarks()
    frame = pd.DataFrame({"name": ["one", "two"], "number": [1.5, 20000.25]})
    nothing = Table.of({"word": ["a", "b"], "empty": [None, None], "count": [1, 2]})
    cells = [code_cell("x", result_output(1, text__html=one._repr_html_())) for one in (landmarks, frame, nothing)]
    page_of(tmp_path, WORDS, *cells, run=False)
    page = open_offline(tmp_path / "page.html", tmp_path / "page.html")
    for table in page.evaluate(TABLES):
        assert [side for side in table["sides"] if len(set(side)) > 1] == [], table["heads"]
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 1000})
    printed = page.evaluate(TABLES)
    assert printed[0]["heads"] == list(landmarks.columns)
    assert printed[2]["heads"] == ["word", "count"], "an empty column is not printed"
    assert [table["broken"] for table in printed] == [[], [], []]
    assert max(table["width"] for table in printed) <= PAPER
