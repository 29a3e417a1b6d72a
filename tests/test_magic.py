"""`%%record` in an IPython shell: the cell does and shows what it does without it."""

import gc
import re
import sys

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import magic
from helpers.recorder_settings import DEFAULT_STEPS

NEW_TOKENS = 6


@pytest.fixture(scope="module")
def model_and_tokenizer(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint), AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture
def shell(model_and_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    hook = sys.displayhook, sys.excepthook
    shell = InteractiveShell(colors="nocolor")
    model, tokenizer = model_and_tokenizer

    def generate():
        inputs = tokenizer("hello", return_tensors="pt")
        return model.generate(**inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)

    shell.user_ns["generate"] = generate
    assert shell.run_cell("%load_ext helpers").success
    yield shell
    shell.history_manager.end_session()
    sys.displayhook, sys.excepthook = hook
    gc.collect()


def run(shell, text: str):
    return shell.run_cell(text, store_history=True)


def test_the_cell_runs_in_the_readers_namespace_recorded(shell):
    assert run(shell, "%%record\ntokens = generate()\nmore = tokens.shape[1]").success
    assert shell.user_ns["more"] == shell.user_ns["tokens"].shape[1]
    recording = shell.user_ns["recording"]
    assert list(recording.steps()["step"]) == list(range(NEW_TOKENS))
    assert recording.environment["steps_in_full"] == DEFAULT_STEPS
    assert sys.getprofile() is None


def test_name_zoom_and_steps(shell):
    assert run(shell, "%%record  slow modules steps=all\ngenerate();").success
    assert "recording" not in shell.user_ns
    recording = shell.user_ns["slow"]
    assert recording.environment["zoom"] == ["landmarks", "modules"]
    assert list(recording.steps()["kept"]) == [True] * NEW_TOKENS


def test_the_last_expression_is_shown_unless_a_semicolon_ends_it(shell, capsys):
    result = run(shell, "%%record\nprint('printed')\n[1,\n 2]")
    assert result.result == [1, 2]
    assert "printed" in capsys.readouterr().out
    assert shell.user_ns["_"] == [1, 2]
    assert run(shell, "%%record\n[3];").result is None
    assert run(shell, "%%record\nx = 1").result is None


def test_magics_in_the_cell_work(shell):
    assert (
        run(shell, "%%record\nname = 'HF_OF_THIS_TEST'\n%env $name=7\nvalue = %env HF_OF_THIS_TEST\nvalue").result
        == "7"
    )


def test_an_exception_is_the_cells_and_the_recording_is_kept(shell, capsys):
    failing = "def fails():\n    generate()\n    raise ValueError('on purpose')\nfails()"
    plain = run(shell, failing)
    shown = capsys.readouterr().out
    recorded = run(shell, f"%%record\n{failing}")
    assert isinstance(recorded.error_in_exec, ValueError)
    assert without_numbers(capsys.readouterr().out) == without_numbers(shown)
    assert type(plain.error_in_exec) is type(recorded.error_in_exec)
    assert shell.user_ns["recording"].environment["ended_by"] == "ValueError"
    assert len(shell.user_ns["recording"].steps()) == NEW_TOKENS
    assert not hasattr(recorded.error_in_exec, "_render_traceback_")


def without_numbers(text: str) -> str:
    """The number of the cell differs."""
    return re.sub(r"(In ?\[|input-)\d+", r"\1n", text)


def test_an_exception_of_the_recording_package_in_the_cell_is_an_exception(shell):
    result = run(shell, "%%record\nfrom helpers.events import RecordingError\nraise RecordingError('of the cell')")
    assert type(result.error_in_exec).__name__ == "RecordingError"


def test_an_interrupted_cell_keeps_its_recording(shell):
    result = run(shell, "%%record\ngenerate()\nraise KeyboardInterrupt")
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert shell.user_ns["recording"].environment["ended_by"] == "KeyboardInterrupt"


def test_a_syntax_error_runs_nothing(shell, capsys):
    shell.user_ns["recording"] = "earlier"
    result = run(shell, "%%record\nx = = 1\n")
    assert isinstance(result.error_in_exec, SyntaxError)
    assert shell.user_ns["recording"] == "earlier"
    assert "SyntaxError" in capsys.readouterr().out


@pytest.mark.parametrize("line", ["a b", "steps=0", "steps=many", "1st", "class", "steps=2.5", "modles x y", "value"])
def test_a_line_that_cannot_be_read_is_a_usage_error_and_nothing_runs(shell, line, capsys):
    result = run(shell, f"%%record {line}\nran = True")
    assert isinstance(result.error_in_exec, UsageError)
    assert "%%record" in str(result.error_in_exec)
    assert "ran" not in shell.user_ns


@pytest.mark.parametrize(
    "awaiting", ["await nothing()", "async with nothing() as a: pass", "[x async for x in nothing()]"]
)
def test_a_top_level_await_is_a_usage_error_that_says_what_to_write(shell, awaiting):
    result = run(shell, f"%%record\nran = True\n{awaiting}")
    assert isinstance(result.error_in_exec, UsageError)
    assert "with record() as recording:" in str(result.error_in_exec)
    assert "ran" not in shell.user_ns
    assert run(shell, "%%record\nasync def later():\n    await nothing()").success


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sys.monitoring leaves profile functions alone")
def test_a_recording_that_cannot_start_is_a_usage_error_and_nothing_runs(shell):
    profiler = lambda frame, event, arg: None  # noqa: E731
    sys.setprofile(profiler)
    try:
        result = run(shell, "%%record\nran = True")
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert isinstance(result.error_in_exec, UsageError)
    assert "profile function is already set" in str(result.error_in_exec)
    assert "ran" not in shell.user_ns


def test_the_extension_is_documented_in_ipython(shell):
    documentation = shell.find_cell_magic("record").__doc__
    assert documentation == magic.record_cell.__doc__
    assert "steps=N" in documentation
