"""`python -m helpers export` of a teacher's own notebooks: what is hidden in them, pictures however they are written,
warnings, outputs that only Jupyter shows, other languages, wide tables.
"""

import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from helpers import notebooks
from helpers.__main__ import main
from helpers.site import SiteError, export, shortened_paths, widget_outputs
from tests.notebook_files import code_cell, markdown_cell, result_output, text_output, write

TITLE = markdown_cell("# Title")


def page_of(tmp_path: Path, *cells, said: list | None = None, **options) -> str:
    path = write(tmp_path / "mine.ipynb", TITLE, *cells, code_cell("1", text_output("last"), count=1))
    say = None if said is None else said.append
    return export.export(path, tmp_path / "page.html", say=say, **{"run": False, **options}).read_text("utf-8")


def hidden(text: str, *tags: str, **metadata):
    cell = code_cell(f"print('{text}', 'code')", text_output(f"{text} output\n"), count=1)
    cell.metadata.update(metadata, tags=list(tags))
    return cell


# what its author hid -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["remove-cell", "remove_cell"])
def test_a_cell_that_is_to_be_removed_is_not_in_the_page(tmp_path, tag):
    text = page_of(tmp_path, hidden("secret", tag))
    assert "secret" not in text


def test_code_and_outputs_are_removed_by_themselves(tmp_path):
    text = page_of(tmp_path, hidden("first", "remove-input"), hidden("second", "remove-output"))
    assert re.findall("(first|second) output", text) == ["first"]
    assert [word for word in ("first", "second") if re.search(f"class=.s1.>[^<]*{word}[^<]*</span>", text)] == [
        "second"
    ]


@pytest.mark.parametrize(
    ("cell", "folded"),
    [
        (hidden("it", "hide-input"), ["Code"]),
        (hidden("it", "hide-output"), ["Output"]),
        (hidden("it", "hide-cell"), ["Code", "Output"]),
        (hidden("it", jupyter={"source_hidden": True, "outputs_hidden": True}), ["Code", "Output"]),
        (hidden("it", collapsed=True), ["Output"]),
        (hidden("it", "mine"), []),
    ],
)
def test_what_is_hidden_or_collapsed_is_folded(tmp_path, cell, folded):
    text = page_of(tmp_path, cell)
    assert re.findall(r'<details class="folded"><summary>(\w+)', text) == folded
    assert "it output" in text


def test_a_hidden_text_is_folded(tmp_path):
    cell = markdown_cell("The solution is 42.")
    cell.metadata["tags"] = ["hide-cell"]
    text = page_of(tmp_path, cell)
    assert re.search(r"<summary>Text</summary>(?:(?!</details>).)*solution is 42", text, re.DOTALL)


# pictures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "![it](<a picture (1).png>)",
        "![it](a%20picture%20(1).png)",
        '![it](a%20picture%20(1).png "a title")',
        '<img alt="it" width="300" src="a picture (1).png">',
        "<img src='a%20picture%20(1).png' alt='it'>",
    ],
)
def test_a_picture_is_taken_along_however_it_is_written(tmp_path, written):
    (tmp_path / "a picture (1).png").write_bytes(b"not looked at")
    text = page_of(tmp_path, markdown_cell(f"See {written}."))
    assert len(re.findall(r"""src=["']data:image/png;base64,bm90IGxvb2tlZCBhdA==["']""", text)) == 1
    assert "</p>" in text


def test_a_drawing_gets_its_words_from_the_comment_too(tmp_path):
    drawing = '<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
    output = result_output(1, text__plain="<SVG>", **{"image/svg+xml": drawing})
    assert 'alt="a square"' in page_of(tmp_path, code_cell("# alt: a square\nshow()", output, count=1))
    with pytest.raises(SiteError, match=r'no alt text, in the cell that begins "show'):
        page_of(tmp_path, code_cell("show()", output, count=1))


