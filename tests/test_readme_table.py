"""The README's table of notebooks: all of the course, in order, with the minutes that each notebook's header says."""

import re

import nbformat

from helpers import course, notebooks
from helpers.project import ROOT

ROW = re.compile(r"^\| \[(.+?)\]\((notebooks/.+?\.ipynb)\) \| (\S.+?) \| (\d+) \|$", re.MULTILINE)


def test_every_notebook_of_the_course_has_a_row_in_order():
    rows = ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [(label, path) for label, path, *_ in rows] == [
        (one.label, f"notebooks/{one.name}.ipynb") for one in course.LESSONS
    ]


def test_its_minutes_are_those_of_the_notebooks_header():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    minutes = {path: said for _, path, _, said in ROW.findall(text)}
    for path in notebooks.paths():
        header = nbformat.read(path, as_version=4).cells[0].source
        assert f"**Time** {minutes[f'notebooks/{path.name}']} minutes" in header
