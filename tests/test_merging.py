"""Recording.merge: ranks as lanes on one clock, in every table, in the file; what is no whole run is refused."""

import copy
import gzip
import json
import time

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import Recording, compat, record
from helpers.events import RecordingError
from helpers.process_group import BEGAN, own_rank, path_of_rank
from helpers.views.placement_figures import rank_description
from tests.recorded_call import edited

NEW_TOKENS = 6
STEPS_KEPT = 2
LATER = 2_000_000  # nanoseconds


def record_rank(checkpoint, rank: int, *, of: int = 2, monkeypatch) -> Recording:
    """One rank's recording: a rank is what RANK and WORLD_SIZE say, so no group is needed."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(of))
    ids = torch.arange(3, 9)[None]
    with record("landmarks", "modules", "memory", "sampling", "values", "lines", steps=STEPS_KEPT) as recording:
        model = AutoModelForCausalLM.from_pretrained(str(checkpoint), **compat.dtype_argument(torch.float32))
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, **_length())
    return recording


def _length() -> dict[str, int]:
    return {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}


@pytest.fixture(scope="module")
def ranks(tiny_checkpoint) -> list[Recording]:
    """Recorded one after the other; the second says that it began soon after the first, so that they overlap."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        recordings = [record_rank(tiny_checkpoint, rank, monkeypatch=monkeypatch) for rank in range(2)]
    recordings[1].environment[BEGAN] = recordings[0].environment[BEGAN] + LATER
    return recordings


@pytest.fixture(scope="module")
def merged(ranks) -> Recording:
    return Recording.merge(ranks)


@pytest.fixture
def single(tiny_checkpoint) -> Recording:
    with record() as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))
    return recording


