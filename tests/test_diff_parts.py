"""diff() of a recording and an edited copy of it, where what differs is known: parameters, loads, tensors, lines."""

import numpy as np
import pytest

from helpers.events import NOT_OBSERVED
from helpers.recording.recording import Recording
from tests.recorded_call import edited, recorded_call
from tests.test_diff import rows

EDGE = "model.embed_tokens.weight"
TOLD = ["what", "name", "before", "after"]


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint)


# parameters ----------------------------------------------------------------------------------------------------------


def test_a_parameter_that_only_one_ledger_has_is_told_with_its_status(recording):
    without = edited(recording, loads=[row for row in recording.loads if row.parameter != EDGE])
    (gone,) = recording.diff(without).to_dict("records")
    assert [gone[name] for name in TOLD] == ["gone", EDGE, "loaded", ""]
    (appeared,) = without.diff(recording).to_dict("records")
    assert [appeared[name] for name in TOLD] == ["appeared", EDGE, "", "loaded"]


def test_a_load_that_only_one_has_is_not_compared_and_no_parameter_of_it_is_told(recording):
    twice = edited(recording, loads=[*recording.loads, *(row._replace(load=1) for row in recording.loads)])
    for before, after, told in ((recording, twice, ("1 load", "2 loads")), (twice, recording, ("2 loads", "1 load"))):
        (row,) = before.diff(after).to_dict("records")
        assert [row[name] for name in TOLD] == ["not compared", "loads", *told]
    none = edited(recording, loads=[])
    (row,) = none.diff(recording).to_dict("records")
    assert (row["before"], row["after"]) == ("no load", "1 load")


@pytest.mark.parametrize("number", [0, 1])
def test_each_load_is_compared_with_the_load_of_its_number(recording, number):
    second = [row._replace(load=1, status="renamed") for row in recording.loads]
    both = [*recording.loads, *second]
    changed = [row._replace(dtype="int8") if (row.load, row.parameter) == (number, EDGE) else row for row in both]
    (row,) = edited(recording, loads=both).diff(edited(recording, loads=changed)).to_dict("records")
    assert [row[name] for name in TOLD] == ["dtype", EDGE, "float32", "int8"]


# tensors and lines ---------------------------------------------------------------------------------------------------


def test_a_tensor_that_only_one_recording_has_is_told_with_its_shape_and_dtype(recording):
    """Of its modules, and not of their forwards again."""
    named = {index for index, spec in enumerate(recording.specs) if spec.path == "input"}
    lists = [tuple(spec for spec in row if spec not in named) for row in recording.tensor_lists]
    without = edited(recording, tensor_lists=lists)
    lost, found = recording.diff(without), without.diff(recording)
    assert set(lost["what"]) == {"tensor gone"}
    assert set(found["what"]) == {"tensor appeared"}
    assert set(lost["tensors"]) == set(found["tensors"]) == {"input"}
    (row,) = rows(lost, name="lm_head")
    (given,), _ = recording.tensors(int(recording.find("lm_head", step=0)["event"].iloc[0]))
    assert (row["before"], row["after"]) == (f"{given.shape_text} {given.dtype}", "")
    assert [(back["before"], back["after"]) for back in rows(found, name="lm_head")] == [("", row["before"])]
    assert "function" not in {*lost["of"], *found["of"]}


def test_a_forward_that_stands_on_another_line_is_told_once(recording):
    landmarks = {status.function for status in recording.landmark_statuses}
    number = next(
        number
        for number, one in enumerate(recording.functions)
        if one.qualname.endswith(".forward") and number not in landmarks
    )
    functions = list(recording.functions)
    functions[number] = functions[number]._replace(line=functions[number].line + 5)
    (row,) = recording.diff(edited(recording, functions=functions)).to_dict("records")
    assert (row["what"], row["of"], row["count"]) == ("line", "function", 1)
    assert row["name"].endswith(f":{functions[number].qualname}")
    assert (row["before"], row["after"]) == (recording.functions[number].location, functions[number].location)


def test_a_landmark_without_a_function_is_gone_for_the_reason_that_was_recorded(recording):
    statuses = [
        status._replace(function=NOT_OBSERVED, reason="not observed: renamed") if status.id == "gen.sample" else status
        for status in recording.landmark_statuses
    ]
    without = edited(recording, landmark_statuses=statuses)
    (gone,) = rows(recording.diff(without), of="landmark")
    assert [gone[name] for name in TOLD] == [
        "gone", "gen.sample", "1 call of GenerationMixin._sample", "not observed: renamed",
    ]  # fmt: skip
    (appeared,) = rows(without.diff(recording), of="landmark")
    assert [appeared[name] for name in TOLD] == ["appeared", "gen.sample", gone["after"], gone["before"]]


def test_a_function_that_only_one_recording_has_is_told_with_its_calls(recording):
    number = next(one.function for one in recording.landmark_statuses if one.id == "gen.sample")
    functions = list(recording.functions)
    functions[number] = functions[number]._replace(qualname="draw")
    others = [status for status in recording.landmark_statuses if status.id != "gen.sample"]
    before, after = (
        edited(recording, landmark_statuses=others, functions=made) for made in (recording.functions, functions)
    )
    told = {tuple(row[name] for name in TOLD) for row in before.diff(after).to_dict("records")}
    module = functions[number].module
    assert told == {
        ("gone", f"{module}:GenerationMixin._sample", "1 call of GenerationMixin._sample", "not observed"),
        ("appeared", f"{module}:draw", "not observed", "1 call of draw"),
    }


def test_of_many_values_those_are_told_that_the_other_recording_did_not_have(recording):
    """Up to three are told in full."""
    number = next(one.function for one in recording.landmark_statuses if one.id == "gen.sample")
    event = int(np.flatnonzero(recording.events["function"] == number)[0])

    def having(*values: int) -> Recording:
        lists = [*recording.value_lists, tuple(("made_up", value) for value in values)]
        arguments = recording.events["arguments"].copy()
        arguments[event] = len(lists) - 1
        return edited(recording, value_lists=lists, events=recording.events | {"arguments": arguments})

    for before, after, told in (
        ((1, 2, 3), (1, 2), ("1; 2; 3", "1; 2")),
        ((1, 2, 3, 4), (1, 2), ("3; 4", "no other value")),
    ):
        (row,) = having(*before).diff(having(*after)).to_dict("records")
        assert [row[name] for name in TOLD] == ["value", "gen.sample", *told]
        assert row["tensors"] == "made_up"
