"""matplotlib figures of placement: the device map drawn, and what each forward pass has to move."""

from __future__ import annotations

import re

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from helpers.events import RecordingError
from helpers.recording.recording import Recording
from helpers.tables import format_bytes
from helpers.views.pictures import INK, MUTED, PAPER, STYLE, label, new_figure

__all__ = [
    "placement_description",
    "placement_figure",
    "rank_description",
    "rank_figure",
    "transfer_description",
    "transfer_figure",
]

# Colour and hatch of a place: told apart without colour too.
DISK = ("#D55E00", "///")
CPU = ("#56B4E9", "")
GPUS = (("#009E73", ""), ("#F0E442", ".."), ("#CC79A7", "xx"), ("#0072B2", "\\\\"))
UNKNOWN = ("#cccccc", "..")
_LAYER = re.compile(r"^(.*?\.\d+)(?:\.|$)")
LANES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
COLLECTIVE = "#1a1a1a"


def placement_figure(weights: pd.DataFrame, title: str = "Where each part of the model lives") -> Figure:
    """The model from its first module to its last, as long as their bytes, coloured by the place of the weights.

    `weights`: `recording.weights()`, or `placement.where(model)`. A second row has the bytes of each place together.
    """
    parts = _parts(weights)
    places = list(dict.fromkeys(parts["device"]))
    looks = {place: _look(place, places) for place in places}
    total = int(parts["nbytes"].sum())
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 3.1)
        axes = figure.add_subplot()
        begin = 0
        for part in parts.to_dict("records"):
            colour, hatch = looks[part["device"]]
            axes.barh(0, part["nbytes"], left=begin, color=colour, hatch=hatch, edgecolor=PAPER, height=0.7)
            begin += part["nbytes"]
        for name, first, last in _runs(parts):
            if last - first > 0.09 * total:
                axes.text(
                    (first + last) / 2, 0, label(name), ha="center", va="center", fontsize=9, color=INK,
                    bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 2},
                )  # fmt: skip
        sums = parts.groupby("device", sort=False)["nbytes"].sum()
        begin = 0
        for place, count in sums.items():
            colour, hatch = looks[place]
            axes.barh(1, count, left=begin, color=colour, hatch=hatch, edgecolor=PAPER, height=0.5)
            begin += count
        axes.set_yticks([0, 1], ["in the order of the model", "together"])
        axes.invert_yaxis()
        axes.set_xlim(0, total)
        _bytes_axis(axes, total)
        axes.tick_params(axis="y", length=0)
        handles = [
            Patch(facecolor=looks[place][0], hatch=looks[place][1], edgecolor=PAPER,
                  label=f"{place}: {format_bytes(sums[place])}")
            for place in places
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        axes.set_title(label(title))
    return figure


def placement_description(weights: pd.DataFrame) -> str:
    """What `placement_figure` shows, in a sentence."""
    parts = _parts(weights)
    sums = parts.groupby("device", sort=False)["nbytes"].sum()
    told = ", ".join(f"{format_bytes(count)} on {place}" for place, count in sums.items())
    return f"The {len(parts)} parts of the model in order, as long as their bytes and coloured by place: {told}."


def transfer_figure(recording: Recording, title: str = "What each forward pass moves, module by module") -> Figure:
    """One bar per module for which a hook brings weights: bytes in one forward pass, the first that was recorded."""
    by_part = _moved_by_part(recording)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.6 + 0.3 * len(by_part))
        axes = figure.add_subplot()
        rows = np.arange(len(by_part))
        axes.barh(rows, by_part.to_numpy(), color=DISK[0], height=0.62)
        for row, count in zip(rows, by_part, strict=True):
            axes.text(count, row, f"  {format_bytes(count)}", va="center", fontsize=9.5)
        axes.set_yticks(rows, [label(_short(part)) for part in by_part.index])
        axes.invert_yaxis()
        axes.set_xlim(0, by_part.max() * 1.18)
        _bytes_axis(axes, int(by_part.max()))
        axes.set_title(label(f"{title}: {format_bytes(by_part.sum())} in all"))
        axes.tick_params(axis="y", length=0)
    return figure


def transfer_description(recording: Recording) -> str:
    """What `transfer_figure` shows, in a sentence."""
    by_part = _moved_by_part(recording)
    return (
        f"{len(by_part)} bars, one for each part whose weights are brought: {format_bytes(by_part.sum())} in one pass."
    )


def _moved_by_part(recording: Recording) -> pd.Series:
    """Bytes by part of the model, in the first forward pass that moved any. Raises RecordingError when none did."""
    moved = pd.DataFrame(recording.transfers())
    if moved.empty:
        raise RecordingError("No hook moved weights in this recording: load with a device map that offloads a part.")
    passes = moved[["generation", "step"]].fillna(-1)
    own = moved[(passes == passes.iloc[0]).all(axis=1)]
    return own.assign(part=[_part(path) for path in own["path"]]).groupby("part", sort=False)["nbytes"].sum()


