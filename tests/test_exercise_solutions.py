"""The folded solution of each exercise is right, by the exercise's own check, in the notebook itself."""

import nbformat
import pytest

from helpers import course_frame, notebooks
from helpers.exercises import NOT_ANSWERED, RIGHT


def shown(cell) -> str:
    return "".join(output.get("data", {}).get("text/plain", "") for output in cell.outputs)


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_a_committed_notebook_leaves_its_exercises_to_the_reader(path):
    for exercise in course_frame.exercises(nbformat.read(path, as_version=4).cells):
        assert shown(exercise.cell).startswith(NOT_ANSWERED)


@pytest.mark.slow
@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_every_solution_is_right(path, tmp_path, monkeypatch):
    for name, value in notebooks.COMMITTED_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    found = course_frame.exercises(notebook.cells)
    for exercise in found:
        exercise.cell.source = exercise.solved
    solved = tmp_path / path.name
    nbformat.write(notebook, solved)
    notebooks.execute(solved)
    cells = {cell.id: cell for cell in nbformat.read(solved, as_version=4).cells}
    verdicts = [shown(cells[exercise.cell.id]) for exercise in found]
    assert [verdict.partition(":")[0] for verdict in verdicts] == [RIGHT] * len(found), verdicts
