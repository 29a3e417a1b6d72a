"""`python -m helpers export NOTEBOOK.ipynb -o page.html`: one notebook as one file that can be mailed.

The file holds everything: style, figures, the explorers with their recordings, and the words of the glossary that the
notebook links to. It asks for nothing from anywhere, and needs neither Python nor a network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from helpers.project import ROOT
from helpers.site import (
    SiteError,
    cell_tags,
    contents,
    embedded_pictures,
    executions,
    inspection,
    notebook_pages,
    picture_words,
    twins,
)
from helpers.site.columns_style import columns_style
from helpers.site.notebook_pages import NotebookPage
from helpers.whole_file import write_whole

TEMPLATES = Path(__file__).parent / "template"
TEMPLATE = "tutorial"
MOST_OF_A_CELL = 60
"""Characters of a cell's first line, where a problem names it."""
CONTENTS = "<!--contents-->"
"""Stands where the table of contents goes, which needs the finished headings."""
GLOSSARY = ROOT / "docs" / "glossary.md"
_GLOSSARY_LINK = re.compile(r"\((?:\.\./docs/)?glossary\.md(?:#([\w-]+))?\)")
_EXPLAINED = re.compile(r"\[([^\]]+)\]" + _GLOSSARY_LINK.pattern)
_CODE = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^ {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<![`\\])(?P<ticks>`+)(?!`)(?:(?!\n\n).)+?(?<!`)(?P=ticks)(?!`)",
    re.MULTILINE | re.DOTALL,
)
_OTHER_NOTEBOOK = re.compile(
    r"(?<!!)\[([^\]]+)\]\("
    r"(?:<(?!\w+:)[^>#\n]+\.ipynb(?:#[^>\n]*)?>|(?!<|\w+:)[^)#\s]+\.ipynb(?:#[^)\s]*)?)"
    r"(?:\s+(?:\"[^\"]*\"|'[^']*'))?\)"
)
"""A link, its target in angles where it has spaces, and with a title or without."""
RIGHT_TO_LEFT = ("ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi")
"""Languages whose texts begin at the right."""
_TERM = re.compile(r"^## (.+)\n+((?:(?!## ).*\n?)*)", re.MULTILINE)


def export(
    notebook: Path,
    output: Path,
    *,
    run: bool = True,
    again: bool = False,
    kept: Path = executions.FOLDER,
    language: str = "en",
    say: Callable[[str], object] | None = None,
) -> Path:
    """Write the notebook as one self-contained page at `output`; returns the path.

    It is run first, unless it is kept from before (again=True: all the same); with run=False the page shows the outputs
    that the file holds. `language`: of its texts, as HTML names it, for readers of screens. `say` is called with a line
    where outputs are not in the page, because they need a kernel. Raises NotebookError when a cell fails, and SiteError
    for a notebook in another language than Python or without outputs to show, and for a page that must not go out: with
    a secret in it, too heavy, or that would fetch something. Then nothing is written.
    """
    if run:
        _check_language(notebook)
        page = notebook_pages.make(*executions.executed(notebook.resolve(), kept, again=again))
        made_with = f"Recorded with {page.execution.recorded_with}, {page.execution.executed_at}; nothing is live."
    else:
        page = _as_it_is(notebook)
        made_with = "The outputs are those that the notebook's file held; nothing is live."
    try:
        document = _document(page, made_with, notebook.resolve().parent, language)
    except SiteError as error:
        raise SiteError(f"{notebook.name}: {error}") from error
    problems = [*_problems(document, page)]
    if problems:
        raise SiteError(f"{notebook.name} must not go out as it is:\n" + "\n".join(problems))
    missing = twins.missing(page.notebook)
    if say and missing:
        say(f"{notebook.name}: in place of {missing} outputs that need Jupyter (widgets, plotly), the page has words.")
    try:
        return write_whole(output, document.encode("utf-8"))
    except OSError as error:
        raise SiteError(f"-o {output}: the page cannot be written ({error.strerror}).") from error


def _check_language(path: Path) -> None:
    """Raises SiteError for a notebook in another language than this Python, which would run it and fail, or not."""
    metadata = executions.read(path).metadata
    language = (
        metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name") or "python"
    )
    if language.lower() not in ("python", "ipython"):
        raise SiteError(
            f"{path.name} is a notebook in {language}, and only Python is run here: run it where its kernel is, and "
            "export it with --as-it-is."
        )


def _as_it_is(path: Path) -> NotebookPage:
    notebook = executions.read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if code and not any(cell.outputs for cell in code):  # one of texts alone has none to show
        raise SiteError(f"{path.name} holds no outputs: export it without --as-it-is, which runs it.")
    return notebook_pages.make(notebook, None, path.stem)


def _document(page: NotebookPage, made_with: str, folder: Path, language: str) -> str:
    import nbformat

    from helpers.site.page_exporter import exporter

    notebook, known, words = nbformat.from_dict(page.notebook), glossary(), {}
    notebook.cells = [nbformat.from_dict(cell) for cell in notebook.cells]
    cell_tags.apply(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _outside_code(cell.source, lambda text: _alone(text, folder))
            if not known:
                cell.source = _EXPLAINED.sub(r"\1", cell.source)  # a wheel has no glossary: the words alone
            cell.source = _GLOSSARY_LINK.sub(lambda found: _word(found[1], known, words), cell.source)
    if words:
        notebook.cells.append(nbformat.v4.new_markdown_cell(_words_text(words), id="words"))
    notebook.cells.insert(
        1, nbformat.v4.new_markdown_cell(f'<p class="what-this-is">{escape(made_with)}</p>{CONTENTS}', id="what")
    )
    title = re.sub(r"[`*]", "", page.title)
    facts = {"title": title, "footer": made_with, "style": _style(), "script": _script(), "language": language}
    facts["direction"] = "rtl" if language.lower().partition("-")[0] in RIGHT_TO_LEFT else "ltr"
    document, _ = exporter().from_notebook_node(notebook, resources={"page": facts})
    document = document.replace(CONTENTS, contents.contents(document), 1)
    return "\n".join(line.rstrip() for line in document.splitlines()) + "\n"


def _outside_code(source: str, change: Callable[[str], str]) -> str:
    """A text in Markdown, changed where it is not code: what stands in backticks or a fence is shown as it is."""
    parts, end = [], 0
    for code in _CODE.finditer(source):
        parts += [change(source[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(source[end:])])


def _alone(text: str, folder: Path) -> str:
    """A text of a page that travels alone: with its pictures, without links to other notebooks."""
    return _OTHER_NOTEBOOK.sub(r"\1", embedded_pictures.embedded(text, folder))


def glossary() -> dict[str, tuple[str, str]]:
    """The words of the glossary by anchor: (word, explanation); empty outside a checkout."""
    if not GLOSSARY.is_file():
        return {}
    text = GLOSSARY.read_text(encoding="utf-8")
    return {
        re.sub(r"[^\w-]", "", word.lower().replace(" ", "-")): (word, said.strip())
        for word, said in _TERM.findall(text)
    }


def _word(anchor: str | None, known: dict[str, tuple[str, str]], words: dict[str, tuple[str, str]]) -> str:
    if anchor is None or anchor not in known:
        words |= known if anchor is None else {}
        return "(#Words)"
    words[anchor] = known[anchor]
    return f"(#word-{anchor})"


def _words_text(words: dict[str, tuple[str, str]]) -> str:
    """The section of the words that were linked to, in Markdown as the glossary is."""
    items = (
        f'- <span id="word-{anchor}">**{word}**</span>: {" ".join(said.split())}'
        for anchor, (word, said) in sorted(words.items())
    )
    return "## Words\n\n" + "\n".join(items)


def _style() -> str:
    from pygments.formatters import HtmlFormatter

    light, dark = (
        HtmlFormatter(style=f"a11y-high-contrast-{name}").get_style_defs(".code .highlight")
        for name in ("light", "dark")
    )
    own = (TEMPLATES / TEMPLATE / "style.css").read_text(encoding="utf-8")
    columns = columns_style("main")
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n{own}\n{columns}"


def _script() -> str:
    return (TEMPLATES / TEMPLATE / "scrolling.js").read_text(encoding="utf-8")


def _problems(document: str, page: NotebookPage) -> Iterator[str]:
    size = len(document.encode("utf-8"))
    if size > inspection.PAGE_BYTES:
        yield f"it weighs {size:,} bytes, more than {inspection.PAGE_BYTES:,}{_heaviest(page)}"
    cells = _cells_of_problems(page)
    found = [*_problems_of(document)]
    yield from (f"{problem}{cells.get(problem, '')}" for problem in found)
    if any(problem.endswith(inspection.WORDLESS) for problem in found):
        yield f"To give a picture its words, {picture_words.REMEDY}."
    for name, recording in page.recordings.items():
        yield from (f"{name}: {problem}" for problem in inspection.text_problems(inspection.unpacked(recording)))


def _heaviest(page: NotebookPage) -> str:
    """What of a page weighs most, as half a sentence: which cell, and whether it is an explorer."""
    weights = [(sum(map(len, _texts(cell))), cell) for cell in page.notebook["cells"]]
    weight, cell = max(weights, key=lambda one: one[0])
    explorers = sum(1 for _ in twins.states(page.notebook))
    told = f"; {explorers} explorers are in it, each with its recording" if explorers > 1 else ""
    return f'{told}; the heaviest cell, with {weight:,}, begins "{_beginning(cell)}"'


def _beginning(cell) -> str:
    return next((line.strip() for line in cell["source"].splitlines() if line.strip()), "")[:MOST_OF_A_CELL]


def _problems_of(text: str) -> Iterator[str]:
    yield from inspection.page_problems(text)
    yield from inspection.alone_problems(text)
    yield from inspection.text_problems(text)


def _cells_of_problems(page: NotebookPage) -> dict[str, str]:
    """By problem, in which cell it is; what is in no cell alone (a link into another one, say) is not told."""
    found: dict[str, str] = {}
    for cell in page.notebook["cells"]:
        for problem in _problems_of("\n".join(_texts(cell))):
            found.setdefault(problem, f', in the cell that begins "{_beginning(cell)}"')
    return found


def _texts(cell) -> Iterator[str]:
    """What a cell puts on the page: its source, and its outputs as HTML where they are pictures."""
    yield cell["source"]
    for output in cell.get("outputs", ()):
        yield output.get("text", "")
        for kind, value in output.get("data", {}).items():
            if kind not in picture_words.KINDS and isinstance(value, str):
                yield value
    yield from picture_words.as_images(cell)
