"""Copies of a load's tensors to a GPU, with made-up events: what is kept, and that nothing waits before the end."""

import functools
import itertools
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import Recording, compat, record
from helpers.probes import load_notes
from helpers.probes.device_copies import DeviceCopies

TICK = 0.25  # milliseconds between two marks of the made-up GPU


class MarkedEvent:
    """Stands for a torch.cuda.Event on a stream in which a mark comes every TICK milliseconds."""

    waited = 0

    def __init__(self, position: int) -> None:
        self.position = position

    def synchronize(self) -> None:
        type(self).waited += 1

    def elapsed_time(self, end: "MarkedEvent") -> float:
        return (end.position - self.position) * TICK


@pytest.fixture
def copies(monkeypatch) -> DeviceCopies:
    monkeypatch.setattr(MarkedEvent, "waited", 0)
    positions = itertools.count()
    return DeviceCopies(lambda device: MarkedEvent(next(positions)))


def test_each_copy_is_timed_from_the_first_one_to_its_device(copies):
    for key in ("a", "b"):
        copies.begin("cuda:0")
        copies.end(key)
    copies.begin(torch.device("cuda", 1))
    copies.end("other device")
    assert MarkedEvent.waited == 0
    assert copies.resolve() == {"a": (0, 250_000), "b": (500_000, 750_000), "other device": (0, 250_000)}


@pytest.mark.parametrize("device", [None, "cpu", "meta", "disk", "mps", torch.device("cpu")])
def test_what_goes_to_no_gpu_has_no_events(copies, device):
    copies.begin("cuda:0")  # a copy that an error left: its event is not taken for the next one's
    copies.begin(device)
    copies.end("a")
    assert copies.resolve() == {}


@pytest.fixture
def on_a_made_up_gpu(monkeypatch):
    """What goes to the CPU is timed as if that were a GPU."""

    class EverywhereAGpu(DeviceCopies):
        def __init__(self) -> None:
            positions = itertools.count()
            super().__init__(lambda device: MarkedEvent(next(positions)))

        def begin(self, device: object) -> None:
            super().begin("cuda:0")

    monkeypatch.setattr(load_notes, "DeviceCopies", EverywhereAGpu)


def test_the_ledger_and_the_shards_tell_of_the_copies(tiny_checkpoint, tmp_path, monkeypatch, on_a_made_up_gpu):
    if compat.transformers_version() < (5,):
        pytest.skip("before 5.0 no function of its own copies a tensor")
    with record("landmarks") as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))
    ledger = recording.parameters()
    loaded = ledger[ledger["status"] == "loaded"]
    assert (loaded["copied"] > 0).all()
    shards = recording.shards().set_index("file")
    for file, rows in loaded.groupby("file"):
        span = (rows["copy_ended"].max() - rows["copy_began"].min()) / 1e6
        assert shards["copied"][file] == pytest.approx(span)
    assert Recording.load(recording.save(tmp_path / "run.json.gz")) == recording


def test_a_load_on_the_cpu_has_no_copies(tiny_checkpoint):
    with record("landmarks") as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))
    for table in (recording.parameters(), recording.shards()):
        assert len(table)
        assert table["copied"].isna().all()


# out of memory -------------------------------------------------------------------------------------------------------

REASON = "CUDA out of memory. Tried to allocate 250.00 MiB."


def test_an_out_of_memory_error_is_kept_with_the_ledger_of_that_moment(tiny_checkpoint, monkeypatch, tmp_path):
    """As a GPU raises it: in the middle of a load, from the conversion of a tensor."""
    place, fails = _place_that_fails(after=5)
    monkeypatch.setattr(*place, fails)
    with pytest.raises(torch.cuda.OutOfMemoryError), record() as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), **compat.dtype_argument(torch.float32))
    assert recording.environment["ended_by"] == "OutOfMemoryError"
    assert recording.environment["out_of_memory"] == REASON
    ledger = recording.parameters()
    counts = ledger["status"].value_counts()
    assert counts["placed"] == 5
    assert counts["not reached"] == len(ledger) - 5
    assert ledger[ledger["status"] == "placed"]["placed"].notna().all()
    assert ledger[ledger["status"] == "not reached"]["placed"].isna().all()
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    assert loaded == recording


def _place_that_fails(after: int):
    """The function that puts a tensor into its module, and one in its place that has memory for `after` tensors."""
    if compat.transformers_version() < (5,):
        pytest.skip("the place differs before 5.0; the ledger's code for it does not")
    from transformers import core_model_loading

    place = core_model_loading, "set_param_for_module"
    real, calls = core_model_loading.set_param_for_module, itertools.count()

    @functools.wraps(real)  # the recorder looks behind wrappers
    def fails(*arguments, **keywords):
        if next(calls) >= after:
            raise torch.cuda.OutOfMemoryError(REASON)
        return real(*arguments, **keywords)

    return place, fails


def test_any_other_error_leaves_no_text(tiny_checkpoint):
    with pytest.raises(ValueError, match="secret"), record("landmarks") as recording:
        raise ValueError("a secret of the reader")
    assert "out_of_memory" not in recording.environment
    assert "secret" not in str(recording.environment)


def test_the_users_counters_are_never_reset():
    """Peaks are of the whole process and anybody's to reset, so no code of this package does."""
    package = Path(load_notes.__file__).parent.parent
    names = ("reset_peak_memory_stats", "reset_max_memory", "reset_accumulated_memory_stats", "empty_cache(")
    guilty = [path.name for path in package.rglob("*.py") if any(name in path.read_text("utf-8") for name in names)]
    assert guilty == []
