"""`python -m helpers doctor`: every answer, its advice, and the exit status."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from helpers import doctor
from helpers.doctor import FAIL, OK, WARN, Finding
from helpers.project import ROOT


def by_subject(found) -> dict[str, Finding]:
    return {finding.subject: finding for finding in found}


def test_a_sound_environment_exits_0_and_names_no_home(demo_checkpoint):
    command = [sys.executable, "-m", "helpers", "doctor"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[-1] == "Ready: `python -m helpers lab` opens the first notebook."
    assert not [line for line in lines if line.startswith(FAIL)]
    assert str(Path.home()) not in result.stdout
    subjects = {line.split()[1] for line in lines[:-1]}
    assert {"python", "helpers", "transformers", "torch", "cpu", "memory", "disk", "checkpoint"} <= subjects
    assert {"ipywidgets", "anywidget"} <= subjects


def test_without_the_notebooks_the_first_step_is_a_recording(tmp_path):
    assert doctor.first_step(tmp_path).startswith("`python -m helpers record")


def test_one_failure_makes_the_exit_status_1(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([Finding(FAIL, "gguf", "not installed", "do it")]),))
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "FAIL  gguf            not installed -> do it"


def test_a_warning_alone_leaves_the_exit_status_0(monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([Finding(WARN, "memory", "little", "close")]),))
    assert doctor.run() == 0


def test_a_check_that_breaks_is_reported_and_the_others_still_run(monkeypatch):
    def check_broken():
        raise OSError("no such device")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (check_broken, doctor.check_python))
    found = by_subject(doctor.findings())
    assert found["broken"].status == FAIL
    assert "OSError: no such device" in found["broken"].text
    assert found["python"].status == OK


@pytest.mark.parametrize(
    ("installed", "status", "nearest"),
    [
        ("4.46.3", WARN, "4.47.1"),
        ("4.47.1", OK, None),
        ("5.0.0", OK, None),
        ("5.23.0", OK, None),
        ("5.24.0", WARN, "5.23.0"),
    ],
)
def test_transformers_outside_the_tested_range_is_a_warning_with_the_nearest(installed, status, nearest):
    finding = doctor.transformers_finding(installed)
    assert finding.status == status
    assert installed in finding.text
    assert nearest is None or nearest in finding.text


def test_an_unsupported_python_fails(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 14, 0))
    (finding,) = doctor.check_python()
    assert finding.status == FAIL
    assert finding.advice == "use Python 3.11, 3.12 or 3.13"


def test_a_missing_and_an_outdated_package_are_named(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "gguf":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "torch" else real(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    found = by_subject(doctor.check_packages())
    assert (found["gguf"].status, found["torch"].status) == (FAIL, FAIL)
    assert found["gguf"].text.startswith("not installed (needed: >=")
    assert found["torch"].text.startswith("0.1 is not >=")
    assert found["gguf"].advice == doctor.INSTALL


def test_this_package_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "DISTRIBUTION", "no-such-distribution")
    (finding,) = doctor.check_packages()
    assert finding.status == FAIL
    assert finding.advice == doctor.INSTALL


def test_a_library_that_cannot_be_imported_fails_with_its_reason(monkeypatch):
    def broken(name):
        raise OSError(f"{name}: libcudart.so: cannot open\nshared object")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    (device,) = doctor.check_devices()
    assert device.status == FAIL
    assert device.text == "torch cannot be imported: OSError: torch: libcudart.so: cannot open shared object"
    (transformers,) = doctor.check_transformers()
    assert transformers.status == FAIL
    assert {finding.status for finding in doctor.check_widgets()} == {FAIL}


def test_the_chosen_device_and_dtype_are_shown(monkeypatch):
    monkeypatch.setenv("TRACE_DEVICE", "cpu")
    monkeypatch.setenv("TRACE_DTYPE", "bfloat16")
    assert by_subject(doctor.check_devices())["chosen device"].text == "cpu in bfloat16"


def test_cuda_without_cuda_fails(monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    monkeypatch.setenv("TRACE_DEVICE", "cuda")
    finding = by_subject(doctor.check_devices())["chosen device"]
    assert finding.status == FAIL
    assert "TRACE_DEVICE='cuda'" in finding.text


def test_little_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(doctor, "MEMORY_NEEDED", 1e18)
    (finding,) = doctor.check_memory()
    assert finding.status == WARN
    assert finding.advice.startswith("close other programs")


def test_little_disk_is_a_warning_that_names_the_cache(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path / "not" / "made" / "yet"))
    (finding,) = doctor.check_disk()
    assert finding.status == WARN
    assert "TRACE_CACHE" in finding.advice
    assert not (tmp_path / "not").exists()


def test_a_checkpoint_that_is_not_built_is_a_warning_and_is_not_built(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path))
    (finding,) = doctor.check_model()
    assert (finding.status, finding.advice) == (WARN, "python -m helpers checkpoint")
    assert list(tmp_path.iterdir()) == []


def test_an_altered_checkpoint_fails(monkeypatch, tmp_path, demo_checkpoint):
    copy = tmp_path / "checkpoints" / demo_checkpoint.name
    copy.mkdir(parents=True)
    for file in demo_checkpoint.iterdir():
        shutil.copyfile(file, copy / file.name)
    shard = sorted(copy.glob("*.safetensors"))[0]
    with open(shard, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\x55")
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path))
    (finding,) = doctor.check_model()
    assert finding.status == FAIL
    assert shard.name in finding.text
    assert finding.advice == "python -m helpers checkpoint --rebuild"


def test_a_model_of_the_readers_that_does_not_exist_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACE_MODEL", str(tmp_path / "none"))
    finding = by_subject(doctor.check_model())["TRACE_MODEL"]
    assert finding.status == FAIL
    assert "none" in finding.text


def test_widgets_without_their_extension_fail(monkeypatch, tmp_path):
    monkeypatch.setattr("jupyter_core.paths.jupyter_path", lambda *folders: [str(tmp_path)])
    found = list(doctor.check_widgets())
    assert [finding.status for finding in found] == [FAIL, FAIL]
    assert "cannot show its widgets" in found[0].text


def test_home_is_shortened():
    line = str(Finding(OK, "disk", f"{Path.home() / 'x'}"))
    assert line.endswith("~" + os.sep + "x")
