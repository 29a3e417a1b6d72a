"""Breakpoints: where a debugger stops in the installed version."""

import dis
import inspect
import sys

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import breakpoints as module
from helpers import landmarks
from helpers.breakpoints import STOPS, BreakpointError, breakpoints, first_line, stop_at


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def inputs(tiny_checkpoint):
    return dict(AutoTokenizer.from_pretrained(str(tiny_checkpoint))("The capital of", return_tensors="pt"))


def test_every_stop_has_a_place_and_says_what_to_look_at():
    table = breakpoints()
    assert list(table["landmark"]) == list(STOPS)
    assert (table["look_at"] != "").all()
    assert table["location"].str.match(r"transformers/[\w/]+\.py:\d+$").all()


def test_the_place_is_a_line_of_the_body_that_runs():
    for resolution in landmarks.resolve():
        if resolution.code is not None and resolution.landmark.id in STOPS:
            line = first_line(resolution.code)
            lines, start = inspect.getsourcelines(resolution.code)
            assert line in {number for _, number in dis.findlinestarts(resolution.code)}
            assert not lines[line - start].strip().startswith(("def ", "@", '"""'))


def test_what_the_version_has_no_function_for_is_left_out():
    assert breakpoints(["load.gc", "gen.sample"])["landmark"].tolist() == ["gen.sample"]


def test_the_debugger_stops_there_and_sees_the_arguments(model, inputs):
    seen = stop_at("fwd.causal_lm", ["p tuple(input_ids.shape)"], model.generate, **inputs, max_new_tokens=2)
    assert seen.strip() == str(tuple(inputs["input_ids"].shape))


def test_afterwards_nothing_is_traced(model, inputs):
    before = sys.gettrace()
    stop_at("fwd.causal_lm", [], model.generate, **inputs, max_new_tokens=1)
    assert sys.gettrace() is before


def test_an_error_of_the_call_goes_through_and_leaves_no_breakpoint(model):
    with pytest.raises(ValueError, match="max_new_tokens"):
        stop_at("fwd.causal_lm", [], model.generate, max_new_tokens=-1)
    assert module._Scripted(stop_at.__code__, []).get_all_breaks() == {}


@pytest.mark.parametrize(
    ("landmark", "message"),
    [
        ("no.such", "There is no landmark 'no.such'"),
        ("load.gc", "has no Python function in this version"),
        ("pipe.factory", "was not reached by this call"),
    ],
)
def test_where_it_cannot_stop_is_a_clear_error(landmark, message):
    with pytest.raises(BreakpointError, match=message):
        stop_at(landmark, [], sum, [1, 2])
