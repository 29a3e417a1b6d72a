"""Each landmark that the article names is met by name in its notebook, and shown from a recording or a check."""

import functools
import re

import nbformat
import pytest

from helpers import course, course_frame, notebooks
from helpers import landmarks as landmark_table
from helpers.course import A_CHECK, ARTICLE_RECORDING, THIS_RUN

ARTICLE = [landmark for landmark in landmark_table.table() if landmark.in_article]
GONE = {"load.state_dict", "load.safetensors_file", "load.into_model", "load.assign_check", "load.gc"}
"""Without a function of their own in 5.x: shown from the recording of 4.47.1 there."""


@functools.cache
def places(name: str) -> dict[str, tuple[bool, str]]:
    path = next(path for path in notebooks.paths() if path.stem == name)
    return course_frame.landmark_places(nbformat.read(path, as_version=4).cells, name[:2])


def test_the_article_names_73_landmarks_five_of_them_gone_and_five_of_them_facts():
    assert len(ARTICLE) == 73
    assert sum(landmark.kind == "fact" for landmark in ARTICLE) == 5
    assert {landmark.id for landmark in ARTICLE} >= GONE


@pytest.mark.parametrize("landmark", ARTICLE, ids=lambda landmark: landmark.id)
def test_the_articles_landmark_is_met_by_name_and_shown(landmark):
    if landmark.notebook not in {path.stem for path in notebooks.paths()}:
        pytest.skip(f"{landmark.notebook} is not written yet")
    met, seen_in = places(landmark.notebook)[landmark.id]
    assert met, f"{landmark.notebook} never names {landmark.id} in prose or code before the table"
    shown_by = {A_CHECK} if landmark.kind == "fact" else {ARTICLE_RECORDING} if landmark.id in GONE else {THIS_RUN}
    assert {seen_in} == shown_by


def prose(name: str) -> str:
    """What a notebook says in its own words: markdown without generated cells and exercises."""
    path = next(path for path in notebooks.paths() if path.stem == name)
    parts = course_frame.sections(nbformat.read(path, as_version=4).cells)
    cells = [cell for part in parts if part.heading != "Try it" for cell in part.cells if cell.cell_type == "markdown"]
    return "\n".join(cell.source for cell in cells if not course.is_generated(cell.source))


@pytest.mark.parametrize("name", sorted({landmark.notebook for landmark in landmark_table.table()}))
def test_each_landmark_is_spoken_of_by_name_in_the_prose_of_its_notebook(name):
    text, calls = prose(name), [one for one in landmark_table.table() if one.notebook == name and one.kind != "fact"]
    names = {one.id: course_frame.names_of(one) for one in calls}
    assert [one for one in names if not any(re.search(rf"(?<!\w){re.escape(n)}(?!\w)", text) for n in names[one])] == []
