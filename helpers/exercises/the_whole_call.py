"""Checks of the exercises of 00_the_whole_call."""

from __future__ import annotations

from helpers.exercises import Verdict, right, wrong
from helpers.exercises.answers import judges, whole_number
from helpers.recording.recording import Recording


@judges
def check_cache_positions(answer: object, recording: Recording, step: int) -> Verdict:
    """`answer`: positions in the KV cache after this decode step (the prefill is step 0)."""
    answer = whole_number(answer)
    positions = recording.steps().set_index("step")["kv_tokens"]
    prompt, expected = int(positions[0]), int(positions[step])
    if answer == expected:
        return right(f"{prompt} of the prompt and one for each of {step} decode steps.")
    if answer == prompt:
        return wrong("that is after the prefill; each decode step adds a position.")
    if answer == step:
        return wrong("the positions of the prompt are in the cache too.")
    if answer == expected + 1:
        return wrong("the token that this step chose is not in the cache yet: the next step puts it there.")
    return wrong("look at kv_tokens in recording.steps().")


@judges
def check_attention_calls(answer: object, recording: Recording) -> Verdict:
    """`answer`: calls of scaled_dot_product_attention in the prefill."""
    answer = whole_number(answer)
    found = recording.find("scaled_dot_product_attention")
    found = found[found["kind"] == "builtin"]
    expected = int((found["step"] == 0).sum())
    if answer == expected:
        return right("one for each layer: all positions and all heads of a layer go through one call.")
    if answer == len(found):
        return wrong("these are the calls in all the steps that were kept in full; the prefill is step 0.")
    if answer == int(recording.steps()["kv_tokens"].iloc[0]):
        return wrong("that is the number of prompt tokens: all of them go through one call together.")
    return wrong("ask recording.find(..., step=0) for it, and count the builtin, not the function around it.")


@judges
def check_linear_calls(answer: object, recording: Recording, tokens: int) -> Verdict:
    """`answer`: calls of Linear.forward if the recorded model wrote so many tokens. A recorded decode step tells: a
    Llama has seven in each layer and lm_head, another model has others."""
    answer = whole_number(answer)
    per_step = len(recording.find("Linear.forward", step=1))
    if answer == tokens * per_step:
        return right(f"{per_step} in each forward pass, lm_head among them, in the prefill and in each decode step.")
    if answer == tokens * (per_step - 1):
        return wrong("lm_head is a linear layer too.")
    if answer == (tokens + 1) * per_step:
        return wrong("the prefill chooses the first token: there is one forward pass for each token, and none besides.")
    if answer == per_step:
        return wrong("that is one forward pass; there is one for each token.")
    return wrong('count them in one step: recording.find("Linear.forward", step=1).')
