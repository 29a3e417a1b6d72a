"""matplotlib figures across versions: what became of the article's landmarks, how probable each sampled token was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from helpers import landmarks as landmark_table
from helpers.across_versions import FATES, NONE, OTHER, SAME
from helpers.views.pictures import FONTS, INK, MUTED, PAPER, STYLE, label, new_figure

FATE_LOOKS = {
    SAME: {"facecolor": "#0072B2", "edgecolor": "#0072B2"},
    OTHER: {"facecolor": "#E69F00", "edgecolor": PAPER, "hatch": "/////"},
    NONE: {"facecolor": PAPER, "edgecolor": MUTED},
}
LOST = {"facecolor": PAPER, "edgecolor": MUTED, "hatch": "xxxx"}
"""Told apart by colour, by hatch and by being empty; LOST: no function any more, where the first version has one."""
MARKERS = (("o", 13, "#0072B2"), ("s", 9, "#D55E00"), ("D", 5, "#009E73"), (".", 4, INK))
"""Marker, size and colour per version: nested, so that equal values show as rings within each other."""
_GAP = 0.8  # between two stages, in cells


def fate_figure(fates: pd.DataFrame, title: str = "What became of the article's landmarks") -> Figure:
    """One cell per landmark and version, by stage; `fates` as `across_versions.fates` gives it."""
    versions = _versions(fates)
    places, centres = _places(fates["stage"].tolist())
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.3 + 0.42 * len(versions))
        axes = figure.add_subplot()
        for row, version in enumerate(versions):
            for place, fate, first in zip(places, fates[version], fates[versions[0]], strict=True):
                look = LOST if fate == NONE != first else FATE_LOOKS[fate]
                axes.add_patch(Rectangle((place, row - 0.36), 0.82, 0.72, lw=0.8, **look))
        axes.set_xlim(-0.5, places[-1] + 1.3)
        axes.set_ylim(len(versions) - 0.4, -0.6)
        axes.set_yticks(range(len(versions)), versions)
        axes.set_xticks(list(centres.values()), list(map(str, centres)))
        axes.set_xlabel("stage of the call path; one cell per landmark")
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.set_title(label(title))
        names = {SAME: SAME, OTHER: OTHER, NONE: f"{NONE} yet"}
        handles = [*(Patch(label=names[fate], **FATE_LOOKS[fate]) for fate in FATES), Patch(label="no longer", **LOST)]
        figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=9.5)
    return figure


def fate_description(fates: pd.DataFrame) -> str:
    """What the figure shows, in words: for its `alt`."""
    told = []
    for version in _versions(fates):
        counts = ", ".join(f"{(fates[version] == fate).sum()} {fate}" for fate in FATES)
        told.append(f"{version}: {counts}")
    names = landmark_table.stages()
    moved = fates[fates[_versions(fates)[-1]] != SAME].groupby("stage").size()
    most = int(moved.idxmax()) if len(moved) else None
    where = f" Most changes are in stage {most}, {names[most]}." if most else ""
    return f"Grid of {len(fates)} landmarks in {len(_versions(fates))} versions. {'; '.join(told)}.{where}"


def _versions(fates: pd.DataFrame) -> list[str]:
    return [name for name in fates.columns if name not in ("stage", "landmark")]


def _places(stages: Sequence[int]) -> tuple[list[float], dict[int, float]]:
    """(left edge of each landmark's squares, middle of each stage)."""
    places: list[float] = []
    centres: dict[int, float] = {}
    place = 0.0
    for stage, group in groupby(stages):
        size = len(list(group))
        places += [place + offset for offset in range(size)]
        centres[stage] = place + (size - 0.18) / 2
        place += size + _GAP
    return places, centres


def token_figure(
    probabilities: Mapping[str, Sequence[float]],
    tokens: Sequence[str],
    title: str = "How probable was each token that was drawn?",
) -> Figure:
    """The probability of each new token when it was drawn, one marker per version; equal ones lie in each other.

    Raises ValueError where there are more versions than markers.
    """
    if len(probabilities) > len(MARKERS):
        raise ValueError(f"{len(probabilities)} versions: this figure can tell {len(MARKERS)} apart.")
    looks = dict(zip(probabilities, MARKERS, strict=False))
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 4.2)
        axes = figure.add_subplot()
        for version, values in probabilities.items():
            marker, size, colour = looks[version]
            axes.plot(range(len(tokens)), values, marker, ms=size, mfc="none", mec=colour, mew=1.5, ls="none")
        axes.set_xticks(range(len(tokens)), [label(token) for token in tokens], rotation=45, ha="right")
        for text in axes.get_xticklabels():
            text.set_fontfamily(FONTS[1])
        axes.set_ylim(-0.04, 1)
        axes.set_xlabel("new token, in the order in which they were drawn")
        axes.set_ylabel("probability, after the processors")
        axes.grid(axis="y", color="#e6e6e6", lw=0.8)
        axes.set_axisbelow(True)
        axes.set_title(label(title))
        handles = [
            Line2D([], [], marker=marker, ms=size, mfc="none", mec=colour, mew=1.5, ls="none", label=version)
            for version, (marker, size, colour) in looks.items()
        ]
        figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=9.5)
    return figure


def token_description(probabilities: Mapping[str, Sequence[float]], tokens: Sequence[str]) -> str:
    """What the figure shows, in words: for its `alt`."""
    furthest = max(max(values) - min(values) for values in zip(*probabilities.values(), strict=True))
    alike = "equal to three digits in all of them" if furthest < 0.0005 else f"up to {furthest:.3f} apart"
    return (
        f"Dot plot of the probability of {len(tokens)} drawn tokens in {len(probabilities)} versions of transformers "
        f"({', '.join(probabilities)}): {alike}."
    )
