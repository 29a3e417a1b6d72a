"""`python -m helpers record -m MODULE`: it runs as `python -m MODULE` does, and the recording is there."""

import subprocess
import sys

import pytest
from script_runs import GENERATE, NEW_TOKENS, arguments_of, run_recorded, split

from helpers import __main__ as command_line
from helpers.project import ROOT
from helpers.recording.recording import Recording


@pytest.fixture
def output(tmp_path):
    return tmp_path / "run.json.gz"


@pytest.fixture
def package(tmp_path, tiny_checkpoint):
    """A folder with a package that can be run, and a module that fails in it."""
    folder = tmp_path / "work" / "own_package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "names.py").write_text("FIRST = 'first'")
    start = f"CHECKPOINT = {str(tiny_checkpoint)!r}{GENERATE}"
    told = (
        "from .names import FIRST\n"
        "print(FIRST, sys.argv[1:], sys.argv[0] == __file__, __name__, __package__, __spec__.name, sys.path[0])\n"
        "print(sys.modules['__main__'].generate is generate)\n"
    )
    (folder / "__main__.py").write_text(f"{start}{told}generate()\n")
    (folder / "fails.py").write_text("raise ValueError('on purpose')")
    return folder


def run_there(package, *arguments) -> subprocess.CompletedProcess:
    there = arguments_of(*arguments)
    there["env"]["PYTHONPATH"] = str(ROOT)
    return subprocess.run(**{**there, "cwd": package.parent}, timeout=120)


def test_a_package_is_run_as_python_m_runs_it(package, output):
    own = ("-m", "own_package", "-o", "its own", "--zoom")
    plain = run_there(package, *own)
    recorded = run_there(package, "-m", "helpers", "record", "-o", output, *own)
    assert (recorded.returncode, recorded.stdout) == (plain.returncode, plain.stdout) == (0, plain.stdout)
    assert plain.stdout.startswith("first ['-o', 'its own', '--zoom'] True __main__ own_package own_package.__main__")
    assert len(Recording.load(output).steps()) == NEW_TOKENS


@pytest.mark.parametrize("module", ["own_package.fails", "own_package.no_such", "own_package.names.deeper"])
def test_a_module_that_fails_ends_as_it_would(module, package, output):
    plain = run_there(package, "-m", module, "3")
    recorded = run_there(package, "-m", "helpers", "record", "-m", module, "3", "-o", output)
    text, _ = split(recorded.stderr)
    assert (recorded.returncode, recorded.stdout) == (plain.returncode, plain.stdout) == (1, "")
    assert text.splitlines()[-1] == plain.stderr.splitlines()[-1]
    assert "runpy" not in text
    assert str(ROOT) not in text.replace(sys.executable, "")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["-m", "no_such_package.part"], "Python finds no module no_such_package"),
        (["-m", "own-package"], "Python finds no module own-package"),
        (["-m", "helpers.doctor"], "is a part of what records"),
    ],
)
def test_a_module_that_there_is_not_is_refused_before_anything_runs(given, told, output, capsys):
    assert command_line.main(["record", "-o", str(output), *given]) == 2
    assert told in capsys.readouterr().err
    assert not output.exists()


def test_m_without_a_module_is_refused(output, capsys):
    with pytest.raises(SystemExit):
        command_line.main(["record", "-o", str(output), "-m"])
    assert "-m: which module?" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="the time of other processes is not told there")
def test_a_launcher_is_told_to_be_recorded_inside(tmp_path, output):
    script = tmp_path / "launcher.py"
    script.write_text(
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'])", encoding="utf-8"
    )
    line = run_recorded(script, output).stderr
    assert "was not written: transformers was not imported in this process" in line
    assert "accelerate launch … -m helpers record SCRIPT.py" in line