# what cells wrote ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("/tmp/ipykernel_110/299.py:3: UserWarning: careful", "<cell>:3: UserWarning: careful"),
        (r"C:\Users\Ada\AppData\Local\Temp\ipykernel_12\33.py:1: W", "<cell>:1: W"),
        ("/home/a/.venv/lib/python3.11/site-packages/pandas/x.py:12: F", "site-packages/pandas/x.py:12: F"),
        (r"C:\Users\Ada\venv\Lib\site-packages\pandas\x.py:3", r"site-packages\pandas\x.py:3"),
        ("\x1b[32m~/a/lib/python3.11/site-packages/b.py\x1b[0m", "\x1b[32msite-packages/b.py\x1b[0m"),
        ("/home/a/lib/python3.11/json/decoder.py:355", "python3.11/json/decoder.py:355"),
        ("/home/a/data.csv", "/home/a/data.csv"),
        ("https://example.org/lib/python3.11/site-packages/x", "https://example.org/lib/python3.11/site-packages/x"),
    ],
)
def test_paths_that_say_nothing_to_a_reader_are_shortened(written, shown):
    assert shortened_paths.shortened(written) == shown


def test_a_warning_does_not_stop_an_export(tmp_path):
    cell = code_cell("import warnings\nwarnings.warn('careful')")
    text = page_of(tmp_path, cell, run=True, kept=tmp_path / "kept")
    assert "&lt;cell&gt;:2: UserWarning: careful" in text


def test_what_only_jupyter_shows_is_told_to_reader_and_author(tmp_path, recwarn):
    plot = result_output(1, **{"application/vnd.plotly.v1+json": "{}"})
    script = result_output(1, text__plain="<Javascript>", application__javascript="alert(1)")
    said = []
    text = page_of(tmp_path, code_cell("x", plot, count=1), code_cell("y", script, count=2), said=said)
    assert "only JupyterLab shows it: an output of the kind application/vnd.plotly.v1+json." in text
    assert "only Jupyter runs it: a script." in text
    assert "alert(1)" not in text
    assert said == ["mine.ipynb: in place of 2 outputs that need Jupyter (widgets, plotly), the page has words."]
    assert [one for one in recwarn if "mimetype" in str(one.message)] == []


def test_a_progress_bar_leaves_nothing(tmp_path):
    view = {widget_outputs.WIDGET_VIEW: '{"model_id": "1"}'}
    bar = result_output(1, text__plain="Loading:   0%|          | 0/272 [00:00<?, ?it/s]", **view)
    assert "Not on this page" not in page_of(tmp_path, code_cell("load()", bar, count=1))


def test_what_a_widget_shows_at_first_is_in_the_page(tmp_path):
    cell = code_cell("import ipywidgets\n@ipywidgets.interact(x=(0, 5))\ndef show(x=2):\n    print('it is', x)")
    text = page_of(tmp_path, cell, run=True, kept=tmp_path / "kept")
    assert "The controls are not on this page, because they need a running notebook." in text
    assert "it is 2" in text
    assert "interactive(children" not in text


def test_the_state_of_widgets_is_seen_before_it_is_dropped(tmp_path):
    path = write(tmp_path / "one.ipynb", code_cell("import ipywidgets\nipywidgets.IntSlider()"))
    seen = []
    notebook = export.executions.read(path)
    notebooks.run(notebook, path, before_normalising=lambda one: seen.append("widgets" in one.metadata))
    assert seen == [True]
    assert "widgets" not in notebook.metadata


