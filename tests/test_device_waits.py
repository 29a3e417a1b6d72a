"""Recording waits for no GPU before it ends; seen on the CPU, where the copies of a load get made-up events."""

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import compat, record
from helpers.probes import load_notes
from helpers.probes.device_copies import DeviceCopies
from tests.device_waits import counted


@pytest.fixture
def waits(monkeypatch):
    return counted(monkeypatch)


def load(checkpoint):
    return AutoModelForCausalLM.from_pretrained(str(checkpoint), **compat.dtype_argument(torch.float32))


def test_what_waits_is_counted(waits):
    assert torch.tensor(3).item() == 3
    assert bool(torch.tensor(True))
    assert torch.tensor([1]).tolist() == [1]
    assert waits == ["item", "__bool__", "tolist"]


def test_a_recorded_load_and_forward_pass_wait_for_no_more_than_plain_ones(tiny_checkpoint, waits):
    ids = torch.arange(3, 9)[None]
    load(tiny_checkpoint)(ids)
    plain = list(waits)
    waits.clear()
    with record() as recording:
        load(tiny_checkpoint)(ids)
        inside = list(waits)
    assert inside == plain
    assert len(recording.parameters()) > 0
    assert len(recording.modules()) > 0


def test_the_events_of_a_load_s_copies_are_waited_for_when_the_recording_ends(tiny_checkpoint, monkeypatch):
    if compat.transformers_version() < (5,):
        pytest.skip("before 5.0 no function of its own copies a tensor")
    log = []

    class Event:
        def __init__(self, position: int) -> None:
            self.position = position
            log.append("marked")

        def synchronize(self) -> None:
            log.append("waited")

        def elapsed_time(self, end: "Event") -> float:
            return float(end.position - self.position)

    class OnAMadeUpGpu(DeviceCopies):
        def __init__(self) -> None:
            positions = itertools.count()
            super().__init__(lambda device: Event(next(positions)))

        def begin(self, device: object) -> None:
            super().begin("cuda:0")

    monkeypatch.setattr(load_notes, "DeviceCopies", OnAMadeUpGpu)
    with record() as recording:
        load(tiny_checkpoint)
        log.append("loaded")
    loaded = recording.parameters().query("status == 'loaded'")
    before, after = log[: log.index("loaded")], log[log.index("loaded") + 1 :]
    assert before.count("marked") == 2 * len(loaded) == len(before)
    assert set(after) == {"waited"}
    assert loaded["copied"].notna().all()
