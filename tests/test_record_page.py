"""`python -m helpers record SCRIPT.py --html PAGE`: the run of a script as a page to step through."""

import base64
import gzip
import json
import os
import re
import subprocess
import sys

import pytest

from helpers.project import ROOT
from helpers.recording.recording import Recording
from tests.site_tools import RAW

SCRIPT = """
import sys
from transformers.models.llama import LlamaConfig, LlamaForCausalLM
sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
LlamaForCausalLM(LlamaConfig(**sizes))
print(sys.argv[1:])
"""


@pytest.fixture
def record(tmp_path):
    """A function that records the script with these arguments; gives the finished process."""
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "helpers", "record", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=300
        )

    return run


def test_a_page_alone(record, tmp_path):
    done = record("script.py", "one", "--html", "run.html")
    assert (done.returncode, done.stdout.strip()) == (0, "['one']")
    assert "events recorded in" in done.stderr
    assert "run.html" in done.stderr
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "LlamaForCausalLM.__init__" in page  # in the table for readers without scripts
    foot = page.partition("</main>")[2]
    assert re.search(r"<footer><p>Recorded with transformers \d\S+, torch \d\S+, on \w.*; nothing .* is live", foot)


def test_a_page_beside_the_recording_before_or_behind_its_name(record, tmp_path):
    behind = record("script.py", "one", "-o", "a.json.gz", "--html", "a.html")
    before = record("script.py", "one", "--html", "b.html", "-o", "b.json.gz")
    for name, done in (("a", behind), ("b", before)):
        assert (done.returncode, done.stdout.strip()) == (0, "['one']"), done.stderr
        assert len(Recording.load(tmp_path / f"{name}.json.gz")) > 0
        assert (tmp_path / f"{name}.html").stat().st_size > 100_000


def test_an_option_of_the_scripts_own_with_that_name_stays_its_own(record, tmp_path):
    done = record("-o", "run.json.gz", "script.py", "--html", "mine.html")
    assert (done.returncode, done.stdout.strip()) == (0, "['--html', 'mine.html']")
    assert not (tmp_path / "mine.html").exists()


@pytest.mark.parametrize(
    ("page", "message"),
    [("run.txt", "the name of a page ends in .html"), ("no/run.html", "there is no folder")],
)
def test_a_place_for_no_page_is_refused_before_the_script_runs(record, page, message):
    done = record("script.py", "--html", page)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr


@pytest.mark.browser
def test_the_page_holds_the_recording_that_is_written_beside_it_and_works_from_disk(record, tmp_path, open_offline):
    record("script.py", "one", "-o", "run.json.gz", "--html", "run.html")
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    state = json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)[1])
    inside, beside = base64.b64decode(state["recording_file"]), (tmp_path / "run.json.gz").read_bytes()
    assert json.loads(gzip.decompress(inside)) == json.loads(gzip.decompress(beside))
    page = open_offline(tmp_path / "run.html", tmp_path / "run.html")
    counter = page.locator(".counter")

    def event() -> str:
        return re.search(r"[\d,]+", counter.inner_text())[0]

    assert event() == "0"
    page.locator(".source-lines").first.focus()
    page.keyboard.press("End")
    assert event() == f"{len(Recording.load(tmp_path / 'run.json.gz')) - 1:,}"
    assert RAW.findall(page.inner_text("main")) == page.requests == page.problems == []
