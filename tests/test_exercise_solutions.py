"""The folded solution of each exercise is right, by the exercise's own check, in the notebook itself, which runs to its
end on a model that is not the demo's, without a network."""

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


NO_NETWORK = """
import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"no network in this test: {address}")
    return _connect(self, address)


socket.socket.connect = connect
"""
"""As sitecustomize.py: no process that Python starts with it gets beyond this machine."""


@pytest.mark.slow
@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_every_solution_is_right_on_the_tiny_model_with_no_network(path, tiny_checkpoint, tmp_path, monkeypatch):
    """Every cell runs too: on the tiny random Llama, and without the demo checkpoint."""
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    settings = notebooks.COMMITTED_ENVIRONMENT | {
        "TRACE_MODEL": str(tiny_checkpoint),
        "PYTHONPATH": str(tmp_path),
        "TRACE_CACHE": str(tmp_path / "cache"),  # empty: the demo checkpoint is not in it
        "TRACE_WHEEL": "",
    }
    for name, value in settings.items():
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
