"""`make test-gpu` where there is no GPU: it says so, and runs nothing."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import torch

from tests import on_gpu


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(Path(on_gpu.__file__)), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_run_and_it_says_why():
    done = run()
    assert done.returncode == 2
    assert "finds no CUDA device" in done.stderr
    assert "nothing was run" in done.stderr
    assert done.stdout == ""


def test_a_folder_of_wheels_that_is_not_there_is_refused(tmp_path):
    done = run("--wheels", str(tmp_path / "none"))
    assert done.returncode == 2
    assert "there is no such folder" in done.stderr


def test_torch_and_transformers_are_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(on_gpu, "FOLDER", tmp_path)
    told = on_gpu._missing(Path(sys.executable), tmp_path)
    assert told[:3] == ["--no-index", "--find-links", str(tmp_path)]
    assert not {"torch", "transformers"} & {requirement.partition(">")[0] for requirement in told}
    pins = (tmp_path / "constraints.txt").read_text().split()
    assert [pin.partition("==")[0] for pin in pins] == ["torch", "transformers"]
    assert pins[0] == f"torch=={torch.__version__}"


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What main() would run on a machine with a GPU whose demo checkpoint is missing: (command, environment)."""
    ran = []

    def note(command, *, cwd=None, env=None):
        ran.append((list(map(str, command)), env))
        return subprocess.CompletedProcess(command, 0)

    answers = {on_gpu.HAS_CUDA: "", on_gpu._DEMO_IS_BUILT: "False", on_gpu._TINY: str(tmp_path / "tiny")}
    monkeypatch.setattr(on_gpu, "_output", lambda *command, cwd=None: answers[command[-1]])
    monkeypatch.setattr(on_gpu, "_environment", lambda: Path("its-python"))
    monkeypatch.setattr(on_gpu, "_missing", lambda python, wheels: ["--find-links", str(wheels)])
    monkeypatch.setattr(on_gpu.subprocess, "run", note)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRACE_MODEL", raising=False)
    return ran


def test_offline_it_runs_the_gpu_tests_and_every_notebook_on_the_tiny_model(commands, tmp_path):
    assert on_gpu.main(["--wheels", str(tmp_path)]) == 0
    (install, _), (tests, environment), (notebooks, notebooks_environment) = commands
    assert install[-2:] == ["--find-links", str(tmp_path)]
    files = [Path(argument).name for argument in tests if argument.endswith(".py")]
    assert {"test_gpu.py", "test_devices.py"} <= set(files)
    assert not {"test_player_browser.py", "test_on_gpu.py", "test_workflows.py"} & set(files)
    assert tests[:7] == ["its-python", "-m", "pytest", "-q", "-rs", "-m", "gpu"]
    assert notebooks[1:] == ["-m", "helpers.notebooks", "validate", "--lax"]
    for one in (environment, notebooks_environment):
        assert one["HF_HUB_OFFLINE"] == "1"
        assert one["TRACE_MODEL"] == str(tmp_path / "tiny")
        assert one["PYTHONPATH"] == str(on_gpu.ROOT)


@pytest.mark.slow
def test_every_test_that_needs_a_gpu_is_in_the_files_that_it_runs():
    """Collected as pytest does it, from all files."""
    collect = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(collect, cwd=on_gpu.ROOT, capture_output=True, text=True, timeout=300)
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert collected == {f"tests/{Path(path).name}" for path in on_gpu.gpu_tests()}, done.stdout


def test_the_benchmark_is_run_in_the_same_environment_in_place_of_the_tests(commands, tmp_path):
    assert on_gpu.main(["--wheels", str(tmp_path), "--bench"]) == 0
    _, (benchmark, environment) = commands
    assert benchmark == ["its-python", str(on_gpu.ROOT / "benchmarks" / "bench_gpu.py")]
    assert environment["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("status", [0, 1])
def test_a_failure_of_any_is_its_status(commands, monkeypatch, status):
    results = iter([0, status, 0])
    monkeypatch.setattr(
        on_gpu.subprocess,
        "run",
        lambda command, **keywords: subprocess.CompletedProcess(command, next(results)),
    )
    assert on_gpu.main([]) == status


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_benchmark_without_a_gpu_measures_nothing_and_says_so():
    benchmark = on_gpu.ROOT / "benchmarks" / "bench_gpu.py"
    done = subprocess.run([sys.executable, str(benchmark)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "No CUDA device" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_the_packages_of_an_environment_are_seen_too_and_another_python_gets_its_own(tmp_path):
    given = tmp_path / "given"
    venv.create(given)
    packages = sysconfig.get_path("purelib", scheme="venv", vars={"base": str(given), "platbase": str(given)})
    Path(packages, "only_there.py").write_text("answer = 42\n")
    made = tmp_path / "made"
    make = f"from pathlib import Path; from tests import on_gpu; on_gpu.FOLDER = Path({str(made)!r}); " + (
        "print(on_gpu._environment())"
    )

    def ran(*command) -> str:
        environment = {**os.environ, "PYTHONPATH": str(on_gpu.ROOT)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    python = ran(given / "bin" / "python", "-c", make)
    assert ran(python, "-c", "import only_there; print(only_there.answer)") == "42"
    (made / "kept").touch()
    assert ran(given / "bin" / "python", "-c", make) == python
    assert (made / "kept").exists()
    assert ran(sys.executable, "-c", make) == python
    assert not (made / "kept").exists()
    assert ran(python, "-c", "import torch; print(torch.__version__)") == torch.__version__
