"""The canary: with the project's own options, a wrong output and a failing check must each fail nbval.

Every case is a notebook written here and run by pytest in a process of its own, under copies of conftest.py,
pyproject.toml and the sanitize file, so that what is proven holds for those files.
"""

import shutil
import subprocess
import sys

import pytest

from helpers import notebooks
from helpers.project import ROOT
from tests.notebook_files import code_cell, result_output, text_output, write

FOUND_A_FAILURE = 1  # pytest's exit status; 2 and above are errors of the run itself


@pytest.fixture
def nbval(tmp_path):
    """A function that runs nbval, strict unless told otherwise, on one notebook of these cells."""
    (tmp_path / "notebooks").mkdir()
    for name in ("conftest.py", "pyproject.toml", "notebooks/nbval_sanitize.cfg"):
        shutil.copy(ROOT / name, tmp_path / name)

    def run(*cells, mode: str = "--nbval") -> subprocess.CompletedProcess:
        write(tmp_path / "notebooks" / "00_canary.ipynb", *cells)
        command = [sys.executable, "-m", "pytest", mode, "notebooks/00_canary.ipynb"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    return run


def test_a_right_notebook_passes_with_all_that_may_differ(nbval):
    html_that_differs = result_output(3, text__plain="'shown'", text__html="<b>0.1 s</b>")
    result = nbval(
        code_cell("print(6 * 7)", text_output("42\n"), count=1),
        code_cell("import sys; print('now', file=sys.stderr)", text_output("then\n", "stderr"), count=2),
        code_cell("'shown'", html_that_differs, count=3),
        code_cell("# NBVAL_IGNORE_OUTPUT\nimport time; print(time.time())", text_output("1\n"), count=4),
        code_cell("o = object(); print(o)", text_output("<object object at 0x7f00aa00bb00>\n"), count=5),
    )
    # Cell 2 gives no html now and did when it was committed: a kind that is not compared may also be absent.
    assert result.returncode == 0, result.stdout
    assert "5 passed" in result.stdout


def test_a_wrong_printed_output_fails(nbval):
    result = nbval(code_cell("print(6 * 7)", text_output("41\n"), count=1))
    assert result.returncode == FOUND_A_FAILURE
    assert "Cell outputs differ" in result.stdout


def test_a_wrong_result_fails(nbval):
    result = nbval(code_cell("6 * 7", result_output(1, text__plain="41"), count=1))
    assert result.returncode == FOUND_A_FAILURE
    assert "mismatch 'text/plain'" in result.stdout


def test_a_missing_output_fails(nbval):
    result = nbval(code_cell("pass", text_output("42\n"), count=1))
    assert result.returncode == FOUND_A_FAILURE


@pytest.mark.parametrize("mode", ["--nbval", "--nbval-lax"])
def test_a_failing_check_fails_strict_and_lax(nbval, mode):
    result = nbval(code_cell("assert 6 * 7 == 41, 'the sum is wrong'", count=1), mode=mode)
    assert result.returncode == FOUND_A_FAILURE
    assert "the sum is wrong" in result.stdout


def test_a_failing_check_fails_where_the_output_is_ignored(nbval):
    result = nbval(code_cell("# NBVAL_IGNORE_OUTPUT\nassert 6 * 7 == 41", count=1))
    assert result.returncode == FOUND_A_FAILURE


def test_strict_runs_on_the_committed_environment_and_lax_on_the_readers_own(nbval, monkeypatch):
    monkeypatch.setenv("TRACE_MODEL", "mine")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    source = "import os\nprint(os.environ.get('TRACE_MODEL'), os.environ['HF_HUB_OFFLINE'])"
    strict = nbval(code_cell(source, text_output("None 1\n"), count=1))
    assert strict.returncode == 0, strict.stdout
    lax = nbval(code_cell(source + "\nassert os.environ['TRACE_MODEL'] == 'mine'", count=1), mode="--nbval-lax")
    assert lax.returncode == 0, lax.stdout


def test_the_kernel_is_this_python_whatever_the_notebook_names(nbval, tmp_path):
    cell = code_cell(f"import sys\nassert sys.executable == {sys.executable!r}", count=1)
    result = nbval(cell)
    assert result.returncode == 0, result.stdout


def test_the_limit_of_a_cell_is_ten_minutes(pytestconfig):
    assert pytestconfig.getoption("nbval_cell_timeout") == notebooks.CELL_TIMEOUT_SECONDS == 600
    assert pytestconfig.getoption("nbval_current_env") is True
