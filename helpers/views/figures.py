"""matplotlib figures of a next-token distribution, and the one way in which notebooks show a figure.

Every figure is a plain `matplotlib.figure.Figure` on its own white ground: no pyplot, no global settings
touched, readable on a light and on a dark page. Colours are Okabe and Ito's, told apart also by
colour-blind readers; hatching and text repeat what a colour says.
"""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, PercentFormatter

from helpers.distribution import KEPT, Distribution, Stage
from helpers.views.descriptions import short_label
from helpers.views.pictures import (
    FONTS,
    IDLE,
    INK,
    MUTED,
    STYLE,
    image_tag,
    label,
    new_figure,
    percent,
    png,
    show,
)

__all__ = [
    "chain_figure",
    "cumulative_figure",
    "distribution_figure",
    "draws_figure",
    "image_tag",
    "png",
    "show",
    "stage_colours",
]

RAW_COLOUR, KEPT_COLOUR = "#555555", "#4C9FD3"
REMOVED_COLOURS = ("#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#8C564B", "#0072B2")
HATCHES = ("///", "\\\\\\", "xxx", "...", "|||", "---", "+++", "ooo")


def stage_colours(distribution: Distribution) -> dict[int, tuple[str, str]]:
    """Colour and hatch for each stage (its index) that removed tokens, in the order of the chain."""
    removing = [index for index, stage in enumerate(distribution.stages) if len(stage.removed_ids)]
    return {
        index: (REMOVED_COLOURS[n % len(REMOVED_COLOURS)], HATCHES[n % len(HATCHES)])
        for n, index in enumerate(removing)
    }


def distribution_figure(distribution: Distribution, top: int = 15, title: str | None = None) -> Figure:
    """The `top` most likely tokens and all others together: raw as outline, processed as bar, removed by
    colour.
    """
    with matplotlib.rc_context(STYLE):
        ids = distribution.ranked(top)
        rest = len(distribution.probabilities) - len(ids)
        rows = len(ids) + bool(rest)
        figure = new_figure(8.6, 1.7 + 0.3 * rows)
        axes = figure.add_subplot()
        raw, processed = distribution.start.probabilities, distribution.probabilities
        _token_rows(axes, distribution, ids, raw, processed)
        if rest:
            others = np.setdiff1d(np.arange(len(raw)), ids)
            rest_raw, rest_processed = raw[others].sum(), processed[others].sum(dtype=float)
            _other_tokens_row(axes, len(ids), rest_raw, rest_processed)
        _label_rows(axes, [label(distribution.logits.token(i)) for i in ids], rest)
        axes.set_xlabel("probability of being the next token")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.set_xlim(0, 1.12 * max(bar.get_width() for bar in axes.patches))
        axes.set_title(label(title or "The next token, before and after the processors"))
        _legend_below(figure, _legend(distribution), columns=2)
    return figure


def _legend_below(figure: Figure, handles: list, columns: int) -> None:
    figure.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize=9.5, frameon=False)


def _token_rows(axes, distribution: Distribution, ids: np.ndarray, raw: np.ndarray, processed: np.ndarray) -> None:
    colours = stage_colours(distribution)
    for row, token_id in enumerate(ids):
        where = " (in the prompt)" if token_id in distribution.logits.input_ids else ""
        removed_by = int(distribution.removed_by[token_id])
        if removed_by >= 0:
            colour, hatch = colours[removed_by]
            axes.barh(row, raw[token_id], height=0.72, color=colour, alpha=0.35, hatch=hatch, edgecolor=colour, lw=0)
            _value(axes, row, raw[token_id], f"removed{where}", colour=MUTED)
        elif removed_by == KEPT:
            axes.barh(row, processed[token_id], height=0.72, color=KEPT_COLOUR)
            _value(axes, row, max(raw[token_id], processed[token_id]), percent(processed[token_id]) + where)
        else:
            _value(axes, row, 0, "never possible: the model gave it -inf", colour=MUTED)
        axes.barh(row, raw[token_id], height=0.72, fill=False, edgecolor=INK, lw=1.3)


