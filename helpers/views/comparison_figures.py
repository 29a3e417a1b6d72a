"""matplotlib figures of two settings over the same logits, and of the penalty on the prompt's own tokens."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from helpers.distribution import Distribution, SamplingError
from helpers.views.pictures import FONTS, INK, MUTED, STYLE, label, new_figure, percent

A_COLOUR, B_COLOUR = "#4C9FD3", "#D55E00"


def comparison_figure(a: Distribution, b: Distribution, top: int = 12, title: str | None = None) -> Figure:
    """The `top` tokens of the raw distribution, and all others, under two settings: raw as outline, A and B as bars.

    Raises SamplingError where the two do not stand on the same logits.
    """
    _check_same_logits(a, b)
    ids = a.ranked(top)
    with matplotlib.rc_context(STYLE):
        rest = len(a.probabilities) - len(ids)
        figure = new_figure(8.6, 1.7 + 0.36 * (len(ids) + bool(rest)))
        axes = figure.add_subplot()
        raw, first, second = (_with_rest(values, ids, rest) for values in _values(a, b))
        rows = np.arange(len(raw))
        axes.barh(rows - 0.19, first, height=0.38, color=A_COLOUR)
        axes.barh(rows + 0.19, second, height=0.38, color=B_COLOUR, hatch="///", edgecolor="#ffffff", lw=0)
        axes.barh(rows, raw, height=0.8, fill=False, edgecolor=INK, lw=1.2)
        for row, values in enumerate(zip(raw, first, second, strict=True)):
            text = f"{percent(values[1])} | {percent(values[2])}"
            axes.annotate(
                text, (max(values), row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9.5
            )
        names = [label(a.logits.token(i)) for i in ids] + ([f"the other {rest:,}"] if rest else [])
        axes.set_yticks(rows, names)
        for text in axes.get_yticklabels()[: len(ids)]:
            text.set_fontfamily(FONTS[1])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.2 * max(raw.max(), first.max(), second.max()))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.set_xlabel("probability of being the next token")
        axes.set_title(label(title or "Two settings over the same logits"))
        figure.legend(handles=_legend(a, b), loc="outside lower left", ncols=3, fontsize=9.5, frameon=False)
    return figure


def describe_comparison(a: Distribution, b: Distribution, top: int = 3) -> str:
    """What `comparison_figure` shows, in words: for its `alt`."""
    _check_same_logits(a, b)
    rows = ", ".join(
        f"{a.logits.token(i)} {percent(float(a.probabilities[i]))} and {percent(float(b.probabilities[i]))}"
        for i in a.ranked(top)
    )
    return (
        f"Bar chart of next-token probabilities under two settings. A keeps {a.final.kept:,} tokens at an entropy of "
        f"{a.final.entropy:.2f} bits, B {b.final.kept:,} at {b.final.entropy:.2f}. Under A and under B: {rows}."
    )


def penalty_figure(distribution: Distribution, top: int = 12, title: str | None = None) -> Figure:
    """The scores of the prompt's own tokens before and after the repetition penalty, the highest first.

    Raises SamplingError where the chain has no repetition penalty.
    """
    ids, before, after = _penalised(distribution, top)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 1.4 + 0.3 * len(ids))
        axes = figure.add_subplot()
        rows = np.arange(len(ids))
        axes.hlines(rows, after, before, color=MUTED, lw=1.4)
        axes.plot(before, rows, "o", mfc="none", mec=INK, label="before")
        axes.plot(after, rows, "o", color=B_COLOUR, label="after")
        axes.set_yticks(rows, [label(distribution.logits.token(i)) for i in ids])
        for text in axes.get_yticklabels():
            text.set_fontfamily(FONTS[1])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.grid(axis="x", color="#e6e6e6", lw=0.8)
        axes.set_axisbelow(True)
        axes.set_xlabel("score")
        axes.set_title(label(title or "The repetition penalty on the prompt's own tokens"))
        figure.legend(loc="outside lower left", ncols=2, fontsize=9.5, frameon=False)
    return figure


def describe_penalty(distribution: Distribution, top: int = 3) -> str:
    """What `penalty_figure` shows, in words: for its `alt`."""
    ids, before, after = _penalised(distribution, top)
    rows = ", ".join(
        f"{distribution.logits.token(i)} from {b:.2f} to {a:.2f}" for i, b, a in zip(ids, before, after, strict=True)
    )
    return f"Scores of the prompt's own tokens before and after the repetition penalty: {rows}."


def _penalised(distribution: Distribution, top: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stages = [distribution.start, *distribution.stages]
    names = [stage.processor for stage in stages]
    if "RepetitionPenaltyLogitsProcessor" not in names:
        raise SamplingError("this chain has no repetition penalty: set repetition_penalty to something else than 1.0.")
    place = names.index("RepetitionPenaltyLogitsProcessor")
    own = np.unique([i for i in distribution.logits.input_ids if i < len(distribution.probabilities)])
    own = own[np.isfinite(stages[place].scores[own])]
    ids = own[np.argsort(-stages[place - 1].scores[own], kind="stable")][:top]
    return ids, stages[place - 1].scores[ids], stages[place].scores[ids]


def _check_same_logits(a: Distribution, b: Distribution) -> None:
    if not np.array_equal(a.logits.logits, b.logits.logits):
        raise SamplingError("the two distributions stand on different logits: compare two settings of one prompt.")


def _values(a: Distribution, b: Distribution) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return a.start.probabilities, a.final.probabilities, b.final.probabilities


def _with_rest(values: np.ndarray, ids: np.ndarray, rest: int) -> np.ndarray:
    others = [max(0.0, 1 - values[ids].sum())] if rest else []
    return np.array([*values[ids], *others], dtype=float)


def _legend(a: Distribution, b: Distribution) -> list[Patch]:
    return [
        Patch(fill=False, edgecolor=INK, label=f"before: {a.start.kept:,} tokens possible"),
        Patch(color=A_COLOUR, label=f"A: {a.final.kept:,}"),
        Patch(facecolor=B_COLOUR, hatch="///", edgecolor="#ffffff", lw=0, label=f"B: {b.final.kept:,}"),
    ]
