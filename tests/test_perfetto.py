"""to_perfetto(): a valid Chrome trace that tells what the recording tells."""

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from helpers import record
from helpers.events import KINDS, RecordingError
from helpers.recording.perfetto import document
from helpers.recording.recording import Recording
from tests.recorded_call import NEW_TOKENS, recorded_call


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint, steps=NEW_TOKENS - 1)


def refuse(constant: str):
    pytest.fail(f"{constant} is not JSON")


def read(path: Path) -> dict:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    return json.loads(data, parse_constant=refuse)


@pytest.fixture(scope="module")
def trace(recording, tmp_path_factory) -> dict:
    return read(recording.to_perfetto(tmp_path_factory.mktemp("trace") / "run.json"))


def of_phase(trace: dict, phase: str, **wanted) -> list[dict]:
    return [
        event
        for event in trace["traceEvents"]
        if event["ph"] == phase and all(event.get(name) == value for name, value in wanted.items())
    ]


def test_every_event_has_the_fields_of_its_phase(trace):
    assert {event["ph"] for event in trace["traceEvents"]} == {"M", "X", "C"}
    for event in trace["traceEvents"]:
        assert isinstance(event["name"], str)
        assert event["name"]
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["args"], dict)
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0
            assert event["cat"] in (*KINDS, "step")
        if event["ph"] == "C":
            assert all(isinstance(value, int) and value >= 0 for value in event["args"].values())


def test_every_recorded_event_is_a_slice_with_its_times_in_microseconds(recording, trace):
    slices = {event["args"]["event"]: event for event in of_phase(trace, "X") if event["cat"] != "step"}
    assert sorted(slices) == list(range(len(recording)))
    for event, drawn in slices.items():
        start, end = (int(recording.events[name][event]) for name in ("start", "end"))
        assert drawn["ts"] == start / 1000
        assert drawn["dur"] == (end - start) / 1000
        assert drawn["cat"] == KINDS[recording.events["kind"][event]]


def test_lanes_have_the_names_of_the_threads(recording, trace):
    names = {event["tid"]: event["args"]["name"] for event in of_phase(trace, "M", name="thread_name")}
    assert list(names.values()) == ["generation steps", *recording.threads]
    for drawn in of_phase(trace, "X"):
        if drawn["cat"] != "step":
            thread = recording.events["thread"][drawn["args"]["event"]]
            assert names[drawn["tid"]] == recording.threads[thread]
    (process,) = of_phase(trace, "M", name="process_name")
    assert process["args"]["name"] == f"transformers {recording.environment['transformers']}"


def test_slices_of_a_lane_are_nested(recording, trace):
    """Perfetto draws a slice inside another only where it lies within; slices that overlap are lost."""
    slices = {event["args"]["event"]: event for event in of_phase(trace, "X") if event["cat"] != "step"}
    siblings: dict[tuple, list[dict]] = {(0, "steps"): of_phase(trace, "X", cat="step")}
    for event, parent in enumerate(recording.events["parent"].tolist()):
        drawn, around = slices[event], slices.get(parent)
        siblings.setdefault((drawn["tid"], parent), []).append(drawn)
        if around is not None:
            assert drawn["tid"] == around["tid"]
            assert around["ts"] <= drawn["ts"]
            assert end_of(drawn) <= end_of(around)
    for family in siblings.values():
        for first, second in pairwise(family):
            assert end_of(first) <= second["ts"]


def end_of(drawn: dict) -> float:
    return round(drawn["ts"] + drawn["dur"], 1)  # the recording keeps tenths of a microsecond


def test_arguments_tell_shapes_and_values(recording, trace):
    event = int(recording.find("lm_head", step=0)["event"].iloc[0])
    (drawn,) = [e for e in of_phase(trace, "X") if e["args"].get("event") == event]
    assert drawn["name"] == "lm_head Linear"
    assert drawn["args"]["outputs"] == {"output": "(1, 1, 384) float32 cpu"}
    assert drawn["args"]["step"] == 0
    assert drawn["args"]["location"].startswith("torch/nn/modules/linear.py:")
    added = [e for e in of_phase(trace, "X") if e["name"] == "_add_variant"]
    assert added[0]["args"]["result"] == {"result": "model.safetensors"}
    generate = [e for e in of_phase(trace, "X") if e["name"] == "GenerationMixin.generate"]
    assert generate[0]["args"]["landmark"] == "gen.generate"


