"""What the figures show, in words: for their `alt`, and for readers who cannot see them."""

from __future__ import annotations

import numpy as np

from helpers.distribution import NEVER_POSSIBLE, Distribution, Stage
from helpers.views.pictures import percent


def short_label(stage: Stage) -> str:
    """A stage's name as a figure has room for it: 'TopK 50', 'RepetitionPenalty 1.1'."""
    name = stage.processor.removesuffix("LogitsWarper").removesuffix("LogitsProcessor") or stage.processor
    numbers = [
        f"{value:g}"
        for value in stage.telling_parameters().values()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return " ".join([name, *numbers])


def of_distribution(distribution: Distribution, top: int = 3) -> str:
    """What `figures.distribution_figure` shows."""
    best = ", ".join(
        f"{distribution.logits.token(i)} {percent(float(distribution.probabilities[i]))}"
        for i in distribution.likeliest(top)
    )
    never = int((distribution.removed_by == NEVER_POSSIBLE).sum())
    removed = [
        f"{short_label(stage)} removed {len(stage.removed_ids):,}"
        for stage in distribution.stages
        if len(stage.removed_ids)
    ]
    if never:
        removed.insert(0, f"the model itself rules out {never:,}")
    return (
        "Bar chart of next-token probabilities before and after "
        f"{_count(len(distribution.stages), 'processor')}. "
        f"{distribution.final.kept:,} of {len(distribution.probabilities):,} tokens can still be chosen; "
        f"most likely: {best}. {'; '.join(removed) or 'No token was removed'}."
    )


def of_chain(distribution: Distribution) -> str:
    """What `figures.chain_figure` shows."""
    steps = "; ".join(
        f"{'raw logits' if stage is distribution.start else short_label(stage)}: "
        f"{_count(stage.kept, 'token')}, "
        f"{stage.entropy:.2f} bits, highest probability {stage.top_probability:.1%}"
        for stage in (distribution.start, *distribution.stages)
    )
    panels = "tokens possible, entropy, highest probability"
    return f"Three bar charts, one bar per stage of the chain: {panels}. {steps}."


def of_cumulative(distribution: Distribution) -> str:
    """What `figures.cumulative_figure` shows."""
    cuts = "; ".join(
        f"{short_label(stage)} cuts after {_count(stage.kept, 'token')}"
        for stage in distribution.stages
        if len(stage.removed_ids)
    )
    return (
        "Line chart: the probability that the n most likely tokens hold together, for the raw logits and "
        f"after each stage that changed something. {cuts or 'No stage cuts'}."
    )


def of_draws(distribution: Distribution, drawn: np.ndarray, top: int = 3) -> str:
    """What `figures.draws_figure` shows."""
    ids, counts, expected, _ = distribution.draw_counts(drawn, top)
    rows = ", ".join(
        f"{distribution.logits.token(i)} {count:,} times ({wanted:.0f} expected)"
        for i, count, wanted in zip(ids, counts, expected, strict=True)
    )
    return f"How often each token came in {len(drawn):,} draws, beside the expected number: {rows}."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
