"""Every question to a recording is documented: its columns, their units, and the zoom that it needs."""

import inspect
import re

import pytest
import torch

from helpers import record
from helpers.events import RecordingError
from helpers.recorder_settings import ZOOMS
from helpers.recording.recording import Recording
from helpers.tables import Table
from tests.recorded_call import recorded_call

QUESTIONS = {
    "landmarks": {}, "stages": {}, "modules": {}, "calls": {}, "lines": {}, "sampling": {}, "values": {}, "steps": {},
    "kv_cache": {}, "weights": {}, "transfers": {}, "parameters": {}, "shards": {}, "memory": {}, "memory_phases": {},
    "to_frame": {}, "find": {"name": "Attention"}, "diff": {"other": None},
}  # fmt: skip
UNITS = {
    "milliseconds": "milliseconds", "nbytes": "bytes", "disk_bytes": "bytes", "memory_bytes": "bytes",
    "kv_bytes": "bytes", "resident": "bytes", "memory": "bytes", "parameters_virtual": "bytes", "activations": "bytes",
    "entropy_bits": "entropy_bits", "start": "nanoseconds", "end": "nanoseconds", "copy_began": "nanoseconds",
    "placed": "milliseconds", "copied": "milliseconds", "first": "milliseconds", "last": "milliseconds",
    "begin": "byte", "anonymous": "bytes", "file_mapped": "bytes", "kv_cache": "bytes", "cuda_allocated": "bytes",
    "cuda_reserved": "bytes", "cuda_peak": "bytes",
}  # fmt: skip
"""Columns that are measured, and a word that says in what."""


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint, *ZOOMS, steps=2)


@pytest.fixture(scope="module")
def other(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint, attention="eager", steps=1)


def documented(name: str) -> str:
    return inspect.getdoc(getattr(Recording, name))


def asked(recording: Recording, name: str, other: Recording) -> Table:
    arguments = {key: other if value is None else value for key, value in QUESTIONS[name].items()}
    return getattr(recording, name)(**arguments)


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def test_these_are_all_questions_that_give_a_table():
    methods = inspect.getmembers(Recording, inspect.isfunction)
    tables = {name for name, method in methods if method.__annotations__.get("return") == "Table"}
    assert {name for name in tables if not name.startswith("_")} == set(QUESTIONS)


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_column_is_named_in_the_docstring(recording, other, name):
    table = asked(recording, name, other)
    columns = documented(name).partition("Columns:")[2]
    assert len(table.columns)
    assert [column for column in table.columns if not set(column.split()) <= words(columns)] == []


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_unit_and_the_zoom_are_told(recording, other, name):
    text = documented(name)
    told = words(text)
    measured = set(asked(recording, name, other).columns) & set(UNITS)
    assert {column for column in measured if UNITS[column] not in told} == set()
    zooms = words(text.partition("Zoom:")[2].partition(".")[0])
    assert zooms & set(ZOOMS), text


@pytest.mark.parametrize("name", ["source", "to_perfetto", "transfers", "tensors", "merge", "save", "load"])
def test_the_other_methods_are_documented(name):
    assert len(documented(name).split()) >= 5


REFUSED = {
    "modules": r"record\(\"modules\"\)", "lines": r"record\(lines=", "sampling": r"record\(\"sampling\"\)",
    "values": r"record\(\"values\"\)", "weights": r"record\(\"modules\"\)", "transfers": r"record\(",
    "memory": r"record\(\"memory\"\)", "memory_phases": r"record\(", "parameters": "load", "shards": "load",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_question_without_its_zoom_is_refused_with_how_to_record_it(name, other):
    coarse = Recording(environment={"zoom": ["landmarks"]}, finished=True)
    with pytest.raises(RecordingError, match=REFUSED[name]):
        asked(coarse, name, other)


def test_a_generation_that_there_is_not_is_refused(recording):
    with pytest.raises(RecordingError, match=r"There is no generation 9: give one of 0 \(counted from 0\)"):
        recording.modules(generation=9)
    with record() as empty:
        torch.nn.Linear(1, 1)(torch.zeros(1))
    with pytest.raises(RecordingError, match=r"There is no generation 0: no generate\(\) was recorded"):
        empty.modules(generation=0)
