"""Saving and loading: equal after a round trip; damaged, foreign and hostile files are refused in words."""

import gzip
import json
import pickle

import pytest
import torch

from helpers import record
from helpers.events import RecordingError
from helpers.recording import Recording


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


def test_recordings_that_differ_are_not_equal(recording):
    with record() as other:
        pass
    assert other != recording
    assert recording != "something else"


def test_saving_twice_gives_the_same_bytes(recording, tmp_path):
    first = recording.save(tmp_path / "a.json.gz").read_bytes()
    assert recording.save(tmp_path / "b.json.gz").read_bytes() == first


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
