"""Saving and loading: equal after a round trip; damaged, foreign and hostile files are refused in words."""

import gzip
import json
import pickle

import pytest
import torch
import transformers

from helpers import record
from helpers.events import RecordingError
from helpers.recorder_settings import ZOOMS
from helpers.recording.recording import Recording
from tests.recorded_call import recorded_call


@pytest.fixture(scope="module")
def recording() -> Recording:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    with record() as recording:
        network(torch.zeros(2, 3))
    return recording


@pytest.fixture
def file(recording, tmp_path):
    return recording.save(tmp_path / "run.json.gz")


def test_a_round_trip_gives_an_equal_recording(recording, file):
    loaded = Recording.load(file)
    assert loaded == recording
    assert loaded.modules().equals(recording.modules())
    assert loaded.landmarks().equals(recording.landmarks())


def test_a_round_trip_at_all_zooms_together(tiny_checkpoint, tmp_path):
    """Every table of a recording has rows, and every question has the same answer from the file."""
    recording = recorded_call(tiny_checkpoint, *ZOOMS, steps=2)
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    assert loaded == recording
    asked = (
        "landmarks", "stages", "modules", "calls", "lines", "sampling", "values", "steps", "kv_cache", "weights",
        "parameters", "shards", "memory", "to_frame",
    )  # fmt: skip
    decides_inline = transformers.__version__.startswith("4.47")  # from_pretrained itself, none of DEFAULT_LINES
    for name in asked:
        table = getattr(recording, name)()
        assert len(table) or (name == "lines" and decides_inline), name
        assert getattr(loaded, name)().equals(table), name
    for event in (0, len(recording) // 2, len(recording) - 1):
        assert loaded.tensors(event) == recording.tensors(event)


def test_recordings_that_differ_are_not_equal(recording):
    with record() as other:
        pass
    assert other != recording
    assert recording != "something else"


def test_saving_twice_gives_the_same_bytes(recording, tmp_path):
    first = recording.save(tmp_path / "a.json.gz").read_bytes()
    assert recording.save(tmp_path / "b.json.gz").read_bytes() == first


@pytest.mark.parametrize("name", ["folder", ""])
def test_a_folder_is_no_file_to_save_to(recording, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecordingError, match="is a folder: name the file to write"):
        recording.save(name)
    assert [one.name for one in tmp_path.rglob("*")] == ["folder"]


def test_an_interrupted_save_leaves_nothing(recording, tmp_path, monkeypatch):
    from pathlib import Path

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        recording.save(tmp_path / "run.json.gz")
    assert list(tmp_path.iterdir()) == []


def rewritten(file, change):
    content = json.loads(gzip.decompress(file.read_bytes()))
    change(content)
    file.write_bytes(gzip.compress(json.dumps(content).encode()))
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(schema=999), "schema 999"),
        (lambda content: content.update(format="other"), "not a recording"),
        (lambda content: content.pop("events"), "damaged"),
        (lambda content: content["events"].update(function=[10**6] * len(content["events"]["function"])), "damaged"),
        (lambda content: content["events"]["kind"].pop(), "damaged"),
        (lambda content: content["events"].update(parent=[-5] * len(content["events"]["kind"])), "damaged"),
        (lambda content: content["events"].update(start=["x"] * len(content["events"]["kind"])), "damaged"),
        (lambda content: content.update(specs=[[1]]), "damaged"),
        (lambda content: content.update(tensor_lists=[[99]]), "damaged"),
    ],
    ids=[
        "newer",
        "foreign",
        "missing",
        "wild index",
        "short column",
        "wrong parent",
        "no number",
        "bad spec",
        "bad list",
    ],
)
def test_damaged_files_are_refused(file, change, message):
    with pytest.raises(RecordingError, match=message):
        Recording.load(rewritten(file, change))


def test_a_name_that_ends_in_json_is_json(recording, tmp_path):
    plain = recording.save(tmp_path / "run.json")
    assert json.loads(plain.read_text(encoding="utf-8"))["format"] == "transformers call path recording"
    assert Recording.load(plain) == recording


def test_what_a_file_is_called_does_not_decide_how_it_is_read(recording, tmp_path):
    """Files that an earlier version wrote, compressed under the name .json, and files that were renamed."""
    packed = recording.save(tmp_path / "run.json.gz").rename(tmp_path / "old.json")
    plain = recording.save(tmp_path / "run.json").rename(tmp_path / "unpacked.json.gz")
    assert Recording.load(packed) == Recording.load(plain) == recording


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": ', b"[]", b"\x1f\x8b", b"{}", b"\xff{}"])
def test_what_is_neither_is_refused(content, tmp_path):
    for name in ("run.json", "run.json.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordingError, match=r"damaged|not a recording"):
            Recording.load(tmp_path / name)


def test_a_plain_file_that_is_too_large_is_refused(recording, tmp_path, monkeypatch):
    plain = recording.save(tmp_path / "run.json")
    monkeypatch.setattr("helpers.recording.file.LARGEST", plain.stat().st_size - 1)
    with pytest.raises(RecordingError, match="is refused"):
        Recording.load(plain)


def test_a_truncated_file_is_refused(file):
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(RecordingError, match="damaged or another kind"):
        Recording.load(file)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(RecordingError, match="no recording at"):
        Recording.load(tmp_path / "nothing.json.gz")


class Bomb:
    """Would run code if anything unpickled it."""

    def __reduce__(self):
        return (pytest.fail, ("the file was unpickled",))


def test_a_pickle_is_not_run(tmp_path):
    file = tmp_path / "run.json.gz"
    for content in (pickle.dumps(Bomb()), gzip.compress(pickle.dumps(Bomb()))):
        file.write_bytes(content)
        with pytest.raises(RecordingError):
            Recording.load(file)
