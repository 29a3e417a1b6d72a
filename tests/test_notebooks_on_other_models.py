"""Notebooks on Qwen2, Mistral and GPT-2; on the tiny random Llama all of them run in test_exercise_solutions."""

import os
import subprocess
import sys

import pytest

from helpers import notebooks
from helpers.project import ROOT
from tests import tiny_architectures

FARTHEST = "gpt2"
"""Of these the one that has least in common with Llama: it runs every notebook that runs on any causal model."""
CASES = [("06_generate", model_type) for model_type in tiny_architectures.ARCHITECTURES]
CASES += [(name, FARTHEST) for name in ("00_the_whole_call", "08_sampling")]


def run(name: str, checkpoint) -> subprocess.CompletedProcess:
    """Every cell and check of a notebook, on this checkpoint."""
    path = ROOT / notebooks.FOLDER / f"{name}.ipynb"
    environment = {**os.environ, "TRACE_MODEL": str(checkpoint), "TRACE_DEVICE": "cpu"}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-x", "-p", "no:cacheprovider", str(path)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "model_type"), CASES)
def test_every_cell_and_check_holds(name, model_type, tiny_checkpoint, tmp_path):
    checkpoint = tiny_architectures.write(model_type, tiny_checkpoint, tmp_path / model_type)
    done = run(name, checkpoint)
    assert done.returncode == 0, done.stdout[-3000:]
