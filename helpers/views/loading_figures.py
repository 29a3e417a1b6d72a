"""matplotlib figures of stages 1 to 4: who calls whom, where tensors lie in the shards, what a model is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from helpers import landmarks as landmark_table
from helpers.queries.call_tree import TreeRow
from helpers.safetensors_header import StoredTensor
from helpers.views.pictures import INK, MUTED, STYLE, label, new_figure, percent

PARTS = {
    "embedding": ("#0072B2", "///", ("embed_tokens", "wte", "wpe")),
    "attention": ("#E69F00", "", ("attn", "attention")),
    "MLP": ("#009E73", "", ("mlp",)),
    "norm": ("#D55E00", "", ("norm", "ln_")),
    "lm_head": ("#CC79A7", "\\\\\\", ("lm_head",)),
    "other": ("#8C564B", "", ()),
}
"""Part of a model: its colour, its hatch, and what its parameters' names contain."""
STAGE_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C564B")
MEGABYTE = 1_000_000


def part_of(name: str) -> str:
    """The part of the model that a parameter of this name belongs to; a key of PARTS."""
    for part in ("norm", *PARTS):  # first, for a norm may be called post_attention_layernorm
        if any(piece in name for piece in PARTS[part][2]):
            return part
    return "other"


# call tree -----------------------------------------------------------------------------------------------------------


def call_tree_figure(rows: Sequence[TreeRow], title: str) -> Figure:
    """Who calls whom: one line per function under its caller, with the number of its calls. Raises ValueError without
    rows."""
    if not rows:
        raise ValueError("There is no call to draw: record the stages that the figure is to show.")
    stages = sorted({row.stage for row in rows})
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.1 + 0.3 * len(rows))
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            caller = _caller(rows, place)
            if caller is not None:
                axes.plot([row.depth - 1, row.depth - 1, row.depth], [caller + 0.2, place, place], color=MUTED, lw=0.9)
            axes.plot(row.depth, place, "s", color=_stage_colour(stages, row.stage), markersize=7)
            times = f"  × {row.calls:,}" if row.calls > 1 else ""
            axes.text(row.depth + 0.16, place, label(row.function) + times, va="center", fontsize=10.5, color=INK)
        axes.set_xlim(-0.4, max(row.depth for row in rows) + 4.5)
        axes.set_ylim(len(rows) - 0.4, -0.7)
        axes.axis("off")
        axes.set_title(label(title))
        names = landmark_table.stages()
        patches = [Patch(facecolor=_stage_colour(stages, stage), label=f"{stage}  {names[stage]}") for stage in stages]
        figure.legend(handles=patches, loc="outside lower left", ncols=3, frameon=False)
    return figure


def _stage_colour(stages: list[int], stage: int) -> str:
    return STAGE_COLOURS[stages.index(stage) % len(STAGE_COLOURS)]


def _caller(rows: Sequence[TreeRow], place: int) -> int | None:
    """The row of the function that called that of row `place`."""
    return next((above for above in range(place - 1, -1, -1) if rows[above].depth < rows[place].depth), None)


def call_tree_description(rows: Sequence[TreeRow]) -> str:
    """What the figure shows: the functions in order, each with its depth in brackets."""
    told = ", ".join(f"{row.function} [{row.depth}]" + (f" × {row.calls}" if row.calls > 1 else "") for row in rows)
    return f"Tree of calls, with the depth of each in brackets: {told}."


# shards --------------------------------------------------------------------------------------------------------------