def without(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return pd.DataFrame(table).drop(columns=["rank", *columns], errors="ignore").reset_index(drop=True)


# what a merged recording holds ---------------------------------------------------------------------------------------


def test_every_thread_of_every_rank_is_a_lane(ranks, merged):
    assert merged.threads == [f"rank {rank}: {name}" for rank in (0, 1) for name in ranks[rank].threads]


def test_events_are_all_there_in_the_order_in_which_they_began(ranks, merged):
    assert len(merged) == sum(map(len, ranks))
    assert not merged.to_frame()["rank"].is_monotonic_increasing, "the ranks overlap"
    assert (merged.events["start"][1:] >= merged.events["start"][:-1]).all()
    parents = merged.events["parent"]
    assert all(parent < event for event, parent in enumerate(parents.tolist()))


def test_the_ranks_are_on_one_clock(ranks, merged):
    frame = merged.to_frame()
    first = frame.groupby("rank")["start"].min()
    apart = first[1] - first[0] - (ranks[1].events["start"][0] - ranks[0].events["start"][0])
    assert abs(apart - LATER) <= 100  # nanoseconds: what is kept of a time
    ledger = merged.parameters()
    placed = ledger[ledger["rank"] == 1]["placed"].to_numpy() - ranks[1].parameters()["placed"].to_numpy()
    assert set(placed.round(3)) == {LATER / 1e6}
    assert merged.environment[BEGAN] == ranks[0].environment[BEGAN]


@pytest.mark.parametrize(
    "question", ["modules", "calls", "parameters", "steps", "kv_cache", "weights", "sampling", "memory_phases"]
)
def test_the_rows_of_each_rank_are_those_of_its_own_recording(ranks, merged, question):
    table = getattr(merged, question)()
    assert next(iter(table.columns)) == "rank"
    moved = ("event", "thread", "placed")  # events are numbered anew, times are on one clock
    for rank, recording in enumerate(ranks):
        own = getattr(recording, question)()
        assert "rank" not in own
        of_rank = without(table[table["rank"] == rank], *moved)
        pd.testing.assert_frame_equal(of_rank, without(own, *moved), check_dtype=False)


def test_values_lines_memory_and_shards_are_told_by_rank(ranks, merged):
    for rank, recording in enumerate(ranks):
        values = merged.values()
        own = without(recording.values(), "event")
        pd.testing.assert_frame_equal(without(values[values["rank"] == rank], "event"), own)
        lines = merged.lines()
        of_rank = lines[merged.to_frame()["rank"][lines["event"]].to_numpy() == rank]
        pd.testing.assert_frame_equal(without(of_rank, "event"), without(recording.lines(), "event"))
        memory = merged.memory()
        assert (memory["rank"] == rank).sum() == len(recording.memory())
        shards = merged.shards()
        assert list(shards[shards["rank"] == rank]["file"]) == list(recording.shards()["file"])
    assert len(merged.lines()) == sum(len(recording.lines()) for recording in ranks) > 0
    assert merged.lines()["event"].is_monotonic_increasing


def test_a_memory_sample_stays_with_its_event(ranks, merged):
    for rank, recording in enumerate(ranks):
        frame = merged.to_frame()
        samples = frame[frame["rank"] == rank]["memory_after"].dropna().astype(int)
        assert (merged.ranks["memory_series"][samples] == rank).all()
        own = recording.to_frame()["memory_after"].dropna().astype(int)
        assert list(merged.memory_series["resident"][samples]) == list(recording.memory_series["resident"][own])


def test_warnings_and_modules_of_every_rank_stay(ranks):
    parts = [copy.copy(recording) for recording in ranks]
    for part, warning in zip(parts, ("blind", "late"), strict=True):
        part.warnings = [warning]
    merged = Recording.merge(parts)
    assert merged.warnings == ["rank 0: blind", "rank 1: late"]
    assert len(merged.module_rows) == len(merged.paths) > 0
    assert merged.module_rows == ranks[0].module_rows  # equal ones are kept once
    for rows in (merged.functions, merged.specs):
        assert len(set(rows)) == len(rows) > 0


def test_tensors_sources_and_surroundings_of_a_rank_stay_its_own(ranks):
    other = edited(
        ranks[1],
        specs=[spec._replace(device="cuda:1") for spec in ranks[1].specs],
        sources=ranks[1].sources | {"own:function": "only here"},
        environment=ranks[1].environment | {"python": "3.12.1"},
    )
    merged = Recording.merge([ranks[0], other])
    devices = merged.modules().groupby("rank")["device"].unique()
    assert {rank: set(found) for rank, found in devices.items()} == {0: {"cpu"}, 1: {"cuda:1"}}
    assert merged.sources["own:function"] == "only here"
    assert merged.environment["python"] == f"rank 0: {ranks[0].environment['python']}, rank 1: 3.12.1"
    assert merged.environment["platform"] == ranks[0].environment["platform"]
    assert "rank" not in merged.environment


def test_find_and_landmarks_tell_of_all_ranks(ranks, merged):
    found = merged.find("q_proj", step=0)
    assert sorted(found["rank"]) == [0] * 2 + [1] * 2
    calls = merged.landmarks().set_index("landmark")["calls"]
    own = [recording.landmarks().set_index("landmark")["calls"] for recording in ranks]
    assert (calls == own[0] + own[1]).all()


def test_the_stages_tell_the_time_of_rank_0(ranks, merged):
    assert list(merged.stages()["milliseconds"].fillna(-1)) == pytest.approx(
        list(ranks[0].stages()["milliseconds"].fillna(-1)), abs=1e-3
    )


def test_it_says_how_many_ranks_it_is_of(merged):
    assert repr(merged) == (
        f"<Recording of transformers {merged.environment['transformers']} in 2 ranks: {len(merged)} events, "
        f"{NEW_TOKENS} generation steps in each ({STEPS_KEPT} in full)>"
    )


def test_two_ranks_that_did_the_same_differ_in_nothing_but_that_they_are_two(ranks):
    rows = ranks[0].diff(ranks[1])
    assert set(rows["what"]) <= {"not compared"}, rows


# its file ------------------------------------------------------------------------------------------------------------


def test_a_round_trip_gives_an_equal_recording(merged, tmp_path):
    loaded = Recording.load(merged.save(tmp_path / "run.json.gz"))
    assert loaded == merged
    assert loaded.modules().equals(merged.modules())


def test_only_a_merged_recording_needs_the_newer_schema(ranks, merged, tmp_path):
    schemas = []
    for recording in (ranks[0], merged):
        file = recording.save(tmp_path / "run.json.gz")
        schemas.append(json.loads(gzip.decompress(file.read_bytes()))["schema"])
    assert schemas[0] < schemas[1]


@pytest.mark.parametrize("damage", ["shorter", "higher", "gone", "size"])
def test_damaged_ranks_are_refused(merged, tmp_path, damage):
    file = merged.save(tmp_path / "run.json.gz")
    content = json.loads(gzip.decompress(file.read_bytes()))
    if damage == "shorter":
        content["ranks"]["loads"].pop()
    elif damage == "higher":
        content["ranks"]["threads"][0] = 7
    elif damage == "gone":
        del content["ranks"]
    else:
        content["environment"]["world_size"] = 0
    file.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(RecordingError, match="damaged"):
        Recording.load(file)


def test_the_trace_has_a_process_for_each_rank(merged, tmp_path):
    trace = json.loads(merged.to_perfetto(tmp_path / "run.json").read_text(encoding="utf-8"))
    names = {event["pid"]: event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "process_name"}
    assert [name.split(":")[0] for _, name in sorted(names.items())] == ["rank 0", "rank 1"]
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X" and event["cat"] != "step"]
    ranks = merged.to_frame()["rank"]
    process_of_rank = dict(enumerate(sorted(names)))
    assert [event["pid"] for event in slices] == [process_of_rank[rank] for rank in ranks]


# what is refused -----------------------------------------------------------------------------------------------------


def test_recordings_may_come_in_any_order_and_as_paths(ranks, merged, tmp_path):
    paths = [recording.save(path_of_rank(tmp_path / "run.json.gz", rank)) for rank, recording in enumerate(ranks)]
    assert [path.name for path in paths] == ["run.rank0.json.gz", "run.rank1.json.gz"]
    assert Recording.merge(reversed(paths)) == merged


def test_what_is_no_whole_run_is_refused_with_the_reason(ranks, merged, single, tmp_path):
    unclocked = {name: value for name, value in ranks[1].environment.items() if name != BEGAN}
    for recordings, reason in (
        ([], "given no recording"),
        (ranks[:1], "rank 1 is missing"),
        ([ranks[0], ranks[0]], "two recordings of rank 0"),
        ([ranks[0], single], "does not say which rank"),
        ([ranks[0], edited(ranks[1], environment=unclocked)], "does not say which rank"),
        ([ranks[0], edited(ranks[1], finished=False)], "still running"),
        ([merged, ranks[1]], "merged already"),
        ([ranks[0], tmp_path / "none.json.gz"], "There is no recording at"),
    ):
        with pytest.raises(RecordingError, match=reason):
            Recording.merge(recordings)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("run.rank0.json.gz", "'run.rank0.json.gz' alone: give it a list, with one recording per rank"),
        (5, "an object of class int: give it a list"),
        ([None], "an object of class NoneType in the place of a recording, or of the path of one"),
    ],
)
def test_what_is_no_list_of_recordings_is_refused(given, says):
    with pytest.raises(RecordingError, match=says):
        Recording.merge(given)


