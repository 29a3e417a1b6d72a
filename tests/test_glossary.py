"""The glossary: in order, and every link of a notebook leads to an entry."""

import re

import nbformat
import pytest

from helpers import course, notebooks
from helpers.project import ROOT

TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
ENTRIES = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
ANCHORS = {entry.lower().replace(" ", "-") for entry in ENTRIES}
OTHER_SENSES = {"Kernel": r"Kernel Sources"}
"""Where an entry's word means something else: Jupyter's kernel has sources, too."""
_NO_PROSE = re.compile(r"<details>.*?</details>|```.*?```|`[^`]*`|^#[^\n]*|(?<=\])\([^)]*\)", re.DOTALL | re.MULTILINE)


def test_the_entries_are_in_alphabetical_order_and_each_says_something():
    assert [entry.casefold() for entry in ENTRIES] == sorted({entry.casefold() for entry in ENTRIES})
    assert all(re.search(rf"^## {re.escape(entry)}\n\n[\w`]", TEXT, re.MULTILINE) for entry in ENTRIES)


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_every_link_to_the_glossary_leads_to_an_entry(path):
    cells = nbformat.read(path, as_version=4).cells
    linked = {anchor for cell in cells for anchor in re.findall(r"glossary\.md#([\w-]+)", cell.source)}
    assert linked <= ANCHORS


def cells_of_the_course() -> list[tuple[str, str]]:
    """(place, text) of every cell of prose, in reading order; without titles and generated cells."""
    cells = [(path.stem, cell) for path in notebooks.paths() for cell in nbformat.read(path, as_version=4).cells[1:]]
    texts = [(f"{name} {cell.id}", cell.source) for name, cell in cells if cell.cell_type == "markdown"]
    return [(place, text) for place, text in texts if not course.is_generated(text)]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_word_of_the_glossary_is_linked_before_or_where_the_course_first_uses_it(entry):
    word = re.compile(rf"(?<![\w-]){re.escape(entry)}s?(?![\w-])", re.IGNORECASE)
    other = re.compile(OTHER_SENSES.get(entry, r"(?!)"))
    for place, text in cells_of_the_course():
        if f"glossary.md#{entry.lower().replace(' ', '-')})" in text:
            return
        used = word.search(other.sub("", _NO_PROSE.sub(" ", text)))
        assert not used, f"{place} is the first to say {used[0]!r}, and does not link it"
