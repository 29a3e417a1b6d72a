"""Mathematics in pages: MathML, in the site and in single files; what cannot be shown is an error, with its TeX."""

from xml.etree import ElementTree

import pytest
from nbformat import v4

from helpers.site import SiteError, export, notebook_pages
from helpers.site.mathematics import between_dollars, mathml
from tests.notebook_files import code_cell, markdown_cell, result_output, text_output, write

SOFTMAX = r"p_i = \frac{e^{z_i/T}}{\sum_j e^{z_j/T}}"


def tags(element: str) -> list[str]:
    return [one.tag.partition("}")[2] for one in ElementTree.fromstring(element).iter()]


def test_a_formula_becomes_mathml():
    found = tags(mathml(SOFTMAX, display=True))
    assert found[0] == "math"
    assert found.count("mfrac") == 1
    assert 'display="block"' in mathml(SOFTMAX, display=True)
    assert 'display="inline"' in mathml("x")
    assert tags(mathml(r"\begin{aligned}a&=b\\c&=d\end{aligned}")).count("mtr") == 2


@pytest.mark.parametrize("tex", [r"\nonesuch x", "x_", r"\left( x", r"\begin{foo}a&b\end{foo}", ""])
def test_what_cannot_be_shown_is_named(tex):
    with pytest.raises(SiteError, match="This mathematics cannot be shown"):
        mathml(tex)


def test_two_prices_in_a_line_are_no_formula():
    assert between_dollars("5 & ") == "$5 &amp; $"
    assert tags(between_dollars("5 < 6"))[0] == "math"


def test_an_output_that_is_mathematics_only_gets_html_and_another_stays_as_it_is():
    formula = result_output(1, text__plain="<Math object>", text__latex=r"$\displaystyle \sqrt{x}$")
    both = result_output(1, text__plain="x", text__latex="$x$", text__html="<b>x</b>")
    notebook = v4.new_notebook(cells=[code_cell("x", formula, both)])
    notebook_pages.make(notebook, None, "20_formula")
    first, second = (output.data["text/html"] for output in notebook.cells[0].outputs)
    assert "msqrt" in tags(first)
    assert second == "<b>x</b>"


@pytest.mark.parametrize("tex", ["$$x^2$$", "$x^2$", r"\[x^2\]", r"\(x^2\)", r"\begin{matrix}x^2\end{matrix}"])
def test_an_output_of_words_keeps_them_around_its_formulas(tex):
    def shown(text: str) -> str:
        notebook = v4.new_notebook(cells=[code_cell("x", result_output(1, text__plain="", text__latex=text))])
        notebook_pages.make(notebook, None, "20_formula")
        return notebook.cells[0].outputs[0].data["text/html"]

    words = shown(f"where {tex} < {tex}.")
    first, second = (ElementTree.tostring(ElementTree.fromstring(one)) for one in _elements(words))
    assert first == second
    assert b"msup" in first
    assert words.startswith("where <math")
    assert "</math> &lt; <math" in words
    assert words.endswith("</math>.")
    assert shown(tex).count('display="block"') == 1


def _elements(html: str) -> list[str]:
    return [f"<math{one.partition('</math>')[0]}</math>" for one in html.split("<math")[1:]]


def test_a_single_file_shows_formulas_without_a_script(tmp_path):
    words = f"# Softmax\n\nEach ${SOFTMAX}$ costs $5 and $6, not `$x$`.\n\n$$\n{SOFTMAX}\n$$"
    path = write(tmp_path / "20.ipynb", markdown_cell(words), code_cell("1", text_output("$y$\n"), count=1))
    page = export.export(path, tmp_path / "page.html", run=False).read_text(encoding="utf-8")
    assert page.count("<math ") == page.count("<mfrac>") == 2
    assert "costs $5 and $6" in page
    assert "<code>$x$</code>" in page
    assert "$y$" in page
    assert "mathjax" not in page.lower()


def test_a_formula_that_a_single_file_cannot_show_is_named_and_nothing_is_written(tmp_path):
    path = write(tmp_path / "20.ipynb", markdown_cell("# A $\\nonesuch$"), code_cell("1", text_output("1"), count=1))
    with pytest.raises(SiteError, match=r"^20\.ipynb: (.|\n)*nonesuch"):
        export.export(path, tmp_path / "page.html", run=False)
    assert not (tmp_path / "page.html").exists()
