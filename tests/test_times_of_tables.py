"""Times in tables are the recorded nanoseconds in milliseconds, and each figure of a step or a load is its own."""

import numpy as np
import pandas as pd
import pytest

from helpers.events import NOT_OBSERVED
from helpers.recording.recording import Recording
from tests.recorded_call import NEW_TOKENS, edited, recorded_call

KEPT = 2


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint, steps=KEPT)


# steps, memory, cache ------------------------------------------------------------------------------------------------


def test_a_step_has_its_own_time_kind_memory_and_events(recording):
    table, rows = recording.steps(), recording.step_rows
    assert list(table["milliseconds"]) == pytest.approx((rows["end"] - rows["start"]) / 1e6)
    assert list(table["kind"]) == ["prefill"] + ["decode"] * (NEW_TOKENS - 1)
    assert list(table["kept"]) == [True] * KEPT + [False] * (NEW_TOKENS - KEPT)
    assert list(table["resident"]) == list(recording.memory_series["resident"][rows["memory"]])
    unread = edited(recording, step_rows={**rows, "memory": np.full(NEW_TOKENS, NOT_OBSERVED)})
    assert unread.steps()["resident"].isna().all()


def test_the_memory_series_is_in_milliseconds(recording):
    assert list(recording.memory()["milliseconds"]) == pytest.approx(recording.memory_series["time"] / 1e6)


def test_layers_of_a_cache_are_counted_from_the_first_of_their_run(recording):
    """Layers that are alike are kept as one row: here layer 0, then layers 1 to 3."""
    step = {"generation": [0, 0], "step": [0, 0], "first_layer": [0, 1], "layers": [1, 3]}
    sizes = {"tokens": [4, 2], "capacity": [8, 2], "nbytes": [64, 16]}
    rows = {name: np.array(values) for name, values in (step | sizes).items()}
    assert rows.keys() == recording.cache_rows.keys()
    table = edited(recording, cache_rows=rows).kv_cache()
    assert list(table["layer"]) == [0, 1, 2, 3]
    assert [list(table[name]) for name in sizes] == [[4, 2, 2, 2], [8, 2, 2, 2], [64, 16, 16, 16]]


# loads ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def loaded(recording) -> Recording:
    """Two tensors of one file, put in place and copied to a GPU one after the other."""
    first, second = [row for row in recording.loads if row.status == "loaded"][:2]
    shared = {"file": "one.safetensors", "dtype": "float32", "disk_dtype": "float32"}
    return edited(
        recording,
        loads=[
            first._replace(
                **shared, started=1_000_000, finished=4_000_000, placed=5_000_000, copy_began=0, copy_ended=2_000_000
            ),
            second._replace(
                **shared, started=2_000_000, finished=4_500_000, placed=9_000_000, copy_began=3_000_000,
                copy_ended=9_500_000,
            ),
        ],
    )  # fmt: skip


def test_each_tensor_of_a_load_has_its_own_times(loaded):
    table = loaded.parameters()
    told = {name: list(table[name]) for name in ("milliseconds", "placed", "copied")}
    assert told == {"milliseconds": [3, 2.5], "placed": [5, 9], "copied": [2, 6.5]}


def test_a_shard_takes_from_its_first_tensor_to_its_last(loaded):
    (shard,) = loaded.shards().to_dict("records")
    assert [shard[name] for name in ("tensors", "first", "last", "copied")] == [2, 5, 9, 9.5]


def test_what_is_not_observed_of_a_load_is_no_number(loaded):
    unknown = [row._replace(disk_dtype=None, begin=None, end=None, nbytes=None) for row in loaded.loads]
    table = edited(loaded, loads=unknown)
    assert list(table.parameters()["cast"]) == [None, None]
    (shard,) = table.shards().to_dict("records")
    assert pd.isna(shard["disk_bytes"])
    assert pd.isna(shard["memory_bytes"])
    assert shard["casts"] == 0
