"""@record() on a function: each call has a recording of its own."""

import functools
import sys

import pytest
from transformers import AutoTokenizer

from helpers import record
from helpers.events import RecordingError


@pytest.fixture
def tokenizer(tiny_checkpoint):
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


def calls(recording) -> list[str]:
    return list(recording.calls()["function"])


def test_each_call_is_recorded_on_its_own(tokenizer):
    @record("landmarks")
    def encode(texts: list[str], *, times: int = 1) -> int:
        """Encode texts."""
        return sum(len(tokenizer(text)["input_ids"]) > 0 for text in texts * times)

    assert encode.recording is None
    assert encode(["a", "b"]) == 2
    first = encode.recording
    assert encode(["a"], times=3) == 3
    assert encode.recording is not first
    counts = [sum(name.endswith(".__call__") for name in calls(one)) for one in (first, encode.recording)]
    assert counts == [2, 3]
    assert first.environment["zoom"] == ["landmarks"]
    assert (encode.__name__, encode.__doc__) == ("encode", "Encode texts.")


def test_an_exception_passes_and_its_recording_is_kept(tokenizer):
    @record()
    def fails():
        tokenizer("a")
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        fails()
    assert fails.recording.environment["ended_by"] == "ValueError"
    assert len(fails.recording) > 0
    assert sys.getprofile() is None


def test_methods_and_partials_can_be_decorated(tokenizer):
    class Encoder:
        @record()
        def encode(self, text):
            return tokenizer(text)

    assert Encoder().encode("a")["input_ids"]
    assert len(Encoder.encode.recording) > 0
    encode = record()(functools.partial(tokenizer, "a"))
    assert encode()["input_ids"]
    assert len(encode.recording) > 0


def generator():
    yield 1


async def coroutine():
    return 1


async def asynchronous_generator():
    yield 1


@pytest.mark.parametrize("function", [generator, coroutine, asynchronous_generator])
def test_functions_that_run_after_their_call_are_refused(function):
    with pytest.raises(RecordingError, match=f"{function.__name__}: a generator or async function"):
        record()(function)


@pytest.mark.parametrize("other", [int, 3, "text"])
def test_what_is_no_function_is_refused(other):
    with pytest.raises(RecordingError, match="decorates functions"):
        record()(other)


def test_forgotten_parentheses_are_told():
    with pytest.raises(RecordingError, match=r"write @record\(\)"):

        @record
        def function():
            pass


def test_a_decorator_may_be_kept_and_used_again(tokenizer):
    recorded = record("landmarks", steps=1)
    first, second = recorded(lambda: tokenizer("a")), recorded(lambda: tokenizer("b"))
    first()
    second()
    assert first.recording is not second.recording
    with recorded as recording:
        tokenizer("c")
    assert recording not in (None, first.recording, second.recording)


def behind_a_decorator(function):
    return functools.wraps(function)(lambda *arguments: function(*arguments))


class Handler:
    async def __call__(self):
        return 1


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (behind_a_decorator(coroutine), "coroutine"),
        (behind_a_decorator(generator), "generator"),
        (behind_a_decorator(asynchronous_generator), "asynchronous_generator"),
        (Handler(), "Handler"),
    ],
    ids=["coroutine", "generator", "asynchronous generator", "object"],
)
def test_what_only_its_call_tells_to_run_later_is_warned_of(function, name):
    recorded = record()(function)
    with pytest.warns(UserWarning, match=rf"@record\(\) on {name}: it gave back a .*which runs after the call"):
        result = recorded()
    assert type(result).__name__ in recorded.recording.warnings[0]
    if hasattr(result, "close"):  # a coroutine that never ran is warned of by Python
        result.close()


def test_a_partial_of_an_async_function_is_refused_by_its_name():
    with pytest.raises(RecordingError, match="on coroutine: a generator or async function"):
        record()(functools.partial(coroutine))
