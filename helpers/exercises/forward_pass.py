"""The exercises of notebook 07: the key at a decode step, where the parameters are, a decode step by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compat import decoder_layers
from ..queries.recorded_calls import call_of
from . import Verdict, right, wrong
from .answers import judges, number, tensor, whole_numbers

if TYPE_CHECKING:
    import torch

TOLERANCE = 1e-3
"""Of the logits of a decode step: float32 sums in another order, through all layers."""


@judges
def check_key_shape(
    answer: object, model: torch.nn.Module, input_ids: torch.Tensor, sequences: int, step: int
) -> Verdict:
    """The shape of the key that SDPA is given in a generation step: four whole numbers.

    `input_ids` (1, n): the prompt, of which a batch of so many `sequences` is made; the generation is run, recorded.
    """
    asked = "A key has four dimensions: sequences, heads, positions, head size. Give a tuple of four numbers"
    given = whole_numbers(answer, asked, count=4)
    expected = _key_shape(model, input_ids.repeat(sequences, 1), step)
    if given == expected:
        return right("the cached positions and the new one, with the heads that the kernel is given.")
    if given[2] != expected[2]:
        return wrong("Look at the positions: the prompt's, and one for each token that went through the model since.")
    if given[1] != expected[1]:
        return wrong("Look at the heads: the cache holds key/value heads, and not every version copies them for SDPA.")
    return wrong("Look at the first and the last number: how many sequences, and how large is a head?")


def _key_shape(model: torch.nn.Module, input_ids: torch.Tensor, step: int) -> tuple[int, ...]:
    import torch

    from ..recorder import record

    tokens = {"max_new_tokens": step + 1, "min_new_tokens": step + 1}
    with record("landmarks", steps=step + 1, progress=False) as recording:
        model.generate(input_ids=input_ids, attention_mask=torch.ones_like(input_ids), do_sample=False, **tokens)
    return call_of(recording, "fwd.sdpa", step=step).inputs["key"].shape


@judges
def check_mlp_share(answer: object, model: torch.nn.Module) -> Verdict:
    """The share of a decoder layer's parameters that belongs to its MLP: between 0 and 1, to two decimals."""
    asked = "Give a number between 0 and 1"
    answer = number(answer, asked)
    if not 0 <= answer <= 1:
        return wrong(f"{asked}: you gave {answer}.")
    layer = decoder_layers(model)[0]
    in_mlp = sum(parameter.numel() for parameter in layer.mlp.parameters())
    in_layer = sum(parameter.numel() for parameter in layer.parameters())
    if abs(answer - in_mlp / in_layer) <= 0.005:
        return right("three wide matrices outweigh the four of the attention.")
    two_matrices = in_mlp - layer.mlp.gate_proj.weight.numel()
    if abs(answer - two_matrices / (in_layer - layer.mlp.gate_proj.weight.numel())) <= 0.005:
        return wrong("A gated MLP has three matrices: gate_proj, up_proj and down_proj.")
    if abs(answer - in_mlp / sum(parameter.numel() for parameter in model.parameters())) <= 0.005:
        return wrong("That is one MLP's share of the whole model. Take the parameters of one layer only.")
    return wrong("Add up numel() of the weights of one layer, and of those whose name holds .mlp.")


@judges
def check_decode_step(
    answer: object, model: torch.nn.Module, input_ids: torch.Tensor, next_id: torch.Tensor
) -> Verdict:
    """The logits that follow `next_id` (1, 1) after `input_ids` (1, n): a tensor (1, 1, vocabulary)."""
    import torch

    with torch.no_grad():
        expected = model(torch.cat([input_ids, next_id], dim=-1)).logits
    shape = tuple(expected[:, -1:].shape)
    answer = tensor(answer, shape, f"Give a tensor of shape {shape}, one sequence, one position, all tokens")
    if _close(answer, expected[:, -1:]):
        return right("one vector through the layers, with the cached keys and values, gives the same logits.")
    if _close(answer, expected[:, -2:-1]):
        return wrong("These are the logits that chose next_id. Put next_id through the layers.")
    return wrong(
        "Not these logits. Is the new query and key turned by the angle of position n, and do they meet the cached "
        "keys and values of their own layer?"
    )


def _close(mine: torch.Tensor, theirs: torch.Tensor) -> bool:
    return bool((mine.to(theirs.device, theirs.dtype) - theirs).abs().max() <= TOLERANCE)
