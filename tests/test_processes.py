"""Other processes that a recorded program starts: nothing of them is recorded, and that is said."""

import multiprocessing
import subprocess
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from script_runs import run_recorded, split
from torch.utils.data import DataLoader

from helpers import record
from helpers.recording.recording import Recording

METHODS = multiprocessing.get_all_start_methods()


def of_processes(recording):
    """What a recording says of other processes."""
    return [warning for warning in recording.warnings if "other process" in warning]


def recorded(action):
    """(what an action returns, what is said of other processes)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are asked of the recording
        with record("landmarks") as recording:
            result = action()
    return result, of_processes(recording)


def pool(method):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as workers:
        return list(workers.map(abs, [-1, -2]))


def loader():
    return torch.cat(list(DataLoader(torch.arange(4), num_workers=2)))


def named():
    process = multiprocessing.get_context("spawn").Process(target=print, name="hf_abcdefghijklmnop")
    process.start()
    process.join()


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_of_processes_is_told_and_works_as_ever(method):
    result, said = recorded(lambda: pool(method))
    assert result == [1, 2]
    assert len(said) == 1
    assert said[0].startswith("The program started 1 other process (")


def test_the_workers_of_a_data_loader_are_told():
    result, said = recorded(loader)
    assert result.tolist() == [0, 1, 2, 3]
    assert said[0].startswith("The program started 2 other processes (")


def test_the_name_of_a_process_holds_no_secret():
    _, (said,) = recorded(named)
    assert "hf_abc" not in said
    assert "<redacted>" in said


@pytest.mark.parametrize("command", [[sys.executable, "-c", "pass"], f'"{sys.executable}" -c pass'])
def test_a_python_that_subprocess_starts_is_told(command):
    _, (said,) = recorded(lambda: subprocess.run(command, shell=isinstance(command, str), check=True))
    assert "1 other process (python" in said


def test_a_command_that_a_package_has_installed_is_told(tmp_path):
    command = tmp_path / "torchrun"
    command.write_text(f"#!{sys.executable}\nprint(1)\n", encoding="utf-8")
    command.chmod(0o755)
    result, (said,) = recorded(lambda: subprocess.run([command], check=True, capture_output=True, text=True).stdout)
    assert result == "1\n"
    assert "(torchrun)" in said


def test_of_a_program_that_is_no_python_nothing_is_said(tmp_path):
    _, said = recorded(lambda: subprocess.run(["git", "--version"], check=True, capture_output=True))
    assert said == []


def test_a_program_that_there_is_not_fails_as_ever():
    def start():
        with pytest.raises(FileNotFoundError):
            subprocess.run(["no-such-python"], check=True)

    assert recorded(start) == (None, [])


def test_a_recorded_script_says_it_too(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import subprocess, sys, transformers\nsubprocess.run([sys.executable, '-c', 'print(1)'], check=True)\n",
        encoding="utf-8",
    )
    process = run_recorded(script, tmp_path / "run.json.gz")
    assert process.stdout == "1\n"
    assert "1 other process" in split(process.stderr)[1]
    assert len(of_processes(Recording.load(tmp_path / "run.json.gz"))) == 1
