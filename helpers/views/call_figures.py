"""matplotlib figure of calls within calls: which one waits for which, and for how long."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from helpers.events import RecordingError
from helpers.queries.recorded_calls import call_of
from helpers.recording.recording import Recording
from helpers.views.pictures import FONTS, MUTED, STYLE, label, new_figure

__all__ = ["span_description", "span_figure"]

SPAN_COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7")


def span_figure(recording: Recording, landmarks: Sequence[str], title: str) -> Figure:
    """One row per landmark: its first call as a bar from its start to its end, in milliseconds of the first one.

    The colour, and the indentation of the name, say how many of the others it runs in. Raises RecordingError for a
    landmark that did not run, and without landmarks.
    """
    if not landmarks:
        raise RecordingError("span_figure draws calls: give the landmarks whose first calls it is to show.")
    spans = _spans(recording, landmarks)
    began = min(start for _, start, _, _ in spans)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.3 + 0.34 * len(spans))
        axes = figure.add_subplot()
        for row, (_, start, end, depth) in enumerate(spans):
            colour = SPAN_COLOURS[depth % len(SPAN_COLOURS)]
            axes.barh(row, (end - start) / 1e6, left=(start - began) / 1e6, height=0.66, color=colour)
            axes.annotate(
                f"{(end - start) / 1e6:,.2f} ms", ((end - began) / 1e6, row), (5, 0),
                textcoords="offset points", va="center", fontsize=9, color=MUTED,
            )  # fmt: skip
        axes.set_yticks(range(len(spans)), [label(f"{'  ' * depth}{name}") for name, _, _, depth in spans], ha="left")
        for text in axes.get_yticklabels():
            text.set_fontfamily(FONTS[1])
            text.set_fontsize(9.5)
        longest = max(len(name) + 2 * depth for name, _, _, depth in spans)
        axes.tick_params(axis="y", length=0, pad=longest * 5.9)
        axes.invert_yaxis()
        axes.set_xlim(0, axes.get_xlim()[1] * 1.12)  # room for the numbers
        axes.set_xlabel("milliseconds since the first call began; recording included")
        axes.set_title(title)
    return figure


def span_description(recording: Recording, landmarks: Sequence[str]) -> str:
    """What the span figure shows, in a sentence that is the same for every run of the same program."""
    nested = ", ".join(f"{name} (depth {depth})" for name, _, _, depth in _spans(recording, landmarks))
    return f"Bars of the calls over time, each within the one that made it: {nested}."


def _spans(recording: Recording, landmarks: Sequence[str]) -> list[tuple[str, int, int, int]]:
    """(function, start, end, how many of the others are around it) of each landmark's first call, by start."""
    events = sorted({call_of(recording, landmark).event for landmark in landmarks})
    parents = recording.events["parent"]
    spans = []
    for event in events:
        depth, around = 0, parents[event]
        while around >= 0:
            depth += int(around) in events
            around = parents[around]
        function = recording.functions[recording.events["function"][event]].qualname
        start, end = (int(recording.events[name][event]) for name in ("start", "end"))
        spans.append((function, start, end, depth))
    return spans
