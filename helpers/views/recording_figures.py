"""matplotlib figures of a recording: the map of its stages, its memory over time."""

from __future__ import annotations

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.recording.recording import Recording
from helpers.tables import format_bytes
from helpers.views.pictures import INK, MUTED, STYLE, label, new_figure

__all__ = ["memory_description", "memory_figure", "stage_description", "stage_figure"]

STAGE_COLOUR = "#0072B2"
MEMORY_COLOURS = {
    "anonymous": ("#D55E00", "-", "anonymous (allocated)"),
    "file_mapped": ("#0072B2", "--", "file-mapped (pages of files)"),
    "parameters": ("#009E73", ":", "parameters"),
    "kv_cache": ("#CC79A7", "-.", "KV cache"),
    "cuda_allocated": ("#E69F00", "-", "CUDA allocated"),
    "cuda_reserved": ("#8C564B", "--", "CUDA reserved"),
}
MEBIBYTE = 2**20
CHARACTER = 0.012  # the width of one beside a bar, as a share of the axes


def stage_figure(recording: Recording, title: str = "Where the time of the call goes") -> Figure:
    """One bar per stage: its own time in milliseconds, with calls and memory gained (or given back) beside it."""
    stages = recording.stages()
    times = stages["milliseconds"].fillna(0).astype(float).to_numpy()
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 4.8)
        axes = figure.add_subplot()
        rows = np.arange(len(stages))
        words = [_beside(stage) for stage in stages.to_dict("records")]
        axes.barh(rows, times, color=STAGE_COLOUR, height=0.62)
        room = [time / (1 - CHARACTER * (len(text) + 1)) for time, text in zip(times, words, strict=True)]
        axes.set_xlim(0, max(*room, 1e-3))
        axes.set_yticks(rows, [_name(stage) for stage in stages.to_dict("records")])
        axes.invert_yaxis()
        for row, text in enumerate(words):
            axes.text(times[row] + axes.get_xlim()[1] * 0.01, row, text, va="center", fontsize=9.5, color=INK)
        axes.set_xlabel("milliseconds in the stage itself, without the stages inside it; recording included")
        axes.set_title(title)
        axes.tick_params(axis="y", length=0)
    return figure


def _name(stage: dict) -> str:
    return stage["name"] if pd.isna(stage["stage"]) else f"{stage['stage']}  {stage['name']}"


def _beside(stage: dict) -> str:
    if pd.isna(stage["milliseconds"]):
        return "not observed"
    if pd.isna(stage["calls"]):
        return f"{stage['milliseconds']:,.1f} ms"
    calls = f"{stage['calls']:,} call{'s' if stage['calls'] != 1 else ''}"
    memory = "memory not observed" if pd.isna(stage["memory"]) else format_bytes(stage["memory"])
    return f"{stage['milliseconds']:,.1f} ms · {calls} · {memory}"


def stage_description(recording: Recording) -> str:
    """What the stage figure shows, in a sentence that is the same for every run of the same program."""
    stages = recording.stages()
    seen, known = int((stages["calls"] > 0).sum()), int(stages["stage"].notna().sum())
    return (
        f"Bar chart of the {known} stages of the call path, each with its own time, recorded calls and memory gained; "
        f"{seen} stages were observed."
    )


def memory_figure(recording: Recording, title: str = "Memory over the run") -> Figure:
    """The memory series in MiB over milliseconds, of several ranks a curve for each; curves not observed, or zero
    throughout, are left out."""
    series = recording.memory()
    ranks = [own for _, own in series.groupby("rank")] if "rank" in series else [series]
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 4.2)
        axes = figure.add_subplot()
        for name, (colour, dashes, text) in MEMORY_COLOURS.items():
            if not _is_drawn(series[name]):
                continue
            for place, own in enumerate(ranks):
                time, values = own["milliseconds"].to_numpy(dtype=float), _mebibytes(own[name])
                told = "_" * bool(place) + text  # matplotlib's legend leaves out what begins so
                axes.plot(time, values, color=colour, linestyle=dashes, linewidth=2, label=told)
        _mark_steps(axes, recording)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.12)  # room for the names of the marks
        axes.set_xlabel("milliseconds since the recording began")
        axes.set_ylabel("MiB")
        axes.set_title(title)
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _is_drawn(values: pd.Series) -> bool:
    return bool((values.fillna(0) > 0).any())


def _mebibytes(values: pd.Series) -> np.ndarray:
    return values.to_numpy(dtype=float, na_value=np.nan) / MEBIBYTE


def _mark_steps(axes, recording: Recording) -> None:
    """A line where the prefill begins and one where decoding begins."""
    steps = recording.step_rows
    for step, text in ((0, "prefill"), (1, "decode")):
        starts = steps["start"][steps["step"] == step]
        if len(starts):
            at = starts[0] / 1e6
            axes.axvline(at, color=MUTED, linewidth=0.8)
            axes.annotate(
                label(text),
                (at, 1),
                (4, -4 - 11 * step),  # below each other: a prefill may be narrower than its name
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                fontsize=9,
                color=MUTED,
            )


def memory_description(recording: Recording) -> str:
    """What the memory figure shows, in a sentence that is the same for every run of the same program."""
    series = recording.memory()
    shown = [text for name, (_, _, text) in MEMORY_COLOURS.items() if _is_drawn(series[name])]
    return f"Line chart of the process's memory in MiB over the run: {', '.join(shown)}."
