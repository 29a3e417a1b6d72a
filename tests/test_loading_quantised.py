"""Weights in tensors that wrap others (as quantised ones do), several tensors of a file in one parameter, and loads
within others, beside others and cut short: without the packages that make them."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch.testing._internal.two_tensor import TwoTensor

from helpers import placement, record
from helpers.probes.load_notes import Final, Load
from helpers.probes.load_rows import ledger_rows
from helpers.probes.loading import LoadingProbe
from helpers.probes.memory import held_bytes
from helpers.probes.tensor_parts import bytes_in_process, parts_with_memory

KEYS = SimpleNamespace(missing_keys=set(), unexpected_keys=set(), mismatched_keys=set())


def framed(around: object = None, /, **values) -> SimpleNamespace:
    return SimpleNamespace(f_locals=values, f_back=around)


def begun(probe: LoadingProbe, *keys: str) -> None:
    probe.load_wanted(framed())
    probe.load_begins(framed(state_dict=dict.fromkeys(keys, torch.zeros(2, 2))))


@pytest.fixture
def model():
    """One weight is of a class that wraps two tensors, and one is plain."""
    made = torch.nn.Sequential(torch.nn.Linear(8, 4, bias=False), torch.nn.Linear(4, 2, bias=False))
    wrapped = TwoTensor(torch.zeros(4, 8), torch.zeros(4, 8))
    made[0].weight = torch.nn.Parameter(wrapped, requires_grad=False)
    return made


def test_a_tensor_that_wraps_others_takes_what_they_take(model):
    wrapped, plain = (layer.weight for layer in model)
    assert wrapped.numel() * wrapped.element_size() == 4 * 8 * 4  # as if it were one
    assert bytes_in_process(wrapped) == 2 * 4 * 8 * 4
    assert parts_with_memory(plain) == [plain]
    assert held_bytes([model]) == (2 * 4 * 8 * 4 + 4 * 2 * 4, 0)
    assert list(placement.where(model)["nbytes"]) == [2 * 4 * 8 * 4, 4 * 2 * 4]


def test_the_weights_of_a_recording_count_them_too(model):
    with record() as recording, torch.no_grad():
        model(torch.zeros(1, 8))
    assert list(recording.weights()["nbytes"]) == [2 * 4 * 8 * 4, 4 * 2 * 4]


def test_numbers_and_scales_share_the_bytes_of_their_parameter_and_none_is_lost():
    load = Load()
    load.stored = {
        "w.absmax": (None, "float32", (4,)), "w.map": (None, "float32", (3,)), "w": (None, "uint8", (10,)),
        "plain": (None, "float32", (2,)),
    }  # fmt: skip
    load.targets = {key: key.split(".")[0] for key in load.stored}
    load.final = {"w": Final("uint8", "cpu", 100), "plain": Final("bfloat16", "cpu", 4)}
    rows = {row.key: row for row in ledger_rows([load], {})}
    assert [rows[key].nbytes for key in ("w.absmax", "w.map", "w")] == [23, 18, 59]
    assert {rows[key].dtype for key in ("w.absmax", "w.map", "w")} == {None}  # which has which is not known
    assert (rows["plain"].dtype, rows["plain"].nbytes) == ("bfloat16", 4)


def test_the_ledger_of_a_load_counts_them_too(model):
    probe = LoadingProbe(iter(range(100)).__next__)
    begun(probe, "0.weight")
    probe.model_ready(model)
    assert [row.nbytes for row in probe.rows()] == [2 * 4 * 8 * 4]


@pytest.mark.parametrize("stays", ["loaded", "offloaded"])
def test_the_load_of_an_adapter_within_another_leaves_both_whole(stays):
    """As from_pretrained does with the folder of an adapter: the base, then PEFT's modules, then the adapter."""
    probe = LoadingProbe(iter(range(100)).__next__)
    model = torch.nn.ModuleDict({"q": torch.nn.ModuleDict({"base_layer": torch.nn.Linear(2, 2, bias=False)})})
    model["q"]["lora"] = torch.nn.Linear(2, 1, bias=False)
    probe.load_wanted(framed())
    for key, name, missing in (
        ("q.weight", "q.weight", set()),
        ("base.q.lora.weight", "q.lora.weight", {"q.base_layer.weight"}),
    ):
        probe.load_begins(framed(state_dict={key: torch.zeros(1)}))
        probe._open[-1].targets[key] = name
        if stays == "offloaded" and key == name:  # the base alone
            probe.offloaded(framed(target_name=name))
        else:
            probe._note_placed(name)
        probe.load_ends(SimpleNamespace(missing_keys=missing, unexpected_keys=set(), mismatched_keys=set()))
    probe.model_ready(model)
    assert probe.problems == {}
    assert probe._open == []
    rows = [(row.load, row.key, row.parameter, row.status, row.nbytes) for row in probe.rows()]
    assert rows == [
        (0, "q.weight", "q.weight", stays, 16),
        (1, "base.q.lora.weight", "q.lora.weight", "renamed", 8),
    ]


