"""matplotlib figures of a generation: the KV cache as it grows, the time of each step with it and without it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.views.pictures import STYLE, label, new_figure

__all__ = ["cache_figure", "step_time_figure"]

PREDICTED_COLOUR, MEASURED_COLOUR = "#D55E00", "#0072B2"
STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", ":"))
MEBIBYTE = 2**20


def cache_figure(
    steps: pd.DataFrame, bytes_per_token: int, title: str = "The KV cache: predicted and measured"
) -> Figure:
    """The bytes of the KV cache after each step as points, bytes_per_token × positions as a line.

    `steps`: `Recording.steps()` of one generation with a cache. Raises ValueError where the cache was not observed.
    """
    positions, measured = steps["kv_tokens"], steps["kv_bytes"]
    if steps.empty or positions.isna().any() or measured.isna().any() or not (measured > 0).all():
        raise ValueError("No KV cache was observed in these steps: record a generation with use_cache=True.")
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 3.6)
        axes = figure.add_subplot()
        ends = [0, int(positions.max()) * 1.04]
        line = [position * bytes_per_token / MEBIBYTE for position in ends]
        axes.plot(ends, line, color=PREDICTED_COLOUR, linewidth=1.4, label=f"{bytes_per_token:,} bytes × positions")
        points = measured.astype(float) / MEBIBYTE
        axes.plot(
            positions.astype(int), points, "o", color=MEASURED_COLOUR, markersize=5, label="measured after a step"
        )
        axes.set_xlim(0, ends[1])
        axes.set_ylim(0, None)
        axes.set_xlabel("positions in the cache")
        axes.set_ylabel("MiB")
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def step_time_figure(
    milliseconds: dict[str, Sequence[float]], title: str = "The time of each generation step"
) -> Figure:
    """One line per run: the milliseconds of its steps, the prefill first.

    `milliseconds`: by the run's name, at most three. Raises ValueError for more, or none.
    """
    if not 1 <= len(milliseconds) <= len(STYLES):
        raise ValueError(f"step_time_figure compares 1 to {len(STYLES)} runs, not {len(milliseconds)}.")
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 3.6)
        axes = figure.add_subplot()
        for (name, times), (colour, marker, dashes) in zip(milliseconds.items(), STYLES, strict=False):
            text = label(name)
            axes.plot(range(len(times)), list(times), marker=marker, linestyle=dashes, color=colour, label=text)
        axes.set_ylim(0, None)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("step (0 is the prefill)")
        axes.set_ylabel("milliseconds, recording included")
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=len(milliseconds), frameon=False)
    return figure
