"""The process is as before after a recording, however it ended; and the program's results are the same bit by bit."""

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import weakref

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import compat, landmarks, record
from helpers.events import RecordingError
from helpers.recorder_settings import ZOOMS

NEW_TOKENS, PROMPT = 6, "hello there"
EVERYTHING = tuple(zoom for zoom in ZOOMS if zoom != "lines")
LINES = ("gen.sample", "fwd.attn", "model.from_pretrained")


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    return AutoTokenizer.from_pretrained(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), **compat.dtype_argument(torch.float32))


def generate(model, tokenizer, seed=0, **settings):
    if seed is not None:
        torch.manual_seed(seed)
    inputs = tokenizer(PROMPT, return_tensors="pt").to(model.device)
    return model.generate(**inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=True, **settings)


# results -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("zoom", [*((zoom,) for zoom in EVERYTHING), EVERYTHING], ids=lambda zoom: "+".join(zoom))
def test_results_are_bit_identical(tiny_checkpoint, tokenizer, zoom, attention):
    if attention == "eager" and len(zoom) == 1 and zoom != ("values",):
        pytest.skip("once with each zoom is enough; values reads what eager attention gives")
    model = AutoModelForCausalLM.from_pretrained(
        str(tiny_checkpoint), attn_implementation=attention, **compat.dtype_argument(torch.float32)
    )
    inputs = tokenizer(PROMPT, return_tensors="pt")
    lines = LINES if zoom == EVERYTHING else None
    with torch.no_grad():
        plain_logits = model(**inputs).logits
        plain = generate(model, tokenizer, temperature=0.7, top_k=20, repetition_penalty=1.1)
        random_numbers = torch.get_rng_state()
        with record(*zoom, lines=lines, steps=None):
            recorded_logits = model(**inputs).logits
            recorded = generate(model, tokenizer, temperature=0.7, top_k=20, repetition_penalty=1.1)
    assert torch.equal(plain_logits, recorded_logits)
    assert torch.equal(plain, recorded)
    assert torch.equal(random_numbers, torch.get_rng_state())