def shard_figure(shards: Mapping[str, Sequence[StoredTensor]], marked: str, title: str) -> Figure:
    """One bar per shard, from its first byte to its last, coloured by part of the model; the tensor `marked` has an
    arrow. Raises ValueError when no shard holds it."""
    if not any(tensor.name == marked for tensors in shards.values() for tensor in tensors):
        raise ValueError(f"No shard holds {marked!r}: give the name of a tensor of this checkpoint.")
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.6 + 0.75 * len(shards))
        axes = figure.add_subplot()
        for row, tensors in enumerate(shards.values()):
            for tensor in tensors:
                colour, hatch, _ = PARTS[part_of(tensor.name)]
                left, width = tensor.begin / MEGABYTE, tensor.nbytes / MEGABYTE
                axes.barh(
                    row, width, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0.2, height=0.45
                )
                if tensor.name == marked:
                    text = label(f"{marked}: bytes {tensor.begin:,} to {tensor.end:,}")
                    _point_at(axes, left + width / 2, row, text, right=left > _longest(shards) / 2)
        axes.set_yticks(range(len(shards)), list(shards))
        axes.set_ylim(len(shards) - 0.6, -0.85)
        axes.set_xlabel("position in the file, MB (1 MB = 1,000,000 bytes)")
        axes.set_title(label(title))
        axes.tick_params(axis="y", length=0)
        _part_legend(figure, {part_of(tensor.name) for tensors in shards.values() for tensor in tensors})
    return figure


def _longest(shards: Mapping[str, Sequence[StoredTensor]]) -> float:
    return max(tensor.end for tensors in shards.values() for tensor in tensors) / MEGABYTE


def _point_at(axes, x: float, row: int, text: str, *, right: bool) -> None:
    arrow = {"arrowstyle": "-|>", "color": INK}
    place = {"xytext": (-14 if right else 14, 13), "textcoords": "offset points", "ha": "right" if right else "left"}
    box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": MUTED}
    axes.annotate(text, (x, row - 0.23), arrowprops=arrow, fontsize=9, bbox=box, zorder=5, **place)


def shard_description(shards: Mapping[str, Sequence[StoredTensor]], marked: str) -> str:
    """What the figure shows, in words."""
    held = "; ".join(f"{name}: {len(tensors)} tensors" for name, tensors in shards.items())
    tensor, shard = next(
        (tensor, name) for name, tensors in shards.items() for tensor in tensors if tensor.name == marked
    )
    return (
        f"Map of the bytes of the shards, coloured by part of the model. {held}. {marked} lies in {shard}, bytes "
        f"{tensor.begin:,} to {tensor.end:,}."
    )


# parameters ----------------------------------------------------------------------------------------------------------


def parameter_shares(model) -> dict[str, float]:
    """The share of each part in the parameters of a torch module, ties counted once."""
    counts = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        counts[part_of(name)] += parameter.numel()
    total = sum(counts.values())
    return {part: count / total for part, count in counts.items() if count}


def parameter_figure(shares: Mapping[str, Mapping[str, float]], title: str) -> Figure:
    """One bar per model, divided by the share of each part in its parameters; `shares` by the models' names."""
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.6 + 0.62 * len(shares))
        axes = figure.add_subplot()
        for row, parts in enumerate(shares.values()):
            left = 0.0
            for part, share in parts.items():
                colour, hatch, _ = PARTS[part]
                axes.barh(row, share, left=left, color=colour, hatch=hatch, edgecolor="white", height=0.6)
                if share > 0.05:
                    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.9}
                    axes.text(left + share / 2, row, percent(share), ha="center", va="center", fontsize=9.5, bbox=box)
                left += share
        axes.set_yticks(range(len(shares)), [label(name) for name in shares])
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1))
        axes.set_xlabel("share of the parameters, ties counted once")
        axes.set_title(label(title))
        axes.tick_params(axis="y", length=0)
        _part_legend(figure, {part for parts in shares.values() for part in parts})
    return figure


def parameter_description(shares: Mapping[str, Mapping[str, float]]) -> str:
    """What the figure shows, in words."""
    told = "; ".join(
        f"{name}: {', '.join(f'{part} {percent(share)}' for part, share in parts.items())}"
        for name, parts in shares.items()
    )
    return f"Bars divided by the share of each part in the parameters of a model. {told}."


def _part_legend(figure: Figure, parts: set[str]) -> None:
    patches = [
        Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=part)
        for part, (colour, hatch, _) in PARTS.items()
        if part in parts
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
