"""The zooms lines (which lines ran, what each changed) and functions (what computes outside modules)."""

import re
import sys

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.events import RecordingError
from helpers.recording.recording import Recording


def decides(count, tensor):
    total = 0
    for number in range(count):
        if number % 2:
            total += number
    tensor = tensor + 1
    return total


@pytest.fixture(scope="module")
def recording(tiny_checkpoint):
    with record(lines=("ckpt.resolve", "dtype.resolve", "ckpt.shard_files")) as recording:
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    return recording


def record_here(function, *arguments) -> Recording:
    module = sys.modules[__name__]
    with record(lines=(f"{module.__name__}:{function.__name__}",)) as recording:
        function(*arguments)
    return recording


def test_lines_are_told_in_the_order_in_which_they_ran():
    lines = record_here(decides, 3, torch.zeros(2)).lines()
    assert list(lines["text"]) == [
        "total = 0",
        "for number in range(count):",
        "if number % 2:",
        "for number in range(count):",
        "if number % 2:",
        "total += number",
        "for number in range(count):",
        "if number % 2:",
        "for number in range(count):",
        "tensor = tensor + 1",
        "return total",
    ]


def test_a_named_function_without_a_line_is_told():
    own = f"{__name__}:decides"
    told = rf"No line was recorded of '{own}', 'smp.softmax', named in lines="
    with pytest.warns(UserWarning, match=told), record(lines=(own, "smp.softmax")) as recording:
        pass
    assert re.match(told, recording.warnings[0])
    with record("lines") as unnamed:  # those in which a load decides: nobody asked for one
        pass
    assert record_here(decides, 1, torch.zeros(1)).warnings == unnamed.warnings == []


def test_a_named_function_that_an_error_kept_from_running_is_not_told():
    with pytest.raises(ZeroDivisionError), record(lines=(f"{__name__}:decides",)) as recording:
        raise ZeroDivisionError
    assert recording.warnings == []


def test_each_line_tells_what_it_changed():
    lines = record_here(decides, 2, torch.zeros(2)).lines()
    changed = list(zip(lines["text"], lines["changed"], strict=True))
    assert changed[0] == ("total = 0", "total=0")
    assert ("total += number", "total=1") in changed
    assert ("tensor = tensor + 1", "tensor (2)") in changed
    assert changed[-1] == ("return total", "")


def test_the_line_that_chose_between_sharded_and_single_file(recording):
    lines = recording.lines()
    resolve = lines[lines["function"] == "_get_resolved_checkpoint_files"]
    if resolve.empty:
        pytest.skip("this version resolves the checkpoint inside from_pretrained")
    sharded = resolve[resolve["changed"].str.contains("is_sharded=True")]
    assert list(sharded["text"]) == ["is_sharded = True"]
    event = int(resolve["event"].iloc[0])
    source = recording.source(event)
    assert set(source.executed_lines) == set(resolve["line"])
    assert re.search(rf"^▸ +{int(sharded['line'].iloc[0])} ", repr(source), re.MULTILINE)


def test_a_round_trip_keeps_the_lines(recording, tmp_path):
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    assert loaded == recording
    assert loaded.lines().equals(recording.lines())


def test_an_exception_ends_the_last_line():
    def fails():
        return 1 / 0

    module = sys.modules[__name__]
    module.fails = fails
    try:
        with pytest.raises(ZeroDivisionError), record(lines=(f"{module.__name__}:fails",)) as recording:
            module.fails()
    finally:
        del module.fails
    assert list(recording.lines()["text"]) == ["return 1 / 0"]


def test_tracing_is_off_afterwards():
    if sys.gettrace() is not None:
        pytest.skip("a debugger or coverage is running")
    record_here(decides, 1, torch.zeros(1))
    assert sys.gettrace() is None


def test_a_debugger_is_not_displaced():
    if sys.version_info >= (3, 12):
        pytest.skip("sys.monitoring leaves trace functions alone")

    def debugger(frame, event, arg):
        return None

    before = sys.gettrace()
    sys.settrace(debugger)
    try:
        with pytest.raises(RecordingError, match="debugger or coverage is running"), record(lines=("ckpt.resolve",)):
            pass
        assert sys.gettrace() is debugger
    finally:
        sys.settrace(before)
    assert sys.getprofile() is None


@pytest.mark.parametrize("name", ["nonsense", "no.such.module:function", "helpers.recorder:no_such", "builtins:len"])
def test_a_function_that_there_is_not_is_refused(name):
    with pytest.raises(RecordingError, match=r"Give a landmark id or module:qualname"), record(lines=(name,)):
        pass
    assert sys.getprofile() is None


def test_without_lines_the_question_says_how_to_record_them(tiny_checkpoint):
    with record() as recording:
        pass
    with pytest.raises(RecordingError, match=r"record\(lines="):
        recording.lines()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_function_that_really_ran(tiny_checkpoint, attention):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, attn_implementation=attention)
    ids = torch.tensor([[5, 6, 7]])
    with record("functions", "modules") as recording:
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, do_sample=False)
    calls = recording.calls()
    ran = {"eager": "eager_attention_forward", "sdpa": "scaled_dot_product_attention"}
    functions = set(calls["function"])
    assert "apply_rotary_pos_emb" in functions
    other = ran["sdpa" if attention == "eager" else "eager"]
    if attention == "eager" and not {"eager_attention_forward"} & functions:
        pytest.skip("this version computes eager attention inside the module")
    assert ran[attention] in functions
    assert other not in functions


def test_another_architecture_is_seen_by_functions():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=32)).eval()
    ids = torch.tensor([[5, 6, 7]])
    with record("functions", "modules", steps=None) as recording:
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, min_new_tokens=3, do_sample=False,
            pad_token_id=0, eos_token_id=1,
        )  # fmt: skip
    calls = recording.calls()
    assert len(recording.steps()) == 3
    if not transformers.__version__.startswith("4.47"):  # there its layers keep tuples, and compute inside the module
        assert {"update", "sdpa_attention_forward"} & {name.rpartition(".")[2] for name in calls["function"]}
    observed = recording.landmarks().set_index("landmark")["observed"]
    assert observed["gen.sample"] == "yes"
    assert observed["fwd.layer"] != "yes"  # Llama's own
