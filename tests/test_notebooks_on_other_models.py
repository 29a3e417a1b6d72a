"""Notebooks on other models: three on Qwen2, Mistral and GPT-2, all on the tiny random Llama with no network."""

import os
import subprocess
import sys

import pytest

from helpers import notebooks
from helpers.project import ROOT
from tests import tiny_architectures

ANY_MODEL = ("00_the_whole_call", "06_generate", "08_sampling")
"""They run on any causal language model."""
NO_NETWORK = """
import socket

_connect = socket.socket.connect


def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"no network in this test: {address}")
    return _connect(self, address)


socket.socket.connect = connect
"""
"""As sitecustomize.py: no process that Python starts with it gets beyond this machine."""


def run(name: str, checkpoint, **settings: str) -> subprocess.CompletedProcess:
    """Every cell and check of a notebook, on this checkpoint."""
    path = ROOT / notebooks.FOLDER / f"{name}.ipynb"
    environment = {**os.environ, "TRACE_MODEL": str(checkpoint), "TRACE_DEVICE": "cpu", **settings}
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-q", "-x", "-p", "no:cacheprovider", str(path)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", tiny_architectures.ARCHITECTURES)
@pytest.mark.parametrize("name", ANY_MODEL)
def test_every_cell_and_check_holds(name, model_type, tiny_checkpoint, tmp_path):
    checkpoint = tiny_architectures.write(model_type, tiny_checkpoint, tmp_path / model_type)
    done = run(name, checkpoint)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.stem for path in notebooks.paths()])
def test_on_the_tiny_model_without_a_network_and_without_the_demo_checkpoint(name, tiny_checkpoint, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    settings = {
        "PYTHONPATH": str(tmp_path),
        "HF_HUB_OFFLINE": "1",
        "TRACE_CACHE": str(tmp_path / "cache"),  # empty: the demo checkpoint is not in it
        "TRACE_WHEEL": "",
    }
    done = run(name, tiny_checkpoint, **settings)
    assert done.returncode == 0, done.stdout[-3000:]
