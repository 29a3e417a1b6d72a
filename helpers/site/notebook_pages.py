"""A page of the site for each notebook: the executed notebook, with a line on what the page is and where to get it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

from helpers import course
from helpers.site import SiteError, mathematics, picture_words, shortened_paths, twins
from helpers.site.executions import Execution
from helpers.tables import format_bytes

BRANCH = "main"
PUBLISHED_BRANCH = "gh-pages"
"""The branch that .github/workflows/site.yml publishes to; Colab takes its notebooks from there."""
BINDER_MEMORY = 2 * 2**30
"""Bytes that Binder gives a session."""
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_MINUTES = re.compile(r"\*\*Time\*\* (\d+) minutes?")
_CELL_END = re.compile(r"</t[dh]>(?=<)")
"""Sphinx's search strips tags, and would make one word of two cells."""
_NOTEBOOK_LINK = re.compile(r"\[([^\]]+)\]\(([0-9]{2}_\w+)\.ipynb\)")


@dataclass
class NotebookPage:
    """A notebook: its text, how it was executed (None where it was not, now), its recordings as files by name."""

    name: str
    notebook: object
    execution: Execution | None
    recordings: dict[str, bytes] = field(default_factory=dict)

    @property
    def title(self) -> str:
        found = _TITLE.search(self._beginning)
        return found[1] if found else self.name

    @property
    def minutes(self) -> str:
        """The minutes that reading it takes, as its first cell says; "" where it does not."""
        found = _MINUTES.search(self._beginning)
        return found[1] if found else ""

    @property
    def _beginning(self) -> str:
        """The first cell, where that is a text."""
        first = self.notebook.cells[0]
        return first.source if first.cell_type == "markdown" else ""

    @property
    def has_explorers(self) -> bool:
        return any(twins.states(self.notebook))

    @property
    def part(self) -> str:
        """The part of the course that it belongs to."""
        return next((lesson.part for lesson in course.LESSONS if lesson.name == self.name), "more")


def make(notebook, execution: Execution | None, name: str | None = None) -> NotebookPage:
    """The page of a notebook with outputs; `name` is needed where there is no execution to have it from.

    Raises SiteError for an output with mathematics that no page can show.
    """
    name = name or execution.name
    twins.without_widget_views(notebook)
    shortened_paths.shorten(notebook)
    picture_words.from_comments(notebook)
    try:
        mathematics.without_latex(notebook)
    except SiteError as error:
        raise SiteError(f"{name}.ipynb: {error}") from error
    files = twins.recordings(notebook)
    names = [f"{name}-{number}.json.gz" for number in range(1, len(files) + 1)]
    return NotebookPage(name, notebook, execution, dict(zip(names, files, strict=True)))


def for_site(page: NotebookPage, present: set[str], repository: str | None):
    """A copy of the page's notebook as the site shows it: links to notebooks that are not in this site are plain words,
    and after the title stands what the page is. `present`: names of the site's notebooks."""
    import nbformat

    notebook = nbformat.from_dict(page.notebook)

    def linked(found: re.Match) -> str:
        return found[0] if found[2] in present else found[1]

    cells = []
    for cell in notebook.cells:
        copy = nbformat.from_dict(cell)
        if copy.cell_type == "markdown":
            copy.source = _NOTEBOOK_LINK.sub(linked, copy.source)
        for output in copy.get("outputs", []):
            if twins.HTML in output.get("data", {}):
                output.data[twins.HTML] = _CELL_END.sub(r"\g<0>\n", output.data[twins.HTML])
        cells.append(copy)
    banner = nbformat.v4.new_markdown_cell(banner_html(page, repository), id="what-this-page-is")
    notebook.cells = [*cells[:1], banner, *cells[1:]]
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return notebook


def banner_html(page: NotebookPage, repository: str | None) -> str:
    """What the page is, and what can be taken from it: the notebook, its recordings, and where to run it."""
    links = [_link(f"../downloads/notebooks/{page.name}.ipynb", "notebook", download=True)]
    for number, name in enumerate(page.recordings, 1):
        label = "recording" if len(page.recordings) == 1 else f"recording {number}"
        links.append(_link(f"../downloads/recordings/{name}", label, download=True))
    launch = [_link(url, label) for label, url in launch_links(page.name, repository)]
    run = f" · Run it yourself: {', '.join(launch)}{_too_much(page.execution)}" if launch else ""
    explorers = " Its explorers hold what was recorded, and compute in your browser." if page.has_explorers else ""
    return (
        f'<p class="what-this-is"><strong>Recorded</strong> with {escape(page.execution.recorded_with)}. '
        f"No Python runs behind this page.{explorers} Download: {', '.join(links)}{run}</p>"
    )


def _too_much(execution: Execution) -> str:
    """What a reader should know before taking the notebook to Binder; "" where it has enough memory."""
    if (execution.peak_bytes or 0) <= BINDER_MEMORY:
        return ""
    had, given = format_bytes(execution.peak_bytes), format_bytes(BINDER_MEMORY)
    return f". It had {had} of memory here, and Binder gives {given}: cells may stop there"


def _link(address: str, label: str, download: bool = False) -> str:
    return f'<a href="{escape(address)}"{" download" if download else ""}>{escape(label)}</a>'


def launch_links(name: str, repository: str | None) -> list[tuple[str, str]]:
    """(label, URL) of the services on which a notebook runs; none while the repository's address is unset, or where it
    is not on GitHub, from which both services take notebooks."""
    github = "https://github.com/"
    if not repository or not repository.startswith(github):
        return []
    project = repository.removeprefix(github).rstrip("/").removesuffix(".git")
    file = quote(f"notebooks/{name}.ipynb", safe="/")
    binder = f"https://mybinder.org/v2/gh/{project}/{BRANCH}?urlpath={quote(f'lab/tree/{file}', safe='')}"
    colab = f"https://colab.research.google.com/github/{project}/blob/{PUBLISHED_BRANCH}/colab/{name}.ipynb"
    return [("Binder", binder), ("Colab", colab)]


def for_colab(notebook, repository: str):
    """A copy of a committed notebook for Colab: a first cell that sets the machine up, and no outputs."""
    import nbformat

    copy = nbformat.from_dict(notebook)
    cells = [nbformat.from_dict(cell) for cell in copy.cells]
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    copy.cells = [nbformat.v4.new_code_cell(set_up_cell(repository), id="set-up"), *cells]
    return copy


def set_up_cell(repository: str) -> str:
    """The cell that makes a hosted machine ready: the project, what it needs, the demo checkpoint, the widgets."""
    folder = repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    return f"""# Makes this machine ready: the project, what it needs, the demo checkpoint. Takes some minutes, once.
import os, subprocess, sys
from importlib.util import find_spec

if not os.path.isdir("{folder}"):
    subprocess.run(["git", "clone", "--depth", "1", "{repository}", "{folder}"], check=True)
os.chdir("{folder}/notebooks")
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", ".."], check=True)
subprocess.run([sys.executable, "-m", "helpers", "checkpoint"], cwd="..", check=True)
sys.path.insert(0, os.path.abspath(".."))
if find_spec("google") and find_spec("google.colab"):
    from google.colab import output
    output.enable_custom_widget_manager()  # for the explorers, which are widgets of their own"""