def test_steps_have_a_lane_of_their_own(recording, trace):
    steps = of_phase(trace, "X", cat="step")
    assert [step["name"] for step in steps] == ["prefill"] + [f"decode step {i}" for i in range(1, NEW_TOKENS)]
    assert {step["tid"] for step in steps}.isdisjoint({e["tid"] for e in of_phase(trace, "X") if e["cat"] != "step"})
    assert [step["args"]["kv_tokens"] for step in steps] == list(recording.steps()["kv_tokens"])
    assert [step["args"]["events"] for step in steps] == ["in full"] * (NEW_TOKENS - 1) + ["not kept"]
    prefill = steps[0]
    embedding = next(e for e in of_phase(trace, "X") if e["name"] == "model.embed_tokens Embedding")
    assert prefill["ts"] <= embedding["ts"] <= end_of(embedding) <= end_of(prefill)


def test_the_memory_series_are_counters_of_bytes(recording, trace):
    series = recording.memory()
    for name in ("resident", "parameters", "kv_cache"):
        counter = of_phase(trace, "C", name=name)
        assert [event["args"]["bytes"] for event in counter] == list(series[name])
        assert [event["ts"] for event in counter] == list(recording.memory_series["time"] / 1000)
    if not torch.cuda.is_available():
        assert of_phase(trace, "C", name="cuda_peak") == []  # what was not observed is no zero


def test_a_recording_without_memory_and_an_empty_one_are_traces_too(tmp_path):
    with record("landmarks") as recording:
        pass
    trace = read(recording.to_perfetto(tmp_path / "empty.json"))
    assert {event["ph"] for event in trace["traceEvents"]} == {"M"}


def test_gzip_by_name_and_the_same_after_a_round_trip(recording, trace, tmp_path):
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    packed = loaded.to_perfetto(tmp_path / "new folder" / "trace.json.gz")
    assert packed == tmp_path / "new folder" / "trace.json.gz"
    assert read(packed) == trace
    assert document(loaded) == document(recording)


def test_how_a_call_ended_is_told():
    class Fails(torch.nn.Module):
        def forward(self, x):
            raise ValueError("on purpose")

    network = Fails()
    with pytest.raises(ValueError, match="on purpose"), record() as recording:
        network(torch.zeros(1))
    (drawn,) = of_phase(document(recording), "X")
    assert drawn["args"]["status"] == "raised"


def test_hostile_names_and_numbers_stay_data(recording, tmp_path):
    hostile = Recording(**vars(recording))
    name = '</script><script>alert("1")</script>\udcff\x00'
    hostile.paths = [name] * len(recording.paths)
    hostile.threads = [name] * len(recording.threads)
    hostile.value_lists = [(("value", float("nan")), ("other", float("-inf")))] * len(recording.value_lists)
    hostile.environment = {"transformers": name, "cpus": float("inf")}
    trace = read(hostile.to_perfetto(tmp_path / "run.json"))
    assert trace["otherData"]["cpus"] == "inf"
    drawn = of_phase(trace, "X", cat="module")[0]
    assert drawn["name"].startswith('</script><script>alert("1")</script>?\x00')
    assert drawn["args"]["arguments"] == {"value": "nan", "other": "-inf"}


def test_refusals_leave_nothing_behind(recording, tmp_path, monkeypatch):
    with pytest.raises(RecordingError, match="is a folder"):
        recording.to_perfetto(tmp_path)
    with record() as running, pytest.raises(RecordingError, match="still running"):
        running.to_perfetto(tmp_path / "run.json")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        recording.to_perfetto(tmp_path / "run.json")
    assert list(tmp_path.iterdir()) == []