def test_loaded_weights_are_bit_identical(tiny_checkpoint, model):
    with record(*EVERYTHING, lines=LINES):
        loaded = AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), **compat.dtype_argument(torch.float32))
    for (name, first), (_, second) in zip(model.named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.equal(first, second), name


# the process ---------------------------------------------------------------------------------------------------------


REGISTRIES = (  # none before 4.48
    getattr(transformers.modeling_utils, "ALL_ATTENTION_FUNCTIONS", {}),
    getattr(type(getattr(transformers.modeling_utils, "ALL_ATTENTION_FUNCTIONS", {})), "_global_mapping", {}),
)
GLOBAL_HOOKS = [name for name in vars(torch.nn.modules.module) if name.startswith("_global") and "hook" in name]


def interpreter_state(model) -> dict:
    """Everything that a recording could leave behind, to be compared by identity: {what: {where: object}}."""
    gc.collect()  # files of earlier tests that nobody holds
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(1)  # transformers lets the pool of a load end by itself
    modules = dict(model.named_modules())
    state = {
        "signal handler": {"SIGINT": signal.getsignal(signal.SIGINT)},
        "profile and trace": {"profile": sys.getprofile(), "trace": sys.gettrace()},
        "of new threads": {"profile": threading.getprofile(), "trace": threading.gettrace()},
        "meta path": dict(enumerate(sys.meta_path)),
        "attention": {(place, name): registry[name] for place, registry in enumerate(REGISTRIES) for name in registry},
        "global hooks": {
            (name, key): hook
            for name in GLOBAL_HOOKS
            for key, hook in (getattr(torch.nn.modules.module, name) or {}).items()
        },
        "hooks": {
            (path, name, key): hook
            for path, module in modules.items()
            for name, hooks in vars(module).items()
            if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called"))
            for key, hook in hooks.items()
        },
        "modules": {(path, name): value for path, module in modules.items() for name, value in vars(module).items()},
        "parameters": {
            (path, name): tensor
            for path, module in modules.items()
            for name, tensor in (*module._parameters.items(), *module._buffers.items())
        },
        "classes": {
            (kind, name): value
            for kind in {torch.nn.Module, *map(type, modules.values())}
            for name, value in vars(kind).items()
            if name not in CACHES_OF_TYPES
        },
        "functions": {r.target: landmarks.find(r.target) for r in landmarks.resolve() if r.found},
    }
    equal = {
        "descriptors": sorted(os.listdir("/proc/self/fd")) if sys.platform == "linux" else None,
        "threads alive": sorted(thread.name for thread in threading.enumerate()),
    }
    if sys.version_info >= (3, 12):
        codes = [r.code for r in landmarks.resolve() if r.code is not None]
        codes += [torch.nn.Module._wrapped_call_impl.__code__, generate.__code__]
        equal["tools"] = [sys.monitoring.get_tool(number) for number in range(6)]
        equal["events"] = [events_of(number, codes) for number in range(6)]
    return {"same": state, "equal": equal}


CACHES_OF_TYPES = ("__abstractmethods__", "_abc_impl", "__annotations__", "__annotations_cache__")
"""Attributes of a class that Python itself makes anew."""


def events_of(number: int, codes: list) -> list:
    """The events and callbacks of one tool of sys.monitoring; they outlive the tool, for the number's next owner."""
    owned = sys.monitoring.get_tool(number) is not None
    if not owned:
        sys.monitoring.use_tool_id(number, "test")
    try:
        events = [sys.monitoring.get_events(number), *(sys.monitoring.get_local_events(number, code) for code in codes)]
        return [events, [] if owned else callbacks_of(number)]
    finally:
        if not owned:
            sys.monitoring.free_tool_id(number)


def callbacks_of(number: int) -> list:
    """What is registered for each kind of event; it can only be asked by putting something in its place."""
    kinds = [1 << bit for bit in range(16)]
    found = []
    for kind in kinds:
        callback = sys.monitoring.register_callback(number, kind, None)
        sys.monitoring.register_callback(number, kind, callback)
        found.append(callback)
    return found


def assert_same(before: dict, after: dict) -> None:
    assert before["equal"] == after["equal"]
    for what, first in before["same"].items():
        second = after["same"][what]
        assert list(first) == list(second), what
        assert [where for where in first if first[where] is not second[where]] == [], what


def nothing(*arguments):
    return None


def test_what_would_be_left_behind_is_seen(model, monkeypatch):
    """Values, not names alone: each of these changes leaves every name as it was."""
    changes = [
        lambda patch: patch.setattr(torch.nn.Module, "__call__", nothing),
        lambda patch: patch.setitem(vars(model.model), "training", "changed"),
        lambda patch: patch.setitem(model.model.norm._parameters, "weight", torch.nn.Parameter(torch.zeros(1))),
        lambda patch: patch.setitem(model.lm_head._forward_hooks, 0, nothing),
        lambda patch: patch.setitem(torch.nn.modules.module._global_forward_hooks, 0, nothing),
    ]
    if REGISTRIES[0]:
        changes.append(lambda patch: patch.setitem(REGISTRIES[1], "sdpa", nothing))
    for change in changes:
        before = interpreter_state(model)
        with monkeypatch.context() as patch:
            change(patch)
            with pytest.raises(AssertionError):
                assert_same(before, interpreter_state(model))
        assert_same(before, interpreter_state(model))


@pytest.mark.parametrize("zoom", [(), EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_the_interpreter_is_as_before(model, tokenizer, ending, zoom):
    before = interpreter_state(model)
    ends = pytest.raises(ending, match="on purpose") if ending else contextlib.nullcontext()
    with ends, record(*zoom, lines=LINES if zoom else None) as recording:
        generate(model, tokenizer)
        if ending:
            raise ending("on purpose")
    assert_same(before, interpreter_state(model))
    assert recording.finished
    assert len(recording) > 0
    assert recording.environment.get("ended_by") == (ending.__name__ if ending else None)


@pytest.mark.parametrize("wrong", ["no.such.module:function", "nonsense"])
def test_a_recording_that_cannot_begin_leaves_nothing(model, wrong):
    before = interpreter_state(model)
    with pytest.raises(RecordingError), record(lines=(wrong,)):
        pass
    assert_same(before, interpreter_state(model))


def test_sys_exit_in_the_middle_of_a_generation(model, tokenizer):
    class Leaves(transformers.StoppingCriteria):
        def __call__(self, input_ids, scores, **kwargs):
            sys.exit(3)

    before = interpreter_state(model)
    with pytest.raises(SystemExit) as left, record(steps=1) as recording:
        generate(model, tokenizer, stopping_criteria=transformers.StoppingCriteriaList([Leaves()]))
    assert left.value.code == 3
    assert_same(before, interpreter_state(model))
    assert recording.calls().set_index("function").loc["GenerationMixin.generate", "status"] == "raised"


@pytest.mark.skipif(sys.platform == "win32", reason="signal.setitimer is of POSIX")
def test_ctrl_c_at_any_moment(model, tokenizer):
    """The interrupt may meet a probe as well as the program: the process is as before all the same.

    Unseeded: `torch.manual_seed` takes torch.cuda's lock, and an interrupt that meets a Python profile function just
    before the lock's `__exit__` leaves it taken, whoever's profile function it is. Likewise gradients stay off
    where an interrupt meets the `__enter__` or `__exit__` of a torch.no_grad in generate(), recorded or not.
    """
    before = interpreter_state(model)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    endings = set()
    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        for attempt in range(8):
            faulthandler.dump_traceback_later(120, exit=True)  # a lock that stays taken would hold it for ever
            with torch.enable_grad(), contextlib.suppress(KeyboardInterrupt), record(steps=None) as recording:
                signal.setitimer(signal.ITIMER_REAL, 0.01 + 0.013 * attempt)
                for _ in range(3):
                    generate(model, tokenizer, seed=None)
                signal.setitimer(signal.ITIMER_REAL, 0)  # a fast machine is done: the end is not interrupted
            assert recording.finished
            recording.landmarks()
            endings.add(recording.environment.get("ended_by"))
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert "KeyboardInterrupt" in endings
    assert_same(before, interpreter_state(model))
    with record() as recording:  # and the next one is right
        generate(model, tokenizer)
    assert len(recording.steps()) == NEW_TOKENS


class StopsAfter(transformers.StoppingCriteria):
    """A user's stopping criteria that raises in the middle of generation."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, input_ids, scores, **kwargs):
        self.calls -= 1
        if not self.calls:
            raise RuntimeError("in the middle")
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)


@pytest.mark.parametrize("steps", [1, None])
def test_an_exception_in_the_middle_closes_every_call(model, tokenizer, steps):
    with pytest.raises(RuntimeError, match="in the middle"), record(steps=steps) as recording:
        generate(model, tokenizer, stopping_criteria=transformers.StoppingCriteriaList([StopsAfter(3)]))
    calls = recording.calls().set_index("function")
    assert calls.loc["GenerationMixin.generate", "status"] == "raised"
    assert calls.loc["GenerationMixin._sample", "status"] == "raised"
    assert "open" not in set(calls["status"])
    assert len(recording.steps()) == 3


def test_no_tensor_is_kept_alive(model, tokenizer):
    references = []

    def remember(module, args, output):
        references.append(weakref.ref(output))

    handle = model.model.norm.register_forward_hook(remember)
    try:
        with record(steps=None) as recording:
            generate(model, tokenizer)
    finally:
        handle.remove()
    gc.collect()
    assert len(references) == NEW_TOKENS
    assert [reference() for reference in references] == [None] * NEW_TOKENS
    assert not any(isinstance(held, torch.Tensor) for held in vars(recording).values())


def logits_alive_at_each_forward(model, tokenizer):
    """How many tensors of logits are alive when each forward pass of a generate() begins."""
    references, alive = [], []
    handles = [
        model.lm_head.register_forward_hook(lambda module, args, output: references.append(weakref.ref(output))),
        model.register_forward_pre_hook(
            lambda module, args: alive.append(sum(reference() is not None for reference in references))
        ),
    ]
    generate(model, tokenizer)
    for handle in handles:
        handle.remove()
    return alive


@pytest.mark.parametrize("steps", [2, None])
@pytest.mark.parametrize("zoom", [("landmarks",), ("modules", "memory"), ("sampling",), EVERYTHING], ids="+".join)
def test_the_logits_of_a_step_live_no_longer_than_without_a_recording(model, tokenizer, zoom, steps):
    plain = logits_alive_at_each_forward(model, tokenizer)
    with record(*zoom, steps=steps):
        recorded = logits_alive_at_each_forward(model, tokenizer)
    assert len(plain) == NEW_TOKENS
    assert recorded == plain


def test_a_tracer_that_reads_the_variables_of_the_decoding_loop_sees_them_all(model, tokenizer):
    plain = generate(model, tokenizer)
    seen = []

    def tracer(frame, event, _):
        if frame.f_code.co_qualname == "GenerationMixin._sample":
            seen.append(set(frame.f_locals) >= {"input_ids", "model_kwargs"})
            return tracer
        return None

    before = sys.gettrace()
    with record("sampling"):
        sys.settrace(tracer)
        try:
            recorded = generate(model, tokenizer)
        finally:
            sys.settrace(before)
    assert torch.equal(recorded, plain)
    assert seen
    assert all(seen)


# recordings inside recordings ----------------------------------------------------------------------------------------


def test_a_recording_inside_a_recording(model, tokenizer):
    """Before Python 3.12 there is one place, so that the inner one is refused; since then both are right."""
    before = interpreter_state(model)
    with record(steps=None) as outer:
        if sys.version_info < (3, 12):
            with pytest.raises(RecordingError, match="already set"), record():
                pass
            generate(model, tokenizer)
        else:
            with record("landmarks", "modules", "values", steps=2) as inner:
                generate(model, tokenizer)
    if sys.version_info >= (3, 12):
        assert list(inner.steps()["kept"]) == [True, True] + [False] * (NEW_TOKENS - 2)
        assert [len(one.modules(step=1)) for one in (inner, outer)] == [len(outer.modules(step=1))] * 2
    assert list(outer.steps()["kept"]) == [True] * NEW_TOKENS
    assert_same(before, interpreter_state(model))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before Python 3.12 the second is refused")
def test_a_third_recording_is_refused_and_names_the_holders(model, tokenizer):
    before = interpreter_state(model)
    with (
        record(),
        record() as second,
        pytest.raises(RecordingError, match=r"taken, by 'helpers\.record'.*is another recording"),
        record(),
    ):
        pass
    assert second.finished
    assert_same(before, interpreter_state(model))


def test_the_inner_recording_fails_and_the_outer_goes_on(model, tokenizer):
    before = interpreter_state(model)
    with record() as outer:
        with pytest.raises((ValueError, RecordingError)), record():
            raise ValueError("on purpose")
        generate(model, tokenizer)
    assert len(outer.steps()) == NEW_TOKENS
    assert_same(before, interpreter_state(model))