def rank_figure(
    recording: Recording, step: int = 0, title: str = "Ranks as lanes: their layers, and the sums over both"
) -> Figure:
    """One lane per rank over the time of a generation step: the decoder layers, and in them the collectives (dark).

    `recording`: a merged one, with modules. Milliseconds since the step began in the first rank. Raises RecordingError
    for a recording of one process, and for a step that it does not have.
    """
    layers, collectives = _lanes(recording, step)
    ranks = sorted(set(layers["rank"]))
    began = layers["start"].min()
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.7 + 0.6 * len(ranks))
        axes = figure.add_subplot()
        for rows, height, colours in ((layers, 0.62, LANES), (collectives, 0.34, (COLLECTIVE,))):
            for rank in ranks:
                own = rows[rows["rank"] == rank]
                spans = [
                    ((start - began) / 1e6, (end - start) / 1e6) for start, end in own[["start", "end"]].to_numpy()
                ]
                axes.broken_barh(
                    spans, (rank - height / 2, height), facecolors=colours[rank % len(colours)], edgecolor=PAPER
                )
        axes.set_yticks(ranks, [f"rank {rank}" for rank in ranks])
        axes.invert_yaxis()
        axes.set_xlabel(f"milliseconds since step {step} reached its first layer; recording included")
        handles = [Patch(color=LANES[0], label="a decoder layer"), Patch(color=COLLECTIVE, label="a collective in it")]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(label(title))
    return figure


def rank_description(recording: Recording, step: int = 0) -> str:
    """What `rank_figure` shows, in a sentence."""
    layers, collectives = _lanes(recording, step)
    ranks = layers["rank"].nunique()
    return (
        f"{ranks} lanes, one per rank, over the time of step {step}: {len(layers) // ranks} decoder layers each, with "
        f"{len(collectives) // ranks} collectives in them."
    )


def _lanes(recording: Recording, step: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(decoder layers, collectives within them) of a step, by rank; of several generations of the first with it."""
    events = pd.DataFrame(recording.to_frame())
    if "rank" not in events:
        raise RecordingError("This recording is of one process: give Recording.merge([…]), with one of each rank.")
    own = events[events["step"] == step]
    own = own[own["generation"] == own["generation"].min()]
    layers = own[own["path"].str.fullmatch(r".*\.\d+")]
    if layers.empty:
        raise RecordingError(
            f"There is no decoder layer in step {step}: record generate() with modules, and that step in full."
        )
    collectives = own[own["function"].str.contains("torch.distributed") & (own["kind"] == "call")]
    # Each rank by its own layers: one may be in its first while another has not recorded the end of the embedding's.
    spans = layers.groupby("rank").agg(first=("start", "min"), last=("end", "max"))
    bounds = spans.reindex(collectives["rank"]).set_index(collectives.index)
    return layers, collectives[(collectives["start"] >= bounds["first"]) & (collectives["end"] <= bounds["last"])]


# parts of a model ----------------------------------------------------------------------------------------------------


def _parts(weights: pd.DataFrame) -> pd.DataFrame:
    """Bytes of each part (a layer, or a module outside the layers) and place, in the model's order."""
    table = pd.DataFrame(weights)
    names = table["path"] if "path" in table else table["name"].str.rpartition(".")[0]
    if "tied_to" in table:  # a further name of the same memory
        table, names = table[table["tied_to"].isna()], names[table["tied_to"].isna()]
    table = table.assign(part=[_part(name) for name in names])
    return table.groupby(["part", "device"], sort=False, as_index=False)["nbytes"].sum()


def _runs(parts: pd.DataFrame) -> list[tuple[str, int, int]]:
    """(name, first byte, last byte) of neighbours in one place: a row of layers together, any other part by itself."""
    runs: list[tuple[list[str], str, int, int]] = []
    begin = 0
    for part in parts.to_dict("records"):
        name, end = _short(part["part"]), begin + part["nbytes"]
        if runs and name.startswith("layer ") and runs[-1][0][0].startswith("layer ") and runs[-1][1] == part["device"]:
            runs[-1] = ([*runs[-1][0], name], part["device"], runs[-1][2], end)
        else:
            runs.append(([name], part["device"], begin, end))
        begin = end
    return [
        (names[0] if len(names) == 1 else f"layers {names[0][6:]} to {names[-1][6:]}", first, last)
        for names, _, first, last in runs
    ]


def _part(path: str) -> str:
    """The layer that a module is in, or the module itself."""
    found = _LAYER.match(path)
    return found[1] if found else path


def _short(part: str) -> str:
    """model.layers.3 as "layer 3"; the last name of any other part."""
    before, _, last = part.rpartition(".")
    return f"layer {last}" if last.isdigit() and before else last or "(the model)"


def _look(place: str, places: list[str]) -> tuple[str, str]:
    if place == "disk":
        return DISK
    if place == "cpu":
        return CPU
    gpus = [one for one in places if one not in ("disk", "cpu", "meta")]
    return GPUS[gpus.index(place) % len(GPUS)] if place in gpus else UNKNOWN


def _bytes_axis(axes, largest: int) -> None:
    """Ticks in the unit that fits."""
    unit, size = next(pair for pair in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)) if largest >= pair[1])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / size:g}")
    axes.xaxis.set_major_locator(matplotlib.ticker.MultipleLocator(size * _nice(largest / size / 5)))
    axes.set_xlabel(f"{unit} of weights", color=MUTED)


def _nice(step: float) -> float:
    """The next of 1, 2 and 5 times a power of ten."""
    power = 10 ** np.floor(np.log10(step))
    return float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step))
