"""What a stage cost by itself, against the events: no time and no byte is counted twice, and none is lost."""

import copy

import numpy as np
import pandas as pd
import pytest
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.events import NOT_OBSERVED
from helpers.queries.stages import not_fired
from helpers.recording.recording import Recording
from tests.recorded_call import NEW_TOKENS, recorded_call

KEPT = 2
LOAD, GENERATE = 4, 7


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    """The later two of four steps are summary rows."""
    return recorded_call(tiny_checkpoint, steps=KEPT)


@pytest.fixture(scope="module")
def calls(recording) -> pd.DataFrame:
    """The calls of landmarks in the first thread, each with its stage and the stage that it ran in (0: in none)."""
    stages = stages_of_functions(recording)
    parents = recording.events["parent"].tolist()
    rows, within = [], []
    for event, function in enumerate(recording.events["function"].tolist()):
        around = within[parents[event]] if parents[event] != NOT_OBSERVED else 0
        within.append(stages.get(function, around))
        duration = int(recording.events["end"][event] - recording.events["start"][event])
        if recording.events["thread"][event] == 0 and function in stages:
            rows.append((within[-1], around, duration / 1e6, gained(recording, event)))
    return pd.DataFrame(rows, columns=["stage", "around", "milliseconds", "memory"])


def stages_of_functions(recording: Recording) -> dict[int, int]:
    found = {}
    table = recording.landmarks().set_index("landmark")["stage"]
    for status in recording.landmark_statuses:
        if status.function != NOT_OBSERVED:
            found.setdefault(status.function, int(table[status.id]))
    return found


def gained(recording: Recording, event: int) -> int:
    before, after = recording.events["memory_before"][event], recording.events["memory_after"][event]
    if NOT_OBSERVED in (before, after):
        return 0
    resident = recording.memory_series["resident"]
    return int(resident[after] - resident[before])


@pytest.mark.parametrize("cost", ["milliseconds", "memory"])
def test_a_stage_costs_what_its_calls_took_less_the_other_stages_within(recording, calls, cost):
    told = recording.stages().dropna(subset=["stage"]).set_index("stage")[cost].dropna()
    assert {LOAD, GENERATE} <= set(told.index)
    entered = calls[calls["stage"] != calls["around"]]
    for stage, value in told.items():
        own = entered.loc[entered["stage"] == stage, cost].sum()
        within = entered.loc[entered["around"] == stage, cost].sum()
        later = recording.stages()["milliseconds"].iloc[-1] if (stage, cost) == (GENERATE, "milliseconds") else 0
        assert value == pytest.approx(own - within - later), stage


def test_the_memory_of_a_landmark_is_what_it_gained(recording):
    table = recording.landmarks().set_index("landmark")
    functions = {status.id: status.function for status in recording.landmark_statuses}
    (event,) = np.flatnonzero(recording.events["function"] == functions["model.from_pretrained"])
    assert table["memory"]["model.from_pretrained"] == gained(recording, event) != 0


def test_later_steps_have_a_row_of_their_own_and_are_no_time_of_generate(recording):
    in_full = copy.copy(recording)
    in_full.step_rows = {**recording.step_rows, "kept": np.ones(NEW_TOKENS, dtype=np.int64)}
    told, whole = recording.stages(), in_full.stages()
    assert (len(told), len(whole)) == (11, 10)
    later = told.iloc[-1]
    assert (later["name"], later["landmarks"]) == ("2 later steps, kept as summary rows", "summarised")
    took = recording.step_rows["end"] - recording.step_rows["start"]
    assert later["milliseconds"] == pytest.approx(took[KEPT:].sum() / 1e6)
    whole, told = (table.dropna(subset=["stage"]).set_index("stage") for table in (whole, told))
    less = (whole["milliseconds"] - told["milliseconds"]).fillna(0)
    assert less[GENERATE] == pytest.approx(later["milliseconds"])
    assert set(less.drop(GENERATE)) == {0}


def test_calls_and_landmarks_of_a_stage_are_those_of_the_other_table(recording):
    landmarks, stages = recording.landmarks(), recording.stages().dropna(subset=["stage"]).set_index("stage")
    functions = stages_of_functions(recording)
    counted = pd.Series([functions.get(function, 0) for function in recording.events["function"]]).value_counts()
    for stage, rows in landmarks.groupby("stage"):
        assert stages["landmarks"][stage] == f"{(rows['calls'] > 0).sum()} of {len(rows)}"
        assert stages["calls"][stage] == counted.get(stage, 0)
        assert pd.isna(stages["milliseconds"][stage]) == (stages["calls"][stage] == 0)


def test_what_did_not_run_in_the_recording_is_told_of_each_landmark(recording):
    table = recording.landmarks().set_index("landmark")
    assert table["observed"]["gen.sample"] == "yes"
    assert table["per_step"]["fwd.causal_lm"] == 1
    absent = table[table["calls"] == 0]
    assert absent["observed"]["load.dispatch"] == "not observed: it did not run"
    builtin = "not observed: it was not called by GenerationMixin._sample, and is looked for nowhere else"
    assert absent["observed"]["smp.argmax"] == builtin
    elsewhere = "not observed: it was not called by PreTrainedModel.from_pretrained, and is looked for nowhere else"
    assert not_fired("config.deepcopy") == elsewhere
    assert "did not run outside module calls" in not_fired("smp.softmax")
    assert set(absent["observed"]) & {"", "yes"} == set()
    assert absent[["per_step", "memory", "milliseconds"]].isna().all(axis=None)
    assert list(recording.landmarks(observed_only=True)["landmark"]) == list(table.index[table["calls"] > 0])


def test_the_time_of_a_landmark_is_that_of_all_its_calls(recording):
    table = recording.landmarks().set_index("landmark")
    calls = recording.find("LlamaForCausalLM.forward")
    assert table["calls"]["fwd.causal_lm"] == len(calls) == KEPT
    assert table["milliseconds"]["fwd.causal_lm"] == pytest.approx(calls["milliseconds"].sum())


def test_dtype_and_device_are_of_the_result_else_of_what_was_given(recording):
    table = recording.landmarks(observed_only=True)
    given_only = table[(table["tensors_in"] != "") & (table["tensors_out"] == "")]
    assert len(given_only)
    assert "" not in {*given_only["dtype"], *given_only["device"]}


def test_a_landmark_of_a_newer_table_is_left_out(recording):
    newer = copy.copy(recording)
    newer.landmark_statuses = [
        recording.landmark_statuses[0]._replace(id="not.known.here"),
        *recording.landmark_statuses,
    ]
    assert newer.landmarks().equals(recording.landmarks())
    assert newer.stages().equals(recording.stages())


def test_without_the_memory_series_no_stage_has_a_memory(tiny_checkpoint):
    with record("landmarks") as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))
    table = recording.stages()
    assert table["calls"].sum() > 0
    assert table["memory"].isna().all()