def _other_tokens_row(axes, row: int, raw: float, processed: float) -> None:
    axes.barh(row, processed, height=0.72, color=KEPT_COLOUR)
    axes.barh(row, raw, height=0.72, fill=False, edgecolor=INK, lw=1.1, ls=(0, (3, 2)))
    _value(axes, row, max(raw, processed), percent(processed))


def _value(axes, row: int, at: float, text: str, colour: str = INK) -> None:
    axes.annotate(text, (at, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=9.5, color=colour)


def _label_rows(axes, tokens: list[str], rest: int) -> None:
    axes.set_yticks(range(len(tokens) + bool(rest)))
    axes.set_yticklabels([*tokens, *([f"the other {rest:,}"] if rest else [])])
    for text in axes.get_yticklabels()[: len(tokens)]:
        text.set_fontfamily(FONTS[1])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()


def _legend(distribution: Distribution) -> list[Patch]:
    kept = f"after the processors: {distribution.final.kept:,} tokens possible"
    handles = [
        Patch(fill=False, edgecolor=INK, label=f"before: all {distribution.start.kept:,} tokens possible"),
        Patch(color=KEPT_COLOUR, label=kept),
    ]
    for index, (colour, hatch) in stage_colours(distribution).items():
        stage = distribution.stages[index]
        text = f"removed by {label(short_label(stage))}: {len(stage.removed_ids):,}"
        handles.append(Patch(facecolor=colour, alpha=0.35, hatch=hatch, edgecolor=colour, lw=0, label=text))
    return handles


def chain_figure(distribution: Distribution, title: str | None = None) -> Figure:
    """The chain from top to bottom: after each stage, the tokens kept, the entropy in bits and the top
    probability.
    """
    stages = (distribution.start, *distribution.stages)
    panels = (
        ("tokens possible (log scale)", [stage.kept for stage in stages], "{:,.0f}"),
        ("entropy (bits)", [stage.entropy for stage in stages], "{:.2f}"),
        ("highest probability", [stage.top_probability for stage in stages], "{:.1%}"),
    )
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.6, 0.95 + 0.4 * len(stages))
        all_axes = figure.subplots(1, 3, sharey=True)
        colours = _chain_colours(distribution)
        for axes, (heading, values, form) in zip(all_axes, panels, strict=True):
            axes.barh(range(len(stages)), values, height=0.66, color=colours)
            for row, value in enumerate(values):
                _value(axes, row, value, form.format(value), MUTED if colours[row] == IDLE else INK)
            axes.set_title(heading, fontsize=11, fontweight="normal")
            axes.set_xticks([])
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.42)
        _logarithmic(all_axes[0], distribution.start.kept)
        all_axes[0].set_yticks(range(len(stages)), [_chain_label(n, stage) for n, stage in enumerate(stages)])
        all_axes[0].set_ylim(len(stages) - 0.5, -0.5)
        _grey_the_idle(all_axes[0], stages)
        figure.suptitle(
            label(title or _chain_title(distribution)),
            x=0.01,
            ha="left",
            fontsize=13,
            fontweight="bold",
        )
    return figure


def _chain_title(distribution: Distribution) -> str:
    if distribution.stages:
        return "What each stage of the chain does, in the library's order"
    return "The chain is empty: the raw logits go on unchanged"


def _chain_label(number: int, stage: Stage) -> str:
    if number == 0:
        return "raw logits"
    return f"{number}. {label(short_label(stage))}" + ("" if stage.changed else " (no change)")


def _chain_colours(distribution: Distribution) -> list[str]:
    removing = stage_colours(distribution)
    colours = [RAW_COLOUR]
    for index, stage in enumerate(distribution.stages):
        colours.append(removing[index][0] if index in removing else KEPT_COLOUR if stage.changed else IDLE)
    return colours


def _logarithmic(axes, most: int) -> None:
    axes.set_xscale("log")
    axes.set_xlim(0.8, most * max(8.0, most**0.45))
    axes.set_xticks([])
    axes.minorticks_off()