@pytest.mark.parametrize(
    "metadata", [{"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}, {"language_info": {"name": "R"}}]
)
def test_a_notebook_in_another_language_is_not_run(tmp_path, capsys, metadata):
    path = write(tmp_path / "other.ipynb", TITLE, code_cell("1 + 1", text_output("2"), count=1), **metadata)
    page = tmp_path / "other.html"
    assert main(["export", str(path), "-o", str(page)]) == 1
    assert "other.ipynb is a notebook in R, and only Python is run here" in capsys.readouterr().err
    assert not page.exists()
    assert main(["export", str(path), "-o", str(page), "--as-it-is"]) == 0


def test_the_page_says_its_language_and_its_title_has_no_marks(tmp_path, capsys):
    path = write(tmp_path / "a.ipynb", markdown_cell("# Größen & *Tabellen* in `x`"), code_cell("1", text_output("1")))
    page = tmp_path / "a.html"
    assert main(["export", str(path), "-o", str(page), "--as-it-is", "--language", "de"]) == 0
    text = page.read_text(encoding="utf-8")
    assert '<html lang="de">' in text
    assert "<title>Größen &amp; Tabellen in x</title>" in text
    assert main(["export", str(path), "-o", str(page), "--as-it-is"]) == 0
    assert '<html lang="en">' in page.read_text(encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["export", str(path), "-o", str(page), "--language", 'd"e'])
    assert "give one like de or pt-BR" in capsys.readouterr().err


def test_of_a_page_that_is_too_heavy_the_heaviest_cell_is_named(tmp_path):
    with pytest.raises(SiteError, match=r'more than 3,000,000; the heaviest cell, with [\d,]+, begins "heavy\(\)"'):
        page_of(tmp_path, code_cell("heavy()", result_output(1, text__html="x" * 3_000_001), count=1))


# the page ------------------------------------------------------------------------------------------------------------


def test_a_page_with_several_sections_has_a_table_of_them(tmp_path):
    text = page_of(tmp_path, *(markdown_cell(f"## Part `{name}` & more\n\n### Below") for name in "abc"))
    nav = re.search(r'<nav class="contents" aria-label="On this page">.*?</nav>', text, re.DOTALL)[0]
    links = re.findall(r'<a href="#([^"]+)">(.*?)</a>', nav)
    assert [words for _, words in links] == [f"Part <code>{name}</code> &amp; more" for name in "abc"]
    assert [f'<h2 id="{place}">' in text for place, _ in links] == [True, True, True]
    assert "On this page" not in page_of(tmp_path, markdown_cell("## One"), markdown_cell("## Two"))


@pytest.mark.browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_no_output_makes_the_page_wider(tmp_path, open_offline, axe, dark):
    wide = pd.DataFrame({name: ["x" * 60] for name in "abc"})
    styled = wide.style.format(str).to_html() if "jinja2" in sys.modules else wide.to_html()
    figure = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="90"></svg>'
    cells = [
        code_cell("x", result_output(1, text__html=wide._repr_html_()), count=1),
        code_cell("x", result_output(2, text__html=styled), count=2),
        code_cell("x", result_output(3, text__html=wide.to_html()), count=3),
        code_cell("# alt: nothing", result_output(4, **{"image/svg+xml": figure}), count=4),
        code_cell("x", result_output(5, text__markdown="|a|b|\n|-|-|\n|" + "y" * 90 + "|2|"), count=5),
        code_cell("x", text_output("a line\n" * 400 + "\x1b[31mred\x1b[0m \x1b[1;36mcyan\x1b[0m\n"), count=6),
        hidden("folded", "hide-cell"),
        *(markdown_cell(f"## Part {name}") for name in "abc"),
    ]
    page_of(tmp_path, *cells)
    page = open_offline(tmp_path / "page.html", tmp_path / "page.html", width=390, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert axe(page, "main") == []
    long = page.locator(".output_text pre", has_text="a line")
    assert long.evaluate("(one) => one.clientHeight < one.scrollHeight / 5"), "a long output scrolls by itself"
    assert long.get_attribute("tabindex") == "0", "by keyboard too"
    page.emulate_media(media="print")
    assert long.evaluate("(one) => one.clientHeight >= one.scrollHeight"), "on paper it is whole"
    assert not page.locator("nav.contents").is_visible()
