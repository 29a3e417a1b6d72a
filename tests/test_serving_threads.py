"""The threads of a server: requests that run while a recording ends, or in threads that are older than it."""

import asyncio
import os
import signal
import sys
import threading
import time

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import record
from helpers.probes import profile
from helpers.probes.memory import MemoryProbe

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the memory probe holds a descriptor on Linux only")


@ON_LINUX
def test_a_sample_of_another_thread_bears_that_the_recording_ends_in_the_middle_of_it(monkeypatch):
    """It would raise in the request that runs there, or read what the number has been given to meanwhile."""
    read = os.pread
    before = set(os.listdir("/proc/self/fd"))
    probe = MemoryProbe(time.perf_counter_ns)

    def ends_meanwhile(*arguments):
        probe.close()
        return read(*arguments)

    monkeypatch.setattr(os, "pread", ends_meanwhile)
    assert probe.sample() == 0
    assert probe.columns()["resident"][0] > 0
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_row_that_comes_late_leaves_columns_of_equal_length():
    class Growing(list):
        """Another thread adds a row each time that these are gone through."""

        def __iter__(self):
            rows = [*super().__iter__()]
            self.append(rows[0])
            return iter(rows)

    probe = MemoryProbe(time.perf_counter_ns)
    probe.sample()
    probe.rows = Growing(probe.rows)
    assert {len(column) for column in probe.columns().values()} == {1}
    probe.close()


def work(seconds: float) -> None:
    """Uses the processor for so long, in this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


def handled(tokenizer, handler):
    """The recording of an async handler's second request: a thread that the first one has used runs `handler`."""

    async def request():
        with record() as recording:
            tokenizer("a text")
            await asyncio.to_thread(handler)
        return recording

    async def requests():
        await asyncio.to_thread(int)
        return await request()

    return asyncio.run(requests())


def test_a_request_in_a_thread_older_than_the_recording_is_seen_or_said_to_be_unseen(tiny_checkpoint):
    """Though the event loop's own thread is recorded."""
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    ids = torch.tensor([[5, 6, 7]])

    def generate():
        work(2 * profile.BUSY_BESIDE)  # as a model that is not tiny
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=3, min_new_tokens=3, do_sample=False)

    if sys.version_info >= (3, 12):
        recording = handled(tokenizer, generate)
        assert len(recording.steps()) == 3
        assert recording.warnings == []
        return
    with pytest.warns(UserWarning, match="asyncio_0 worked meanwhile, and nothing of that was recorded"):
        recording = handled(tokenizer, generate)
    assert len(recording) > 0
    assert "older than the recording is not seen" in recording.warnings[0]


def test_an_older_thread_that_works_a_little_beside_a_recorded_one_is_no_alarm(tiny_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    assert handled(tokenizer, lambda: work(profile.BUSY)).warnings == []


def in_a_thread(function) -> object:
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results.pop()


def test_a_recording_that_another_thread_ends_says_nothing_untrue_and_leaves_no_handler(tiny_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    before = signal.getsignal(signal.SIGINT)
    recorder = record()
    recording = recorder.__enter__()
    try:
        tokenizer("a text")
        in_a_thread(lambda: recorder.__exit__(None, None, None))
        assert recording.warnings == []
        assert len(recording) > 0
        with record() as following:
            tokenizer("a text")
        assert len(following) == len(recording)
        assert following.warnings == []
        assert sys.getprofile() is None
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_after_a_recording_that_another_thread_ended_is_the_program_s():
    before = signal.getsignal(signal.SIGINT)
    recorder = record("landmarks")
    recorder.__enter__()
    try:
        in_a_thread(lambda: recorder.__exit__(None, None, None))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_that_still_run_are_counted_where_not_all_are_named():
    computing, ended = threading.Barrier(6), threading.Event()

    def waits(*_):
        computing.wait(timeout=60)
        ended.wait(timeout=60)

    layer = torch.nn.Linear(1, 1)
    layer.register_forward_hook(waits)
    threads = [threading.Thread(target=layer, args=(torch.zeros(1),), name=f"request {number}") for number in range(5)]
    recorder = record()
    recorder.__enter__()
    for thread in threads:
        thread.start()
    computing.wait(timeout=60)
    with pytest.warns(UserWarning, match=r"request \d, request \d, request \d and 2 more still ran"):
        recorder.__exit__(None, None, None)
    ended.set()
    for thread in threads:
        thread.join()
