"""Binder and Colab, as far as they can be tested without them: pins that agree, and a set-up cell that sets up."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

from helpers import notebooks
from helpers.project import ROOT
from helpers.site import notebook_pages
from tests.site_tools import SETTINGS_OF_THE_READER
from tests.test_setup import PYPROJECT, pins

BINDER = ROOT / ".binder"
REPOSITORY = "https://github.com/someone/transformers-call-path"


def binder_dependencies() -> tuple[list[str], dict[str, str]]:
    environment = yaml.safe_load((BINDER / "environment.yml").read_text(encoding="utf-8"))
    *from_conda, from_pip = environment["dependencies"]
    requirements = [Requirement(text) for text in from_pip["pip"]]
    return from_conda, {one.name: next(iter(one.specifier)).version for one in requirements}


def test_binder_has_the_pins_of_the_requirements_and_no_test_tools():
    from_conda, from_pip = binder_dependencies()
    needed = {Requirement(text).name for text in PYPROJECT["dependencies"]} - {"torch"}
    assert set(from_pip) == needed
    assert from_pip == {name: version for name, version in pins_by_name().items() if name in needed}
    assert "pytorch-cpu>=2.4" in from_conda


def pins_by_name() -> dict[str, str]:
    """The pins under the names that pyproject.toml uses."""
    return {
        Requirement(text).name: pins()[Requirement(text).name.replace("_", "-")] for text in PYPROJECT["dependencies"]
    }


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps no executable bit")
def test_binder_builds_the_checkpoint_into_its_image():
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    assert "python -m helpers checkpoint" in script.read_text(encoding="utf-8")


def test_launch_links_are_hidden_while_the_repository_is_unset_or_is_not_on_github():
    assert notebook_pages.launch_links("04_loading_weights", None) == []
    assert notebook_pages.launch_links("04_loading_weights", "https://example.org/x") == []


def test_launch_links_name_the_notebook_in_the_repository():
    (_, binder), (_, colab) = notebook_pages.launch_links("04_loading_weights", f"{REPOSITORY}.git")
    place = "someone/transformers-call-path"
    assert (
        binder == f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab%2Ftree%2Fnotebooks%2F04_loading_weights.ipynb"
    )
    assert colab == f"https://colab.research.google.com/github/{place}/blob/gh-pages/colab/04_loading_weights.ipynb"


def test_the_notebook_for_colab_begins_with_the_set_up_and_holds_no_outputs():
    committed = nbformat.read(notebooks.paths()[0], as_version=4)
    copy = notebook_pages.for_colab(committed, REPOSITORY)
    nbformat.validate(copy)
    assert copy.cells[0].source == notebook_pages.set_up_cell(REPOSITORY)
    assert [cell.source for cell in copy.cells[1:]] == [cell.source for cell in committed.cells]
    assert not any(cell.get("outputs") for cell in copy.cells)
    assert any(cell.get("outputs") for cell in committed.cells), "the committed one is as it was"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="the hosted machines have Linux")
def test_the_set_up_cell_makes_a_fresh_machine_ready(tmp_path):
    """In an environment of its own, which like Colab's has the libraries already, and not this project; the demo
    checkpoint is built there too."""
    clone = tmp_path / "published" / "transformers-call-path"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), str(clone)], check=True)
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    (library,) = environment.glob("lib/python*/site-packages")
    installed = Path(sysconfig.get_path("purelib"))
    names = [path for path in installed.iterdir() if not path.name.startswith("__editable__") and path.name != "pip"]
    for path in names:
        if not (library / path.name).exists() and not path.name.startswith("transformers_call_path"):
            (library / path.name).symlink_to(path)
    machine = tmp_path / "machine"
    machine.mkdir()
    cell = notebook_pages.set_up_cell(clone.as_uri())
    then = 'import helpers, os; print("ready", helpers.__file__, os.getcwd())'
    variables = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", *SETTINGS_OF_THE_READER)
    }
    variables["TRACE_CACHE"] = str(tmp_path / "cache")
    result = subprocess.run(
        [str(environment / "bin" / "python"), "-c", f"{cell}\n{then}"],
        cwd=machine, env=variables, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    ready = result.stdout.strip().splitlines()[-1].split()
    assert ready[0] == "ready"
    assert Path(ready[1]).is_relative_to(machine / "transformers-call-path")
    assert Path(ready[2]) == machine / "transformers-call-path" / "notebooks"
    assert str(sys.prefix) not in ready[1]
    assert list((tmp_path / "cache").rglob("*.safetensors"))