def test_recordings_of_different_runs_are_refused(ranks, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with record("landmarks") as other:
        pass
    with pytest.raises(RecordingError, match=r"not of one run: zoom differs"):
        Recording.merge([ranks[0], other])


def test_a_recording_tells_when_it_began_on_the_clock_of_all_processes(monkeypatch):
    """However long the rest of its environment takes to be told: that is no part of the time at which it began."""
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("helpers.environment._version", lambda package: time.sleep(0.02))
    before = time.time_ns()
    with record("landmarks") as recording:
        within = time.time_ns()
    assert before - 100_000 < recording.environment[BEGAN] < within + 100_000


# ranks ---------------------------------------------------------------------------------------------------------------


def test_a_process_without_a_group_has_no_rank(monkeypatch, single):
    assert own_rank() is None
    assert {"rank", "world_size", BEGAN}.isdisjoint(single.environment)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert own_rank() is None


@pytest.mark.parametrize(("rank", "size"), [("2", "2"), ("one", "2"), ("-1", "2")])
def test_a_rank_that_is_none_is_refused(monkeypatch, rank, size):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(RecordingError, match="do not name a rank"), record():
        pass


def test_ranks_of_two_runs_are_told_apart_by_the_id_of_their_launcher(monkeypatch):
    def recorded(rank: str, run: str) -> Recording:
        for name, value in (("RANK", rank), ("WORLD_SIZE", "2"), ("TORCHELASTIC_RUN_ID", run)):
            monkeypatch.setenv(name, value)
        with record("landmarks") as recording:
            pass
        return recording

    assert Recording.merge([recorded("0", "first"), recorded("1", "first")]).ranks
    assert Recording.merge([recorded("0", "none"), recorded("1", "none")]).ranks  # without an id
    with pytest.raises(RecordingError, match=r"not of one run: run differs \(rank 0: first, rank 1: second\)"):
        Recording.merge([recorded("0", "first"), recorded("1", "second")])


def test_a_second_generation_is_no_part_of_the_figure_of_the_first(monkeypatch, tiny_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    ids = torch.tensor([[5, 6, 7]])
    parts = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        with record("modules") as recording:
            for _ in range(2):
                model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=2)
        parts.append(recording)
    parts[1].environment["out_of_memory"] = "no room"
    merged = Recording.merge(parts)
    assert rank_description(merged).startswith("2 lanes, one per rank, over the time of step 0: 2 decoder layers each")
    assert merged.environment["out_of_memory"] == "rank 0: None, rank 1: no room"
