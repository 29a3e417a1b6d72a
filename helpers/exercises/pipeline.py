"""The exercises of notebook 05: moves between devices, a list in batches, the pipeline by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..queries.recorded_calls import calls_of
from . import Verdict, right, wrong
from .answers import described, function, judges, run, whole_number, whole_numbers

if TYPE_CHECKING:
    from transformers import TextGenerationPipeline


@judges
def check_device_calls(answer: object, pipe: TextGenerationPipeline, prompts: Sequence[str]) -> Verdict:
    """How often `_ensure_tensor_on_device` runs when the pipeline is given this list: a whole number; it is run."""
    from ..recorder import record

    answer = whole_number(answer)
    with record("landmarks", progress=False) as recording:
        pipe(list(prompts), max_new_tokens=1)
    calls = calls_of(recording, "call.to_device")
    parents, events = recording.events["parent"], {call.event for call in calls}
    outer = sum(int(parents[call.event]) not in events for call in calls)
    if answer == len(calls):
        return right("each prompt has a forward of its own, and each forward moves two dictionaries, value by value.")
    if answer == outer:
        return wrong("These are the calls in Pipeline.forward. What does the function do with a dictionary?")
    if 2 * answer == len(calls):
        return wrong("That is one direction. The outputs come back to the CPU in the same way.")
    if answer * len(prompts) == len(calls):
        return wrong("That is what one prompt takes. How often does forward run for this list?")
    return wrong("Per forward two dictionaries go through it, and it calls itself for each value, also for the text.")


@judges
def check_list_calls(answer: object, pipe: TextGenerationPipeline, prompts: Sequence[str], batch_size: int) -> Verdict:
    """(calls of run_single, calls of forward) when the pipeline is given this list in batches; it is run, recorded."""
    from ..recorder import record

    answer = whole_numbers(answer, "Give two whole numbers, (calls of run_single, calls of forward)", count=2)
    with record("landmarks", progress=False) as recording:
        pipe(list(prompts), batch_size=batch_size, max_new_tokens=1)
    singles, forwards = (len(calls_of(recording, landmark)) for landmark in ("call.run_single", "call.forward"))
    if answer == (singles, forwards):
        return right(
            "a list goes through get_iterator and a DataLoader, which makes the batches; run_single never runs."
        )
    if answer[0] != singles:
        return wrong("Look again at run_single: is it on the way that a list takes?")
    if answer[1] == len(prompts):
        return wrong("One forward per prompt would be batch_size=1. Here the DataLoader puts prompts together.")
    return wrong("Count the batches: the last one may be smaller than the others.")


@judges
def check_by_hand(answer: object, pipe: TextGenerationPipeline, prompt: str, settings: dict[str, object]) -> Verdict:
    """A function (model, tokenizer, prompt, **settings) -> text that gives what the pipeline gives, without one.

    Both are run with the same seed; the random state is as before afterwards.
    """
    import torch

    from ..recorder import record

    by_hand = function(answer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = pipe(prompt, **settings)[0]["generated_text"]
        torch.manual_seed(0)
        with record("landmarks", progress=False) as recording:
            given = run(by_hand, pipe.model, pipe.tokenizer, prompt, **settings)
    if calls_of(recording, "call.base"):
        return wrong("Your function calls a pipeline. Take the three steps yourself.")
    if not isinstance(given, str):
        return wrong(f"Give back the text, not ids or a list: your function gave {described(given)}.")
    if given == expected:
        return right("tokenizer, generate, decode: that is all the pipeline does for one prompt.")
    if given == expected.removeprefix(prompt):
        return wrong("That is the new text alone. The pipeline's generated_text begins with the prompt.")
    if any(given.replace(token, "") == expected for token in pipe.tokenizer.all_special_tokens):
        return wrong("Special tokens are in your text: decode with skip_special_tokens=True.")
    return wrong(f"Another text than the pipeline's with the same seed; it begins {expected[:40]!r}.")
