"""Programs that load and generate with a tiny model, run as processes of their own, for tests of `record`."""

import os
import subprocess
import sys

from helpers.project import ROOT

GENERATE = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
def generate():
    return model.generate(**tokenizer("hello", return_tensors="pt"), max_new_tokens=6, min_new_tokens=6)
"""
NEW_TOKENS = 6


def arguments_of(*arguments) -> dict:
    """What subprocess takes to run Python with these arguments, in this checkout."""
    return {
        "args": [sys.executable, *map(str, arguments)],
        "cwd": ROOT,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "env": {**os.environ, "PYTHONIOENCODING": "utf-8"},
    }


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(**arguments_of(*arguments), timeout=120)


def run_recorded(path, output, *arguments, options=()) -> subprocess.CompletedProcess:
    return run("-m", "helpers", "record", *options, "-o", output, path, *arguments)


def split(stderr: str) -> tuple[str, str]:
    """(what the script wrote, our line)."""
    *lines, last = stderr.splitlines(keepends=True)
    return "".join(lines), last
