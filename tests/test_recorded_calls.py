"""The calls of a landmark, with arguments, results and tensors by name."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.events import RecordingError
from helpers.queries.recorded_calls import call_of, calls_of
from helpers.recording.recording import Recording

NEW_TOKENS = 3


@pytest.fixture(scope="module")
def recording(tiny_checkpoint):
    with record("landmarks", "modules", steps=2) as recording:
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
        ids = torch.tensor([[5, 6, 7, 8]])
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
        )  # fmt: skip
    return recording


def test_arguments_result_and_tensors_have_names(recording):
    call = call_of(recording, "gen.generate")
    assert call.function == "GenerationMixin.generate"
    assert call.step is None
    assert call.arguments["max_new_tokens"] == NEW_TOKENS
    assert call.arguments["do_sample"] is False
    assert call.inputs["input_ids"].shape == (1, 4)
    assert call.outputs["result"].shape == (1, 4 + NEW_TOKENS)
    assert call.milliseconds > 0


def test_calls_are_in_order_and_those_of_a_step_are_its_own(recording):
    every = calls_of(recording, "gen.prepare_inputs")
    assert [call.step for call in every] == [0, 1]  # two steps are kept in full
    assert [call.event for call in every] == sorted(call.event for call in every)
    assert [call.outputs["result.input_ids"].shape for call in every] == [(1, 4), (1, 1)]
    assert calls_of(recording, "gen.prepare_inputs", step=1) == every[1:]


def test_a_module_landmark_gives_the_module_calls_with_their_paths(recording):
    layers = calls_of(recording, "fwd.layer", step=0)
    assert [call.path for call in layers] == ["model.layers.0", "model.layers.1"]
    modules = recording.modules(step=0)
    assert len(calls_of(recording, "fwd.module_call", step=0)) == len(modules)


def test_a_builtin_has_inputs_and_no_observed_result(recording):
    sdpa = call_of(recording, "fwd.sdpa", step=1)
    assert sdpa.inputs["query"].shape[2] == 1
    assert sdpa.inputs["key"].shape[2] == 5
    assert sdpa.outputs == {}
    assert sdpa.result == {}


def test_what_did_not_run_is_an_empty_list_and_an_error_that_says_so(recording):
    assert calls_of(recording, "pipe.factory") == []
    with pytest.raises(RecordingError, match=r"pipe\.factory is not observed: it did not run"):
        call_of(recording, "pipe.factory")
    with pytest.raises(RecordingError, match=r"step 2, or the step was not kept in full: record\(steps=3\)"):
        call_of(recording, "gen.prepare_inputs", step=2)


def test_unknown_landmarks_name_those_alike(recording):
    with pytest.raises(RecordingError, match=r"'gen\.sampel'; there are .*gen\.sample"):
        calls_of(recording, "gen.sampel")
    with pytest.raises(RecordingError, match=r"Recording\.landmarks\(\) lists them"):
        calls_of(recording, "nonsense")


def test_a_landmark_without_a_function_here_gives_the_reason(recording):
    gone = next(status for status in recording.landmark_statuses if status.function < 0)
    with pytest.raises(RecordingError, match="no function plays this part"):
        calls_of(recording, gone.id)


def test_a_running_recording_is_refused():
    with pytest.raises(RecordingError, match="still running"):
        calls_of(Recording(), "gen.sample")
