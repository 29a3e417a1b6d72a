"""What the notebooks promise: light files, and in each title the time and the memory that the benchmark measured."""

import re

import nbformat
import pytest

from helpers import notebooks
from helpers.project import ROOT

MOST_BYTES = 4_000_000
"""Of all notebooks together, outputs included."""
SLACK = 0.7
"""GB that a title may say more than was measured: it is rounded, and meant for other machines too."""
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("notebooks--*.md"))
_ROW = re.compile(r"^\| (\d\d_\w+) \| (\d+) \| \d+ \| [\d.]+ \| ([\d.]+) \|$", re.MULTILINE)
_TITLE = re.compile(r"^\*\*Time\*\* (\d+) minutes.* · \*\*memory\*\* about ([\d.]+) GB", re.MULTILINE)

PATHS = pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)


def measured() -> list[dict[str, tuple[float, float]]]:
    """(minutes to run, GB with the processes that it starts) of each notebook, by machine."""
    rows = [_ROW.findall(path.read_text(encoding="utf-8")) for path in RESULTS]
    return [{name: (int(seconds) / 60, float(gigabytes)) for name, seconds, gigabytes in one} for one in rows]


def promised(path) -> tuple[float, float]:
    """(minutes to read and run, GB) of a notebook's title."""
    title = nbformat.read(path, as_version=4).cells[0].source
    found = _TITLE.search(title)
    assert found, title
    return float(found[1]), float(found[2])


def test_all_notebooks_together_are_light():
    assert sum(path.stat().st_size for path in notebooks.paths()) <= MOST_BYTES


def test_every_notebook_was_measured():
    assert RESULTS
    for machine in measured():
        assert sorted(machine) == [path.stem for path in notebooks.paths()]


@PATHS
def test_the_title_leaves_time_enough_for_the_run_alone(path):
    assert all(machine[path.stem][0] < promised(path)[0] for machine in measured())


@PATHS
def test_the_title_says_the_memory_that_was_measured(path):
    gigabytes = promised(path)[1]
    assert all(taken <= gigabytes <= taken + SLACK for taken in (machine[path.stem][1] for machine in measured()))
