"""Checks of the exercises of 08_sampling."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from helpers.exercises import Verdict, right, wrong
from helpers.exercises.answers import function, judges, run, tensor, texts, whole_number

PROBABILITIES = (
    (0.5, 0.3, 0.15, 0.05),
    (0.25, 0.25, 0.25, 0.25),
    (0.05, 0.9, 0.05),
    (0.1, 0.4, 0.4, 0.1),
    (0.6, 0.0, 0.4),
    (1.0,),
)
SHARES = (0.1, 0.55, 0.85, 0.92, 0.99, 0.0, 1e-8, 1.0)
"""What `check_top_p` tries: rows of probabilities, equal ones and 0 among them, and values of p, extreme ones too.

Between 0 and 1 no p is the sum of a row's likeliest tokens: there rounding would decide which answer is right."""


@judges
def check_kept(answer: object, logits, model, **settings: object) -> Verdict:
    """`answer`: tokens that can still be drawn after the processors of these settings (see SamplingSettings)."""
    from helpers.sampling import SamplingSettings, distribution

    answer = whole_number(answer)
    chain = distribution(logits, SamplingSettings(do_sample=True, **settings), model)
    if answer == chain.final.kept:
        return right(f"so many have a finite score after {len(chain.stages)} processors.")
    if answer in [stage.kept for stage in chain.stages[:-1]]:
        return wrong("that is after an earlier processor of the chain; another one follows.")
    if answer == len(chain.probabilities):
        return wrong("that is the whole vocabulary: the processors remove tokens from it.")
    return wrong("let distribution() run the chain, and look at the last row of its chain_table().")


@judges
def check_idle_arguments(answer: object, arguments: Mapping[str, object], logits, model) -> Verdict:
    """`answer`: names of the arguments that change nothing when do_sample=False. The check runs the library's chain."""
    asked = {name: value for name, value in arguments.items() if name != "do_sample"}
    expected = {name for name, value in asked.items() if not _acts(name, value, logits, model)}
    given = {answer} if isinstance(answer, str) else set(texts(answer, "Give a set of names of arguments"))
    if given == expected:
        return right("they shape a distribution, and without a draw nobody asks for one. The others change the scores.")
    if unknown := given - set(asked):
        return wrong(f"these are not among the arguments: {', '.join(sorted(unknown))}.")
    if acting := given - expected:
        return wrong(f"{', '.join(sorted(acting))} changes the scores in greedy search too: see the traps.")
    return wrong(f"there are more: {len(expected - given)} of them still.")


def _acts(name: str, value: object, logits, model) -> bool:
    import numpy as np

    from helpers.sampling import SamplingSettings, distribution

    chain = distribution(logits, SamplingSettings(do_sample=False, **{name: value}), model)
    return not np.array_equal(chain.final.scores, chain.start.scores)


@judges
def check_top_p(answer: object) -> Verdict:
    """`answer`: a function (scores, p) that gives the scores with -inf for what top-p removes; scores is 1-dimensional.
    Compared with the library's TopPLogitsWarper."""
    import torch
    from transformers import TopPLogitsWarper

    top_p = function(answer, "The answer is a function: `answer = top_p`, without brackets")
    for probabilities, p in product(PROBABILITIES, SHARES):
        scores = torch.tensor(probabilities).log()
        expected = TopPLogitsWarper(p)(None, scores[None].clone())[0]
        given = run(top_p, scores.clone(), p, of=f"for {probabilities} and p={p}")
        given = tensor(given, scores.shape, "Give back a tensor of the same shape, in the order of the vocabulary")
        if problem := _other_kept(given, expected, scores):
            return wrong(f"for {probabilities} and p={p} {problem}")
    return right("the smallest set of likely tokens that holds the share p; the likeliest stays whatever p is.")


def _other_kept(given, expected, scores) -> str:
    """What is wrong with the given scores; "" where nothing is. Which of equal scores are kept does not matter."""
    import torch

    kept, wanted = (int(row.isfinite().sum()) for row in (given, expected))
    if kept == 0:
        return "nothing is left: the likeliest token always stays."
    if kept != wanted:
        return f"you keep {kept} tokens, the library {wanted}: too {'many' if kept > wanted else 'few'}."
    as_they_were = bool(((given == scores) | given.isneginf()).all())
    if not as_they_were or not torch.equal(given.sort().values.to(expected.dtype), expected.sort().values):
        return "as many are kept, but others: mind the order."
    return ""