def _grey_the_idle(axes, stages: tuple[Stage, ...]) -> None:
    for text, stage in zip(axes.get_yticklabels()[1:], stages[1:], strict=True):
        if not stage.changed:
            text.set_color(MUTED)


def cumulative_figure(distribution: Distribution, title: str | None = None) -> Figure:
    """How much probability the best n tokens hold together, raw and after each effective stage, with the
    cutoffs.

    The rank axis is logarithmic, so the whole vocabulary is on it; a dot marks where a stage
    cut the list off, a dotted line how far up the list before it that reached.
    """
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 4.9)
        axes = figure.add_subplot()
        lines = _cumulative_lines(axes, distribution)
        axes.set_xscale("log")
        axes.set_xlim(0.9, 1.15 * len(distribution.probabilities))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
        axes.set_ylim(0, 1.05)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("the n most likely tokens (logarithmic)")
        axes.set_ylabel("their probability together")
        axes.grid(color="#e6e6e6", lw=0.8)
        axes.set_axisbelow(True)
        _legend_below(figure, lines, columns=2)
        axes.set_title(label(title or "Cumulative probability, and where each filter cuts"))
    return figure


def _cumulative_lines(axes, distribution: Distribution) -> list:
    removing = stage_colours(distribution)
    lines = [_cumulative(axes, distribution.start, RAW_COLOUR, (0, (4, 2)), "raw logits")]
    dashes = iter(["-", (0, (7, 2, 1, 2)), (0, (1, 1.5)), *["-"] * len(distribution.stages)])
    before = distribution.start
    for index, stage in enumerate(distribution.stages):
        if index in removing:
            colour = removing[index][0]
            share = float(before.probabilities[~np.isneginf(stage.scores)].sum())
            text = f"{label(short_label(stage))} keeps {percent(share)}"
            lines.append(_cumulative(axes, stage, colour, "-", text))
            axes.vlines(stage.kept, 0, share, color=colour, lw=1.2, ls=":")
        elif stage.changed:
            lines.append(_cumulative(axes, stage, KEPT_COLOUR, next(dashes), f"after {label(short_label(stage))}"))
        before = stage
    return lines


def _cumulative(axes, stage: Stage, colour: str, dashes, text: str):
    together = np.cumsum(np.sort(stage.probabilities)[::-1][: stage.kept])
    ranks = np.unique(np.geomspace(1, stage.kept, 400).astype(int))  # evenly spaced on a logarithmic axis
    text = f"{text}: {stage.kept:,} {'token' if stage.kept == 1 else 'tokens'}"
    (line,) = axes.plot(ranks, together[ranks - 1], color=colour, lw=2, ls=dashes, label=text)
    axes.plot(ranks[-1], together[-1], "o", color=colour, ms=6, zorder=5)
    return line


def draws_figure(distribution: Distribution, drawn: np.ndarray, top: int = 12, title: str | None = None) -> Figure:
    """How often each token was drawn (dots) beside how often it should be (bars), for the most likely
    tokens.
    """
    with matplotlib.rc_context(STYLE):
        ids, counts, expected, deviation = distribution.draw_counts(drawn, top)
        rows = np.arange(len(ids))
        figure = new_figure(8.6, 1.7 + 0.3 * len(ids))
        axes = figure.add_subplot()
        bars = axes.barh(rows, expected, height=0.72, color=KEPT_COLOUR, alpha=0.55, label="expected")
        spread = axes.errorbar(
            expected,
            rows,
            xerr=2 * deviation,
            fmt="none",
            ecolor=INK,
            elinewidth=1,
            capsize=3,
            label="± 2 standard deviations",
        )
        (dots,) = axes.plot(counts, rows, "o", color=REMOVED_COLOURS[0], label="drawn")
        _label_rows(axes, [label(distribution.logits.token(i)) for i in ids], 0)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"times chosen in {len(drawn):,} draws")
        axes.set_title(label(title or f"{len(drawn):,} draws against the theory"))
        _legend_below(figure, [dots, bars, spread], columns=3)
    return figure
