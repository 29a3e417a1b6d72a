"""The exercises of notebook 06: positions in the cache, its bytes on a large model, the decode loop by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Verdict, right, wrong
from .answers import function, judges, run, tensor, whole_number

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

LOOP_TOKENS = 4


@judges
def check_cache_positions(answer: object, prompt_tokens: int, new_tokens: int) -> Verdict:
    """How many positions the KV cache holds when generate() returns: a whole number."""
    answer = whole_number(answer)
    if answer == prompt_tokens + new_tokens - 1:
        return right("the last token was chosen, but never put through the model: its key and value do not exist.")
    if answer == prompt_tokens + new_tokens:
        return wrong("That is the length of the result. Does every token of it go through the model?")
    if answer == new_tokens:
        return wrong("The prompt's keys and values are in the cache too: that is what the prefill is for.")
    return wrong("Look at the column kv_tokens of Recording.steps(): after the prefill, and after each step.")


@judges
def check_cache_bytes(answer: object, config: PretrainedConfig, tokens: int, bytes_per_number: int) -> Verdict:
    """The bytes of a KV cache of so many positions of one sequence, for a config: a whole number."""
    answer = whole_number(answer, "Give a whole number of bytes")
    query_heads = config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or query_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // query_heads
    one_of_both = config.num_hidden_layers * heads * size * bytes_per_number * tokens
    if answer == 2 * one_of_both:
        return right("keys and values, for each layer, key/value head, feature and position.")
    if answer == one_of_both:
        return wrong("You counted keys or values. The cache holds both.")
    if heads != query_heads and answer == 2 * one_of_both * query_heads // heads:
        return wrong("You took the query heads. Only keys and values are kept, and of those there are fewer heads.")
    if answer * config.num_hidden_layers == 2 * one_of_both:
        return wrong("That is one layer. Each layer has keys and values of its own.")
    return wrong("Multiply: 2 × layers × key/value heads × head size × positions × bytes of a number.")


@judges
def check_decode_loop(
    answer: object, model: torch.nn.Module, input_ids: torch.Tensor, new_tokens: int = LOOP_TOKENS
) -> Verdict:
    """A function (model, input_ids, new_tokens) -> ids: greedy decoding with a KV cache, without generate().

    It gives back the prompt's ids and the new ones, as generate() does. It is run once, recorded.
    """
    from ..recorder import record

    loop = function(answer)
    expected = model.generate(
        input_ids=input_ids, attention_mask=input_ids.new_ones(input_ids.shape), do_sample=False,
        max_new_tokens=new_tokens, min_new_tokens=new_tokens,
    )  # fmt: skip
    with record("landmarks", "modules", progress=False) as recording:
        given = run(loop, model, input_ids, new_tokens)
    if len(recording.step_rows["step"]):
        return wrong("Your function calls generate(). Call the model itself, once per token.")
    asked = f"Give back ids of shape {tuple(expected.shape)}, the prompt, then the new tokens"
    if not bool((tensor(given, expected.shape, asked) == expected.cpu()).all()):
        return wrong(
            "These are other tokens than generate() chooses. Greedy: the argmax of the last position's logits."
        )
    lengths = _positions_of_each_pass(recording)
    if len(lengths) < new_tokens or set(lengths[1:]) != {1}:
        return wrong(
            f"The right tokens, but your passes went over {lengths} positions: after the first, give the model only "
            "the new token, with past_key_values of the pass before."
        )
    spared = f" generate() makes {new_tokens} passes, yours {len(lengths)}." if len(lengths) > new_tokens else ""
    return right("one pass over the prompt, then one position per pass: prefill and decode." + spared)


def _positions_of_each_pass(recording) -> list[int]:
    """How many positions went through the model in each call of it: the last dimension of what it was given."""
    modules = recording.modules()
    return [
        recording.tensors(event)[0][0].shape[1]
        for event, path in zip(modules["event"], modules["path"], strict=True)
        if path == ""
    ]
