"""The player's JavaScript that needs no browser, in Node, against what Python answers of the same recording."""

import gzip
import json

import numpy as np
import pytest
from transformers import pipeline

from helpers import landmarks as landmark_table
from helpers import record, reference_recording
from helpers.queries.stages import stage_around, stage_of_functions
from helpers.recording import file as recording_file
from helpers.views import player_payload
from tests.explorer_tools import node_tests
from tests.player_recording import LAYERS, player_recording

WORDS = ("self_attn", "mlp.act_fn", "modeling_llama.py", "float32", "cpu", "(1, 1, 16)", "int64", "LlamaMLP", "384")
CURVES = ("resident", "anonymous", "file_mapped", "parameters", "kv_cache", "cuda_allocated", "cuda_reserved")
PARAMETER = "model.layers.1.self_attn.k_proj.weight"


@pytest.fixture(scope="module")
def recording(tiny_checkpoint, tmp_path_factory):
    return player_recording(tiny_checkpoint, tmp_path_factory.mktemp("six layers"))


def found(recording, word: str) -> list[int]:
    """What find() has of one word, in names and in tensors; the player also looks into the landmark table."""
    questions = [{"name": word}]
    if word[0] == "(" or word.isdigit():
        questions = [{"shape": word}]
    elif word in {spec.dtype for spec in recording.specs}:
        questions.append({"dtype": word})
    elif word in {spec.device for spec in recording.specs}:
        questions.append({"device": word})
    events = {int(event) for question in questions for event in recording.find(**question)["event"]}
    told = {one.id: f"{one.id}\n{one.role}\n{one.article_name}".lower() for one in landmark_table.table()}
    told_of = {row.function for row in recording.landmark_statuses if word in told[row.id] and row.function >= 0}
    return sorted(events | set(np.flatnonzero(np.isin(recording.events["function"], list(told_of))).tolist()))


def own_rises(recording) -> list[int]:
    """Resident bytes that each event gained without the measured events within it, counted from the inside out."""
    events, resident = recording.events, recording.memory_series["resident"]
    measured = (events["memory_before"] >= 0) & (events["memory_after"] >= 0)
    gained = np.where(measured, resident[events["memory_after"]] - resident[events["memory_before"]], 0)
    within = np.zeros(len(recording), dtype=np.int64)  # gained by the outermost measured events below
    for event in range(len(recording) - 1, -1, -1):
        if events["parent"][event] >= 0:
            within[events["parent"][event]] += gained[event] if measured[event] else within[event]
    return np.where(measured, gained - within, 0).tolist()


def expected(recording) -> dict:
    events, rows = recording.events, recording.step_rows
    around = stage_around(recording, stage_of_functions(recording))
    landmarks = recording.landmarks()
    unobserved = landmarks[(landmarks["calls"] == 0)]["landmark"]
    tops = np.flatnonzero((events["parent"] < 0) & (events["memory_before"] >= 0) & (events["memory_after"] >= 0))
    resident = recording.memory_series["resident"]
    ledger = recording.parameters().set_index("parameter").loc[PARAMETER]
    layer = recording.modules(step=0).set_index("path").loc["model.layers.0", "event"]
    decode = recording.modules(step=1).set_index("path").loc["model.layers.0", "event"]
    return {
        "events": len(recording),
        "parent": events["parent"].tolist(),
        "stage": [own or 0 for own, _ in around],
        "start": (events["start"] / 1e6).tolist(),
        "end": (events["end"] / 1e6).tolist(),
        "lines": len(recording.line_rows["line"]),
        "steps": [[int(step), int(kept)] for step, kept in zip(rows["step"], rows["kept"], strict=True)],
        "layers": LAYERS,
        "unobserved": sorted(unobserved),
        "found": [{"word": word, "events": found(recording, word)} for word in WORDS],
        "parameter": PARAMETER,
        "ledger": {"file": ledger["file"], "disk_dtype": ledger["disk_dtype"]},
        "sharded": bool((recording.lines()["text"] == "is_sharded = True").any()),
        "shapes": [list(recording.tensors(event)[1][0].shape) for event in (layer, decode)],
        "greatest": int(np.argmax(own_rises(recording))),
        "curves": [name for name in CURVES if (recording.memory_series[name] > 0).any()],
        "gained": int((resident[events["memory_after"][tops]] - resident[events["memory_before"][tops]]).sum()),
    }


def test_the_base_in_node(tmp_path):
    node_tests("base", tmp_path, "player")


def test_the_player_in_node(recording, tmp_path):
    node_tests("player", tmp_path, "player", **packed_for_node(recording), expected=expected(recording))
    node_tests("player_words", tmp_path, "player")


def test_stages_within_a_later_one_in_node(tiny_checkpoint, tmp_path):
    with record() as recording:
        pipeline("text-generation", model=str(tiny_checkpoint), device="cpu")
    stages = recording.stages().query("calls > 0")["stage"].tolist()
    assert stages[:2] == [1, 2]
    assert 5 in stages
    around = [(own or 0, outer or 0) for own, outer in stage_around(recording, stage_of_functions(recording))]
    shown_in: list[int] = []
    elsewhere: dict[int, list[int]] = {}
    for event, (own, outer) in enumerate(around):
        parent = int(recording.events["parent"][event])
        shown_in.append(max(own, shown_in[parent] if parent >= 0 else 0))
        if own != outer and own < shown_in[event]:
            elsewhere.setdefault(own, []).append(event)
    events = recording.find(stage=1)["event"].tolist()
    expected = {"stages": stages, "elsewhere": elsewhere, "within": 1, "events": events}
    node_tests("player_within", tmp_path, "player", **packed_for_node(recording), expected=expected)


def packed_for_node(recording) -> dict:
    guide = json.loads(gzip.decompress(player_payload.packed_guide(recording)))
    return {"document": recording_file.document(recording), "guide": guide}


def load_of_events(recording) -> dict[int, int]:
    """Of each event within a PreTrainedModel.from_pretrained: which of those loads it is in, counted from 0."""
    parent, loads, begun = recording.events["parent"], {}, 0
    roots = set(recording.find("modeling_utils:PreTrainedModel.from_pretrained")["event"])
    for event in range(len(recording)):
        if event in roots:
            loads[event], begun = begun, begun + 1
        elif parent[event] in loads:
            loads[event] = loads[int(parent[event])]
    return loads


def test_rows_of_the_ledger_belong_to_their_load_in_node(tmp_path):
    recordings = {version: reference_recording.committed(version) for version in ("4.47.1", "5.23.0")}
    answers = {version: packed_for_node(one) | {"loads": load_of_events(one)} for version, one in recordings.items()}
    for version, recording in recordings.items():
        assert set(answers[version]["loads"].values()) == set(recording.parameters()["load"]) == {0, 1}
    node_tests("player_ledger", tmp_path, "player", recordings=answers)
