"""The package as pip installs it: every library that it imports is required, and its archives hold what they should."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pygments.styles import get_style_by_name

from helpers.project import ROOT
from tests.test_setup import PYPROJECT

REQUIRED = {canonicalize_name(Requirement(text).name) for text in PYPROJECT["dependencies"]}
COME_WITH = {
    "IPython": "ipykernel",
    "PIL": "matplotlib",
    "httpx": "huggingface-hub",
    "jupyter_client": "ipykernel",
    "jupyter_core": "ipykernel",
    "pygments": "nbconvert",
    "traitlets": "ipykernel",
}
"""What is imported, and the required package that cannot do without it."""
NOT_IMPORTED = {"accessible-pygments", "jupyterlab"}
"""Styles that Pygments finds by name; a program that is started."""


def libraries(path: Path) -> Iterator[str]:
    """The top names of what the module at `path` imports from elsewhere than this package and the standard library."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        yield from {name.partition(".")[0] for name in names} - {"helpers", *sys.stdlib_module_names}


def imported() -> set[str]:
    return {name for path in (ROOT / "helpers").rglob("*.py") for name in libraries(path)}


def test_every_library_that_the_package_imports_is_required():
    assert {canonicalize_name(COME_WITH.get(name, name)) for name in imported()} <= REQUIRED


def test_every_required_library_is_used():
    assert {canonicalize_name(name) for name in imported()} | NOT_IMPORTED >= REQUIRED


def test_the_colours_of_exported_code_are_those_of_a_required_package():
    for name in ("light", "dark"):
        style = get_style_by_name(f"a11y-high-contrast-{name}")
        assert style.__module__.startswith("a11y_pygments")


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> tuple[Path, Path]:
    """The source archive and the wheel, built by what pyproject.toml names from a copy of the tracked files."""
    # not imported here, only in the process that builds: after distutils, which a test may have imported, it fails
    if Version(metadata.version("setuptools")) < Version("77"):
        pytest.skip("setuptools is older than 77, which pyproject.toml asks for to build")
    folder = tmp_path_factory.mktemp("package")
    for name in tracked():
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "copy" / name)
    source = "from setuptools import build_meta as b; b.build_sdist('..'); b.build_wheel('..')"
    subprocess.run([sys.executable, "-c", source], cwd=folder / "copy", check=True, capture_output=True, timeout=300)
    (archive,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return archive, wheel


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def package_files() -> set[str]:
    return {name for name in tracked() if name.startswith("helpers/") and not name.endswith(".md")}


@pytest.mark.slow
def test_the_wheel_holds_the_whole_package_and_nothing_else(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == package_files()


@pytest.mark.slow
def test_the_source_archive_holds_the_package_and_no_test(archives):
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() <= names
    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml"} <= names
    assert not [name for name in names if name.startswith("tests")]


@pytest.mark.slow
def test_advice_without_a_checkout_names_no_file_of_one(archives, tmp_path):
    with zipfile.ZipFile(archives[1]) as wheel:
        wheel.extractall(tmp_path)
    asked = [sys.executable, "-c", "from helpers import project; print(project.__file__, project.INSTALL, sep='\\n')"]
    answer = subprocess.run(
        asked, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, check=True, capture_output=True, text=True
    )
    file, advice = answer.stdout.splitlines()
    assert Path(file) == tmp_path / "helpers" / "project.py"
    assert advice == "python -m pip install <the checkout or wheel of transformers-call-path>"


ALONE = """
import importlib, pkgutil, sys, helpers
found = (module.name for module in pkgutil.walk_packages(helpers.__path__, "helpers."))
names = [name for name in found if ".rank_scripts." not in name]  # programs, not modules
for name in names:
    for loaded in [one for one in sys.modules if one.partition(".")[0] == "helpers"]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except Exception as error:
        print(name, repr(error))
print(len(names))
"""


def test_each_module_can_be_imported_first():
    answer = subprocess.run([sys.executable, "-c", ALONE], cwd=ROOT, check=True, capture_output=True, text=True)
    *failed, count = answer.stdout.splitlines()
    assert failed == []
    assert int(count) > 100