def test_a_load_within_another_ends_itself_alone():
    probe = LoadingProbe(iter(range(100)).__next__)
    outer, inner = (torch.nn.ModuleDict({name: torch.nn.Linear(2, 2, bias=False)}) for name in ("outer", "inner"))
    begun(probe, "outer.weight")
    begun(probe, "inner.weight")
    for name, model in (("inner.weight", inner), ("outer.weight", outer)):
        probe._note_placed(name)
        probe.load_ends(KEYS)
        probe.model_ready(model)
    assert probe.problems == {}
    rows = [(row.load, row.parameter, row.status, row.nbytes) for row in probe.rows()]
    assert rows == [(0, "outer.weight", "loaded", 16), (1, "inner.weight", "loaded", 16)]


def in_a_thread(called, *arguments) -> None:
    thread = threading.Thread(target=called, args=arguments, name="worker")
    thread.start()
    thread.join()


def test_what_a_worker_thread_places_belongs_to_the_load_that_runs_if_it_is_the_only_one():
    """As the threads do in which 4.57 loads shards: they hold no from_pretrained of their own."""
    probe = LoadingProbe(iter(range(100)).__next__)
    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2, bias=False) for name in ("one", "two")})

    begun(probe, "one.weight")
    probe.load_ends(KEYS)
    probe.model_ready(model)
    begun(probe, "one.weight", "two.weight")
    in_a_thread(probe.placed, framed(target_name="one.weight"))
    in_a_thread(begun, probe, "two.weight")
    in_a_thread(probe.placed, framed(target_name="two.weight"))  # of which of the two is not known
    probe.model_ready(model)
    assert probe.problems == {}
    rows = [(row.load, row.key, row.thread, row.placed is not None) for row in probe.rows()]
    assert rows == [
        (0, "one.weight", None, False),
        (1, "one.weight", "worker", True),
        (1, "two.weight", None, False),
        (2, "two.weight", None, False),
    ]


def test_a_load_that_an_error_leaves_tells_how_far_it_came():
    probe = LoadingProbe(iter(range(100)).__next__)
    probe.load_wanted(framed())
    probe.load_begins(framed(state_dict=dict.fromkeys(("placed", "other shape", "later"), torch.zeros(2))))
    noted = SimpleNamespace(mismatched_keys={("other shape", (2,), (3,))})
    for name in ("placed", "other shape"):
        probe.placed(framed(target_name=name, loading_info=noted))
    probe.load_ends(None)
    probe.model_ready(None)
    assert probe.problems == {}
    rows = {row.key: (row.status, row.thread) for row in probe.rows()}
    main = threading.current_thread().name
    assert rows == {"placed": ("placed", main), "other shape": ("mismatched", main), "later": ("not reached", None)}


def test_a_gpu_that_fails_takes_no_row_with_it():
    def fails() -> dict:
        raise RuntimeError("CUDA error: device-side assert triggered")

    load, problems = Load(), {}
    load.stored["weight"] = (None, "float32", (4,))
    load.copies = SimpleNamespace(resolve=fails)
    (row,) = ledger_rows([load], problems)
    assert (row.key, row.copy_began) == ("weight", None)
    assert "device-side assert" in problems["copies"]


def test_what_a_load_has_queued_is_read_though_another_ends_meanwhile():
    probe = LoadingProbe(iter(range(100)).__next__)
    weight = torch.zeros(2, 2)
    begun(probe, "weight")
    probe.queued(framed(framed(original_key="weight", renamed_key="weight"), tensor=weight))
    in_a_thread(lambda: (begun(probe, "other"), probe.model_ready(torch.nn.Linear(2, 2))))
    in_a_thread(lambda: (probe.materialize_begins(framed(tensor=weight)), probe.materialize_ends(weight)))
    probe.model_ready(torch.nn.Linear(2, 2))
    assert probe.problems == {}
    assert [(row.key, row.thread) for row in probe.rows()] == [("weight", "worker"), ("other", None)]
