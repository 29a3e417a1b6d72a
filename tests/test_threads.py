"""Two threads at once: each generation has its own steps, and a second recording is refused or right."""

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList

from helpers import record
from helpers.events import KINDS, RecordingError
from helpers.probes.calls import backend
from helpers.probes.describe import Describer
from helpers.probes.watch import Watch
from helpers.recording import perfetto

PROMPTS = {"first": [[5, 6, 7]], "second": [[5, 6, 7, 8, 9]]}
NEW_TOKENS = 5


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


class InTurns(StoppingCriteria):
    """Makes two generations take their tokens alternately: each waits until the other has one more."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier = barrier

    def __call__(self, input_ids, scores, **kwargs):
        self.barrier.wait(timeout=60)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


def generate(model, prompt, new_tokens=NEW_TOKENS, criteria=()):
    ids = torch.tensor(prompt)
    return model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, min_new_tokens=new_tokens,
        do_sample=False, stopping_criteria=StoppingCriteriaList(criteria),
    )  # fmt: skip


def both_at_once(model, action=generate):
    """Generate in two threads that take turns token by token; their results, by thread name."""
    barrier = threading.Barrier(2)
    results = {}

    def run(name):
        results[name] = action(model, PROMPTS[name], criteria=[InTurns(barrier)])

    threads = [threading.Thread(target=run, args=(name,), name=name) for name in PROMPTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("keep", [None, 2], ids=["all steps in full", "two steps in full"])
def test_two_generations_at_once_have_their_own_steps(model, keep):
    plain = both_at_once(model)
    with record(steps=keep) as recording:
        results = both_at_once(model)
    for name, result in plain.items():
        assert torch.equal(results[name], result)
    in_full = NEW_TOKENS if keep is None else keep
    steps = recording.steps()
    calls = recording.calls()
    assert recording.warnings == []
    generations = calls[calls["function"] == "GenerationMixin.generate"].set_index("thread")["generation"]
    assert sorted(generations) == [0, 1]
    for name, prompt in PROMPTS.items():
        generation = generations[name]
        own = steps[steps["generation"] == generation]
        assert list(own["step"]) == list(range(NEW_TOKENS))
        assert list(own["kept"]) == [step < in_full for step in range(NEW_TOKENS)]
        assert list(own["kv_tokens"]) == [len(prompt[0]) + step for step in range(NEW_TOKENS)]
        modules = recording.modules(generation=generation)
        assert [int((modules["step"] == step).sum()) for step in range(NEW_TOKENS)] == [
            len(plain_modules(model)) if step < in_full else 0 for step in range(NEW_TOKENS)
        ]
        threads = {recording.threads[recording.events["thread"][event]] for event in modules["event"]}
        assert threads == {name}


def test_their_steps_are_drawn_in_lanes_of_their_own(model):
    with record(steps=1) as recording:
        both_at_once(model)
        both_at_once(model)  # other threads with the same names
    trace = perfetto.document(recording)["traceEvents"]
    names = {event["tid"]: event["args"]["name"] for event in trace if event["name"] == "thread_name"}
    steps = [event for event in trace if event.get("cat") == "step"]
    of = "generation steps of "
    assert sorted({names[step["tid"]] for step in steps}) == [
        "generation steps",
        *sorted([of + "first", of + "second"]),
    ]
    lanes = {lane: [step for step in steps if step["tid"] == lane] for lane in names}
    drawn = [lane for lane, own in lanes.items() if own]
    assert len(drawn) == 4
    assert not set(drawn) & {event["tid"] for event in trace if event.get("cat") in KINDS}
    for lane in drawn:
        assert len({step["args"]["generation"] for step in lanes[lane]}) == 1
        for first, second in pairwise(lanes[lane]):
            assert first["ts"] + first["dur"] <= second["ts"]


def plain_modules(model) -> list[str]:
    """The modules that one forward pass calls."""
    with record() as recording, torch.no_grad():
        model(torch.tensor([[5]]))
    return list(recording.modules()["path"])


def test_a_load_in_another_thread_is_seen_while_only_summaries_are_kept(model, tiny_checkpoint):
    """The first generation is in summarised steps when the other thread loads a model."""
    summarised, loaded = threading.Event(), threading.Event()

    class Waits(StoppingCriteria):
        def __init__(self):
            self.calls = 0

        def __call__(self, input_ids, scores, **kwargs):
            self.calls += 1
            if self.calls == 3:
                summarised.set()
                assert loaded.wait(timeout=60)
            return torch.zeros(input_ids.shape[0], dtype=torch.bool)

    def load():
        assert summarised.wait(timeout=60)
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
        loaded.set()

    with record(steps=1) as recording:
        other = threading.Thread(target=load, name="loads")
        other.start()
        generate(model, PROMPTS["first"], criteria=[Waits()])
        other.join()
    calls = recording.calls()
    landmarks = calls[(calls["thread"] == "loads") & calls["function"].str.endswith("from_pretrained")]
    assert len(landmarks)
    assert landmarks["step"].isna().all()
    assert len(recording.parameters())
    assert list(recording.steps()["kept"]) == [True] + [False] * (NEW_TOKENS - 1)


def test_a_consumer_beside_a_streamed_generation_is_in_no_step(model):
    """The usual way to stream: generate() in a thread, the reader of its tokens in the main thread."""
    with record(steps=None) as recording:
        worker = threading.Thread(target=generate, args=(model, PROMPTS["first"]), name="generates")
        worker.start()
        worker.join()
        with torch.no_grad():
            model(torch.tensor([[5]]))
    steps = {"generates": set(), "MainThread": set()}
    for thread, step in zip(recording.events["thread"], recording.events["step"], strict=True):
        steps[recording.threads[thread]].add(int(step))
    assert steps["MainThread"] == {-1}
    assert set(range(NEW_TOKENS)) <= steps["generates"]


def test_a_second_recording_in_another_thread_is_refused_or_right(model):
    seen = {}

    def second():
        try:
            with record(steps=None) as recording:
                generate(model, PROMPTS["second"])
        except RecordingError as error:
            seen["refused"] = str(error)
        else:
            seen["recording"] = recording

    with record(steps=None) as recording:
        worker = threading.Thread(target=second, name="second")
        worker.start()
        worker.join()
        generate(model, PROMPTS["first"])
    generations = 1
    if sys.version_info >= (3, 12):
        own = seen["recording"]
        assert list(own.steps()["step"]) == list(range(NEW_TOKENS))
        generations = 2  # sys.monitoring sees all threads: also what the other recording ran
    else:
        assert "profile function is already set" in seen["refused"]
    assert len(recording.steps()) == NEW_TOKENS * generations
    assert sys.getprofile() is None
    assert threading.getprofile() is None


def test_two_recordings_that_overlap_in_time_each_end_on_their_own(model):
    """The second begins in the first and ends after it, in another thread."""
    begun, go_on = threading.Event(), threading.Event()
    seen = {}

    def second():
        try:
            with record() as recording:
                begun.set()
                go_on.wait(timeout=60)
                generate(model, PROMPTS["second"])
            seen["recording"] = recording
        except RecordingError as error:
            seen["refused"] = str(error)
            begun.set()

    worker = threading.Thread(target=second, name="second")
    with record() as first:
        worker.start()
        assert begun.wait(timeout=60)
        generate(model, PROMPTS["first"])
    go_on.set()
    worker.join()
    assert len(first.steps()) == NEW_TOKENS
    if sys.version_info >= (3, 12):
        assert len(seen["recording"].steps()) == 2 * NEW_TOKENS
    else:
        assert "already set" in seen["refused"]


def test_a_thread_that_outlives_the_recording_is_as_before():
    """Before Python 3.12 a profile function belongs to its thread, and only that thread can take it off."""
    go_on, done = threading.Event(), threading.Event()
    left = {}

    def outlives():
        started.set()
        go_on.wait(timeout=60)
        str.upper("a call")
        left["profile"] = sys.getprofile()
        done.set()

    started = threading.Event()
    with record():
        worker = threading.Thread(target=outlives)
        worker.start()
        assert started.wait(timeout=60)
    go_on.set()
    assert done.wait(timeout=60)
    worker.join()
    assert left["profile"] is None


def test_a_memory_sample_has_the_index_of_its_own_row():
    from helpers.probes.memory import MemoryProbe

    class Yielding(list):
        """Lets another thread run between a row and its index."""

        def append(self, row):
            super().append(row)
            time.sleep(1e-6)

    probe = MemoryProbe(time.perf_counter_ns)
    probe.rows = Yielding()
    taken: list[list[int]] = [[] for _ in range(4)]

    def sample(indexes):
        indexes.extend(probe.sample() for _ in range(100))

    workers = [threading.Thread(target=sample, args=(indexes,)) for indexes in taken]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    probe.close()
    assert sorted(index for indexes in taken for index in indexes) == list(range(400))


def test_a_generation_in_a_thread_of_its_own_has_its_time_in_the_stages(model):
    with record("landmarks", steps=1) as recording:
        thread = threading.Thread(target=generate, args=(model, PROMPTS["first"]))
        thread.start()
        thread.join()
    stages = recording.stages()
    times = stages.set_index("name")["milliseconds"].dropna()
    assert (times >= 0).all()
    assert times["generate, prefill / decode"] > 0
    assert times["forward pass"] > 0


def test_steps_begin_and_end_while_other_threads_find_functions():
    """Switching the events of all watched functions must bear that another thread adds one at that moment."""

    def finder(code):
        return Watch(code, lambda frame: (0, -1, 0)) if code.co_filename == "found.py" else None

    describer = SimpleNamespace(description_of_one=lambda *_: 0, modes=Describer.modes)
    probe = backend()([], [], describer, None, time.perf_counter_ns, finder)

    def call_new_functions():
        for _ in range(500):
            scope = {}
            exec(compile("def new(): pass", "found.py", "exec"), scope)
            scope["new"]()

    threads = [threading.Thread(target=call_new_functions) for _ in range(2)]
    probe.start()
    for thread in threads:
        thread.start()
    try:
        probe.state().generation = 0
        while any(thread.is_alive() for thread in threads):
            probe.set_keeping(False)
            probe.set_keeping(True)
    finally:
        for thread in threads:
            thread.join()
        probe.stop()
    assert probe.problems == {}
    assert len(probe.watches) > 100


def test_a_thread_that_is_older_than_the_recording_is_seen_or_said_to_be_unseen(model):
    ids = torch.tensor([[5, 6, 7]])
    with ThreadPoolExecutor(1, thread_name_prefix="server") as pool:
        pool.submit(int).result()
        if sys.version_info >= (3, 12):
            with record() as recording:
                pool.submit(generate, model, ids.tolist()).result()
            assert len(recording.steps()) == NEW_TOKENS
            return
        with (
            pytest.warns(UserWarning, match="Nothing was recorded, and server_0 worked meanwhile"),
            record() as recording,
        ):
            pool.submit(generate, model, ids.tolist()).result()
        assert len(recording) == 0
        assert "Start it inside the `with record()` block" in recording.warnings[0]
        with record() as recording:
            pass
        assert recording.warnings == [], "it did nothing meanwhile"


def test_a_generation_that_goes_on_after_the_recording_is_told(model):
    running, ended = threading.Event(), threading.Event()

    class Waits(StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            running.set()
            assert ended.wait(timeout=60)
            return torch.zeros(input_ids.shape[0], dtype=torch.bool)

    thread = threading.Thread(
        target=generate, args=(model, PROMPTS["first"]), kwargs={"criteria": [Waits()]}, name="goes on"
    )
    recorder = record()
    recording = recorder.__enter__()
    thread.start()
    assert running.wait(timeout=60)
    with pytest.warns(UserWarning, match="goes on still ran when the recording ended"):
        recorder.__exit__(None, None, None)
    ended.set()
    thread.join()
    assert "Wait for the thread inside" in recording.warnings[-1]
    assert "open" in set(recording.calls()["status"])
