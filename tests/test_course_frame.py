"""Each notebook of the course has the frame, and what it lacks of it is named."""

import nbformat
import pytest

from helpers import course, course_frame, notebooks
from tests.framed_notebook import LESSON, cells_of, code, exercise, markdown, parts


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_committed_notebook_has_the_frame(path):
    assert course_frame.find_problems(path) == []


@pytest.fixture
def problems(tmp_path):
    """What is said of a notebook with these parts."""

    def find(by_part):
        path = tmp_path / f"{LESSON.name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells_of(by_part)), path)
        return course_frame.find_problems(path)

    return find


def test_a_notebook_with_the_whole_frame_has_no_problem(problems):
    assert problems(parts()) == []


def test_what_is_no_notebook_of_the_course_is_not_held_to_the_frame(tmp_path):
    path = tmp_path / "draft.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    assert course_frame.find_problems(path) == []


def retitled(old, new):
    def change(by_part):
        by_part["title"][0].source = by_part["title"][0].source.replace(old, new)

    return change


def put(part, *cells):
    def change(by_part):
        by_part[part] = list(cells)

    return change


def edited(place, old, new):
    def change(by_part):
        cell = by_part["exercises"][place]
        cell.source = cell.source.replace(old, new)

    return change


def hidden(by_part):
    by_part["imports"][0].metadata["jupyter"] = {"source_hidden": True}


STEP, CHECK = markdown("## What?\n\nA thing."), code('check(True, "yes")')
FAULTS = {
    "no verb": (retitled("# Read", "# Thing"), "its title does not begin with a verb"),
    "two bullets": (retitled("- three\n", ""), "has 2 bullets, not 3"),
    "no time": (retitled("**Time**", "Time"), "has no line **Time**"),
    "old map": (put("map", markdown("**Map** of another year")), "its second cell is not the generated map"),
    "no imports": (put("imports"), "no code cell with imports stands before the first step"),
    "two steps": (lambda by_part: by_part.update(steps=by_part["steps"][:5]), "it has fewer than 3 steps"),
    "no question": (put("steps", markdown("## It is\n\nA thing."), CHECK), 'the step "It is" asks nothing'),
    "no sentence": (put("steps", markdown("## What?"), CHECK), "begins without a sentence"),
    "no check": (put("steps", STEP, code("x = 1")), 'the step "What?" checks nothing'),
    "no figure": (put("steps", STEP, CHECK), "it has no figure"),
    "no version": (put("version"), "it does not end with In your version, Try it"),
    "no table": (put("version", markdown("## In your version\n\nThe same.")), 'no cell with in_your_version("00"'),
    "another table": (
        put("look", markdown("## Where to look in the source\n\nx"), code('where_to_look("01", r)')),
        'no cell with where_to_look("00"',
    ),
    "one exercise": (put("exercises", markdown("## Try it"), *exercise(1, "easy")), "it has 1 exercises, not 2 to 4"),
    "falling": (
        put("exercises", markdown("## Try it"), *exercise(1, "hard"), *exercise(2, "easy")),
        "its exercises do not rise in difficulty",
    ),
    "numbered wrong": (
        put("exercises", markdown("## Try it"), *exercise(1, "easy"), *exercise(3, "hard")),
        "exercise 2 has another number",
    ),
    "no solution": (
        put("exercises", markdown("## Try it"), *exercise(1, "easy")[:2], *exercise(2, "hard")),
        '"Try it" is not made of exercises',
    ),
    "answered": (edited(2, "None", "1"), "the cell of exercise 1 does not begin with `answer = None`"),
    "half solved": (edited(3, "\ncheck_one(answer)", ""), "the solution of exercise 1 is not its whole cell"),
    "short recap": (put("recap", markdown("## Recap\n\n- one")), "the recap has 1 lines, not 5"),
    "no way on": (put("navigation", markdown("The end.")), "its last cell is not the generated way on"),
    "hidden": (hidden, "is hidden"),
    "star import": (put("imports", code("from os import *")), "takes names from what the reader does not see"),
    "a number in code": (
        put("steps", markdown("## What?\n\nIt is 1,234 wide."), code("width = 1234"), CHECK),
        "names 1,234, which no cell prints",
    ),
    "a number": (put("steps", markdown("## What?\n\nIt is 1,234 wide."), CHECK), "names 1,234, which no cell prints"),
}


@pytest.mark.parametrize(("change", "problem"), FAULTS.values(), ids=FAULTS)
def test_each_fault_of_the_frame_is_named(problems, change, problem):
    by_part = parts()
    change(by_part)
    found = problems(by_part)
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    "prose",
    [
        "In 4.47.1 and 5.x.",
        "See [04 loading weights](04_loading_weights.ipynb).",
        "It is `12` in code.",
        "Llama-2-70B",
        "It is 3.",
    ],
)
def test_versions_links_and_code_are_no_numbers_of_the_prose(problems, prose):
    by_part = parts()
    by_part["steps"].insert(1, markdown(prose))
    assert problems(by_part) == []


def test_a_number_that_a_cell_prints_may_stand_in_prose(problems):
    by_part = parts()
    printed = nbformat.v4.new_output("stream", name="stdout", text="1234 wide\n")
    by_part["steps"][1:1] = [markdown("It is 1,234 wide."), code("print(width)", printed)]
    assert problems(by_part) == []


def test_the_exercises_of_a_notebook_are_found_with_their_solutions():
    found = course_frame.exercises(cells_of(parts()))
    assert [one.level for one in found] == ["easy", "hard"]
    assert found[0].solved == "answer = 1\ncheck_one(answer)"


@pytest.mark.parametrize(
    ("text", "met"),
    [("`cached_file` finds it", True), ("cached_files finds them", False), ("nothing of the kind", False)],
)
def test_a_landmark_is_met_by_its_whole_name(text, met):
    cells = [markdown("# Read"), markdown(f"## What?\n\n{text}"), markdown("## In your version")]
    assert course_frame.landmark_places(cells, "01")["hub.cached_file"] == (met, "")


def test_a_generic_name_counts_with_its_class_only():
    landmark = next(one for one in course.landmarks_of("05") if one.id == "pipe.init_task")
    names = course_frame.names_of(landmark)
    assert "TextGenerationPipeline.__init__" in names
    assert "__init__" not in names
