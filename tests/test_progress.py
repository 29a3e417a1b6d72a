"""Progress of a long recorded generation: shown where a person sees it, and never in the program's way."""

import contextlib
import io
import sys
import threading
import types

import nbformat
import pytest
from nbclient import NotebookClient
from transformers import AutoModelForCausalLM, AutoTokenizer, TextStreamer

from helpers import notebooks, progress, record

NEW_TOKENS = 6


@pytest.fixture(scope="module")
def model_and_tokenizer(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint), AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture
def generate(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    inputs = tokenizer("hello", return_tensors="pt")
    return lambda **settings: model.generate(**inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, **settings)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal to use as stderr (in the test: pytest sets its own between fixture and test); lines appear at once."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(progress, "DELAY_SECONDS", 1e-9)
    monkeypatch.setattr(progress, "INTERVAL_SECONDS", 0)
    monkeypatch.delenv("TQDM_DISABLE")
    return Terminal()


def test_in_a_terminal_the_tokens_are_counted_and_the_line_is_gone_at_the_end(terminal, generate):
    threads = threading.active_count()
    with contextlib.redirect_stderr(terminal), record(steps=2) as recording:
        generate()
    frames = terminal.getvalue().split("\r")
    for count in range(1, NEW_TOKENS + 1):
        assert any(frame.startswith(f"recorded: {count} tokens [") for frame in frames)
    assert frames[-1] == frames[-2].strip() == ""
    assert threading.active_count() <= threads  # one of an earlier test may have ended meanwhile
    assert not [name for name in recording.to_frame()["function"] if "tqdm" in name.lower()]


def test_each_generation_of_a_recording_has_a_line_of_its_own(terminal, generate, monkeypatch):
    told = []
    for name in ("begin", "end"):
        monkeypatch.setattr(progress.GenerationProgress, name, lambda _, name=name: told.append(name))
    with contextlib.redirect_stderr(terminal), record():
        generate()
        generate()
    assert told == ["begin", "end"] * 2


def test_of_a_short_generation_nothing_is_shown(terminal, generate, monkeypatch):
    monkeypatch.setattr(progress, "DELAY_SECONDS", 600)
    with contextlib.redirect_stderr(terminal), record():
        generate()
    assert terminal.getvalue() == ""


def test_it_is_off_when_told_so_and_beside_a_streamer(terminal, generate, model_and_tokenizer, monkeypatch):
    with contextlib.redirect_stderr(terminal), record(progress=False):
        generate()
    with contextlib.redirect_stderr(terminal), record():
        generate(streamer=TextStreamer(model_and_tokenizer[1]))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with contextlib.redirect_stderr(terminal), record():
        generate()
    assert terminal.getvalue() == ""


def test_a_closed_stderr_does_not_reach_the_program(terminal, generate):
    tokens = generate()
    with contextlib.redirect_stderr(terminal):
        with record():
            terminal.close()
            assert generate().equal(tokens)
        with record():
            assert generate().equal(tokens)


def test_who_watches(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not progress.is_watched()
    kernel = types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(kernel=None))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    assert progress.is_watched()
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert not progress.is_watched()
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    monkeypatch.setattr(sys, "stderr", None)
    assert not progress.is_watched()


def test_a_step_that_gives_several_tokens_counts_them():
    counted = []
    line = progress.GenerationProgress()
    line._bar = type("Bar", (), {"update": staticmethod(counted.append)})()
    line.tokens(3)
    assert counted == [3]


WATCHED_CELL = """
from helpers import checkpoints, progress, record
progress.DELAY_SECONDS, progress.INTERVAL_SECONDS = 1e-9, 0
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(checkpoints.tiny())
with record():
    print("before")
    model.generate(max_new_tokens=3, min_new_tokens=3, pad_token_id=0)
    print("after")
"""


def test_in_a_notebook_the_line_is_an_output_of_its_own_and_leaves_nothing(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE")
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    shown = []

    class Client(NotebookClient):
        def process_message(self, message, *where):
            shown.append(message["content"].get("data", {}).get("text/plain", ""))
            return super().process_message(message, *where)

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WATCHED_CELL)])
    Client(notebook, kernel_manager_class=notebooks._kernels_of_this_python()).execute()
    for count in (1, 2, 3):
        assert any(line.startswith(f"recorded: {count} tokens [") for line in shown)
    text = [output for output in notebook.cells[0].outputs if output.output_type == "stream"]
    assert [(output.name, output.text) for output in text] == [("stdout", "before\n"), ("stdout", "after\n")]
    left = [output.data for output in notebook.cells[0].outputs if output.output_type != "stream"]
    assert left == [{"text/html": "", "text/plain": ""}]
    nbformat.validate(notebook)
