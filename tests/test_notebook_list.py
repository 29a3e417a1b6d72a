"""One glob finds the notebooks, everything else asks it; every committed notebook has the form it should."""

import re
import subprocess
import sys

import nbformat
import psutil
import pytest

from helpers import notebook_form, notebooks
from helpers.project import ROOT
from tests.notebook_files import code_cell, result_output, text_output, write

GOOD = (code_cell("x = 1", count=1), code_cell("assert x == 1", count=2))


def test_the_list_is_every_notebook_of_the_folder_in_reading_order():
    listed = notebooks.paths()
    assert listed == sorted((ROOT / "notebooks").rglob("*.ipynb"))
    assert [path.name[:2] for path in listed] == sorted({path.name[:2] for path in listed})


def test_nothing_else_names_or_globs_notebooks():
    for path in [ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / ".github" / "workflows").glob("*.yml")]:
        assert re.findall(r"\S*\.ipynb\b", path.read_text(encoding="utf-8")) == [], path.name


def test_drafts_and_checkpoints_are_not_in_the_list(tmp_path):
    write(tmp_path / "notebooks" / "07_forward_pass.ipynb", *GOOD)
    write(tmp_path / "notebooks" / "01_config_and_class.ipynb", *GOOD)
    write(tmp_path / "notebooks" / "draft.ipynb", *GOOD)
    write(tmp_path / "notebooks" / ".ipynb_checkpoints" / "01_config_and_class-checkpoint.ipynb", *GOOD)
    names = [path.name for path in notebooks.paths(tmp_path)]
    assert names == ["01_config_and_class.ipynb", "07_forward_pass.ipynb"]


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_committed_notebook_has_the_right_form(path):
    assert notebook_form.find_problems(path) == []


def test_a_good_notebook_has_no_problem(tmp_path):
    assert notebook_form.find_problems(write(tmp_path / "good.ipynb", *GOOD)) == []


LONG = "\n".join(f"x{number} = {number}" for number in range(26))


@pytest.mark.parametrize(
    ("cells", "metadata", "problem"),
    [
        ([code_cell("x = 1")], {}, "not executed from top to bottom (execution counts [None])"),
        ([code_cell("x = 1", count=2)], {}, "not executed from top to bottom (execution counts [2])"),
        ([], {}, "has no code cell"),
        ([code_cell(LONG, count=1)], {}, "code cell 1 has 26 lines, more than 25"),
        ([code_cell("\n" * 7 + "x", count=1)], {}, "its median code cell has 8 lines, more than 7"),
        ([code_cell("x", text_output("warned", "stderr"), count=1)], {}, "wrote to standard error: 'warned'"),
        (
            [code_cell("x", text_output("/home/ada/model\n"), count=1)],
            {},
            "path of one machine: /home/ada/model",
        ),
        ([code_cell("open('C:\\\\Users\\\\ada')", count=1)], {}, "names a path of one machine: C:"),
        ([code_cell("x", result_output(1, text__html="<b>/tmp/x</b>"), count=1)], {}, "machine: /tmp/x"),
        ([code_cell("# NBVAL_SKIP\nx", count=1)], {}, "is skipped by nbval"),
        ([code_cell("# NBVAL_IGNORE_OUTPUT\nx", count=1)], {}, "but the cell after it checks nothing"),
        ([code_cell("x", result_output(1, **{"image/png": "AAAA"}), count=1)], {}, "holds a bare image/png, without"),
        ([code_cell("x", result_output(1, text__html="<script>1</script>"), count=1)], {}, "holds a live explorer"),
        ([*GOOD], {"widgets": {}}, "holds the state of widgets"),
    ],
)
def test_each_fault_of_form_is_named(tmp_path, cells, metadata, problem):
    problems = notebook_form.find_problems(write(tmp_path / "bad.ipynb", *cells, **metadata))
    assert any(problem in found for found in problems), problems


def test_an_ignored_output_is_fine_when_the_next_cell_checks(tmp_path):
    cells = [code_cell("# NBVAL_IGNORE_OUTPUT\nx = 1", count=1), code_cell("assert x == 1", count=2)]
    assert notebook_form.find_problems(write(tmp_path / "good.ipynb", *cells)) == []


def test_a_relative_path_and_a_web_address_are_no_paths_of_a_machine(tmp_path):
    outputs = text_output("models/home/x https://example.org/home/x ~/tmp/x\n")
    path = write(tmp_path / "good.ipynb", code_cell("x = 1", outputs, count=1))
    assert notebook_form.find_problems(path) == []


def test_executing_writes_outputs_back_and_leaves_out_what_varies(tmp_path, monkeypatch):
    path = write(
        tmp_path / "00_run.ipynb",
        code_cell("import os, sys\nprint(os.path.basename(os.getcwd()))", text_output("stale\n"), count=7),
        code_cell("sys.executable"),
        widgets={"state": {}},
    )
    assert notebooks.execute(path) > 0
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].outputs[0].text == f"{tmp_path.name}\n"  # it runs in its own folder
    assert eval(notebook.cells[1].outputs[0].data["text/plain"]) == sys.executable
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.language_info == {"name": "python"}
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    assert list(tmp_path.iterdir()) == [path]


def test_a_widget_that_collects_output_runs_and_leaves_no_state(tmp_path):
    source = "from ipywidgets import interact\ninteract(lambda n=3: print(n * n));"
    path = write(tmp_path / "00_turn.ipynb", code_cell(source), code_cell("6 * 7"))
    notebooks.execute(path)
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[1].outputs[0].data["text/plain"] == "42"
    assert "widgets" not in notebook.metadata


def test_no_kernel_outlives_its_notebook(tmp_path):
    source = "import os, pathlib\npathlib.Path('kernel.pid').write_text(str(os.getpid()))"
    notebooks.execute(write(tmp_path / "00_pid.ipynb", code_cell(source)))
    assert not psutil.pid_exists(int((tmp_path / "kernel.pid").read_text()))


def test_a_notebook_that_fails_is_named_and_left_as_it_was(tmp_path):
    path = write(tmp_path / "00_fails.ipynb", code_cell("print('new')"), code_cell("assert 1 == 2, 'wrong sum'"))
    before = path.read_bytes()
    with pytest.raises(notebooks.NotebookError, match=r"00_fails.ipynb did not run to its end(.|\n)*wrong sum") as told:
        notebooks.execute(path)
    assert "\x1b" not in str(told.value), "the colours of a terminal, in a file too"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_committed_outputs_come_from_the_demo_checkpoint_on_the_cpu_offline():
    environment = {"TRACE_MODEL": "mine", "TRACE_DTYPE": "float16", "TRACE_DEVICE": "cuda", "PATH": "kept"}
    notebooks.set_committed_environment(environment)
    assert "TRACE_MODEL" not in environment
    assert "TRACE_DTYPE" not in environment
    assert environment["TRACE_DEVICE"] == "cpu"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["PATH"] == "kept"


def run_module(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "helpers.notebooks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_command_prints_the_list():
    listed = run_module("list").stdout.split()
    assert listed == [path.relative_to(ROOT).as_posix() for path in notebooks.paths()]


def test_a_notebook_that_does_not_exist_is_a_clear_error():
    result = run_module("execute", "notebooks/99_none.ipynb")
    assert result.returncode == 1
    assert result.stderr == ("error: There is no notebook 99_none.ipynb; the list: python -m helpers.notebooks list\n")
