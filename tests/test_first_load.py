"""The first load of a process imports much of the libraries: none of that is in its recording."""

import json
import subprocess
import sys

import pytest

from helpers.project import ROOT
from tests import tiny_architectures

SCRIPT = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
from helpers import record

def load():
    with record("calls") as recording:
        before = set(sys.modules)
        AutoModelForCausalLM.from_pretrained(sys.argv[1])
        AutoTokenizer.from_pretrained(sys.argv[1])
    names = [f"{one.module}:{one.qualname}" for one in recording.functions]
    events = recording.events
    return {
        "functions": [names[index] for index in events["function"].tolist()],
        "parents": events["parent"].tolist(),
        "imported": sorted(set(sys.modules) - before),
    }

print(json.dumps([load(), load()]))
"""
ONCE = "transformers.conversion_mapping:_build_checkpoint_conversion_mapping"
"""A table that 5.x makes at the first load and keeps: a call of the load, by no means an import."""


@pytest.fixture(scope="module")
def loads(tiny_checkpoint, tmp_path_factory) -> list[dict]:
    """A first load and the next one: the functions of their events, and the modules that each imported.

    Of GPT-2: Llama's modules are imported before the recording begins, to find the landmarks in them.
    """
    checkpoint = tiny_architectures.write("gpt2", tiny_checkpoint, tmp_path_factory.mktemp("gpt2"))
    command = [sys.executable, "-c", SCRIPT, str(checkpoint)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def without_what_runs_once(load: dict) -> list[str]:
    """The functions of the events that are not in the making of that table."""
    inside: list[bool] = []
    for function, parent in zip(load["functions"], load["parents"], strict=True):
        inside.append(function == ONCE or (parent >= 0 and inside[parent]))
    return [function for function, within in zip(load["functions"], inside, strict=True) if not within]


def test_a_first_load_has_about_as_many_events_as_the_next(loads):
    first, second = loads
    assert "transformers.models.gpt2.modeling_gpt2" in first["imported"]
    assert second["imported"] == []
    assert len(second["functions"]) > 500
    assert abs(len(without_what_runs_once(first)) - len(second["functions"])) <= 0.1 * len(second["functions"])


def test_next_to_nothing_is_called_in_a_first_load_alone(loads):
    first, second = loads
    only = set(without_what_runs_once(first)) - set(second["functions"])
    assert len(only) <= 20, sorted(only)
