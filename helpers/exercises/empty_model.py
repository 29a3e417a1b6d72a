"""Checks of the exercises of 03_empty_model."""

from __future__ import annotations

from helpers import article
from helpers.exercises import Verdict, right, wrong
from helpers.exercises.answers import function, judges, run, whole_number

SHAPES = {
    "Llama-2-7B": article.LLAMA_2_7B,
    "a tied model": {**article.LLAMA_2_7B, "num_hidden_layers": 3, "tie_word_embeddings": True},
    "a model with fewer key heads": {**article.LLAMA_2_7B, "num_hidden_layers": 3, "num_key_value_heads": 8},
    "a model with narrower heads": {**article.LLAMA_2_7B, "num_hidden_layers": 3, "head_dim": 64},
    "a model without layers": {**article.LLAMA_2_7B, "num_hidden_layers": 0},
}
"""What `check_parameter_count` tries, by what is particular about it."""


def empty_llama(**shape: object):
    """A LlamaForCausalLM of this shape (arguments of LlamaConfig) on the meta device: it takes no memory."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        return LlamaForCausalLM(LlamaConfig(**shape))


@judges
def check_module_inits(answer: object, layers: int) -> Verdict:
    """`answer`: how often Module.__init__ runs for a Llama with so many layers."""
    answer = whole_number(answer)
    expected, fewer = (
        len(list(empty_llama(**article.LLAMA_2_7B | {"num_hidden_layers": n}).modules())) for n in (layers, 0)
    )
    if answer == expected:
        return right(f"{(expected - fewer) // layers} for each layer, and {fewer} for what is not in a layer.")
    if answer == expected - fewer:
        return wrong("these are the modules within the layers; the model has some around them: count those too.")
    if answer in (3, 6):
        return wrong("these are the __init__ of one object's classes; each submodule is an object of its own.")
    return wrong("compare the number of modules of two models whose layers differ by one.")


@judges
def check_float16_bytes(answer: object) -> Verdict:
    """`answer`: bytes of the parameters of Llama-2-7B in float16."""
    answer = whole_number(answer)
    model = empty_llama(**article.LLAMA_2_7B)
    count = sum(parameter.numel() for parameter in model.parameters())
    if answer == 2 * count:
        return right("two bytes each. The article's card of 24 GB holds this, and not twice as much in float32.")
    if answer == 4 * count:
        return wrong("that is float32: a float16 number has two bytes.")
    if answer == count:
        return wrong("that is the number of parameters; each takes two bytes.")
    if answer == 2 * 7_000_000_000:
        return wrong("the 7B of the name is rounded: count the parameters.")
    if answer == 2 * (count - model.lm_head.weight.numel()):
        return wrong("Llama-2 is not tied: lm_head has numbers of its own.")
    return wrong("add up numel() of the parameters of an empty model, and take two bytes for each.")


@judges
def check_parameter_count(answer: object) -> Verdict:
    """`answer`: a function of a LlamaConfig that gives the number of its model's parameters, ties counted once."""
    from transformers import LlamaConfig

    count = function(answer, "The answer is a function: `answer = count_parameters`, without brackets")
    for name, shape in SHAPES.items():
        model = empty_llama(**shape)
        expected = sum(parameter.numel() for parameter in model.parameters())
        given = run(count, LlamaConfig(**shape), of=f"for {name}")
        given = whole_number(given, f"Your function should give a whole number for {name}")
        if given != expected:
            too = "many" if given > expected else "few"
            return wrong(f"for {name} you count {given:,}, which is {abs(given - expected):,} too {too}.")
    return right("no number of a Llama's size is hidden: the config gives them all.")
