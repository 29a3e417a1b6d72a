"""matplotlib figures of a forward pass: its route with the recorded shapes, RoPE, attention, the values by layer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from helpers.events import RecordingError
from helpers.queries.recorded_calls import call_of
from helpers.recording.recording import Recording
from helpers.views.pictures import FONTS, IDLE, INK, MUTED, STYLE, label, new_figure

__all__ = ["attention_figure", "layer_figure", "rotation_figure", "route_description", "route_figure"]

BOX_COLOUR, ATTENTION_COLOUR, MLP_COLOUR = "#E8E8E8", "#CDE4F2", "#F6E3B5"
LINE_COLOUR, LIMIT_COLOUR = "#0072B2", "#D55E00"


def route_figure(recording: Recording, title: str = "The route of a forward pass, with the recorded shapes") -> Figure:
    """The modules of a Llama from the token ids to the logits; beside them, the inside of its first decoder layer.

    `recording`: of a forward pass, with modules; the first one in it is drawn. Raises RecordingError without one.
    """
    shapes, layers = _output_shapes(recording)
    inside = {name.partition("layers.0.")[2]: shape for name, shape in shapes.items() if "layers.0." in name}
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 7.4)
        axes = figure.add_subplot()
        axes.set_xlim(0, 100)
        axes.set_ylim(107, 0)
        axes.axis("off")
        axes.set_title(title)
        _draw_model(axes, recording, shapes, layers)
        _draw_layer(axes, recording, inside)
    return figure


def route_description(recording: Recording) -> str:
    """What the route figure shows, in words."""
    shapes, layers = _output_shapes(recording)
    return (
        f"Flow chart: token ids, embed_tokens {shapes['model.embed_tokens']}, {layers} decoder layers, norm, lm_head "
        f"{shapes['lm_head']}. Inside a layer: input_layernorm, q_proj, k_proj and v_proj, RoPE, KV cache, "
        "scaled_dot_product_attention, o_proj, residual sum, post_attention_layernorm, gate_proj and up_proj, "
        "down_proj, residual sum."
    )


def _output_shapes(recording: Recording) -> tuple[dict[str, str], int]:
    """The shape of what each module of the first forward pass gave back, as text, and the number of decoder layers."""
    modules = recording.modules()
    shapes: dict[str, str] = {}
    for event, path in zip(modules["event"], modules["path"], strict=True):
        outputs = recording.tensors(event)[1]
        if outputs:
            shapes.setdefault(path, outputs[0].shape_text)
    layers = sum(path.startswith("model.layers.") and path.count(".") == 2 for path in shapes)
    if not layers or "lm_head" not in shapes:
        raise RecordingError("This recording has no forward pass of a Llama with its modules: record() one.")
    return shapes, layers


def _box(axes, x: float, y: float, width: float, name: str, shape: str = "", colour: str = BOX_COLOUR) -> None:
    """A box whose upper edge is at `y` and whose centre is at `x`; two lines of text."""
    height = 6.4 if shape else 4.4
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y), width, height, boxstyle="round,pad=0.25", facecolor=colour, edgecolor=MUTED)
    )
    lines = [(name, FONTS[1], INK), (shape, FONTS[0], MUTED)] if shape else [(name, FONTS[1], INK)]
    for place, (text, family, ink) in enumerate(lines, 1):
        at = y + height * place / (len(lines) + 1)
        axes.text(x, at, label(text), ha="center", va="center", fontsize=9, family=family, color=ink)


def _arrow(axes, x: float, start: float, end: float) -> None:
    axes.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "-|>", "color": MUTED, "lw": 1})


def _draw_model(axes, recording: Recording, shapes: dict[str, str], layers: int) -> None:
    ids = next(iter(call_of(recording, "fwd.embed").inputs.values())).shape_text
    rows = (
        (8, "token ids", ids, BOX_COLOUR),
        (24, "embed_tokens", shapes["model.embed_tokens"], BOX_COLOUR),
        (48, f"{layers} decoder layers", shapes["model.layers.0"], ATTENTION_COLOUR),
        (72, "norm", shapes["model.norm"], BOX_COLOUR),
        (88, "lm_head", shapes["lm_head"], BOX_COLOUR),
    )
    for y, name, shape, colour in rows:
        _box(axes, 17, y, 28, name, shape, colour)
    for (above, *_), (below, *_) in pairwise(rows):
        _arrow(axes, 17, above + 6.9, below - 0.3)
    axes.text(17, 102, "logits", ha="center", va="center", fontsize=9, color=MUTED)
    _arrow(axes, 17, 94.9, 100.6)
    once = f"once, for all:\nrotary_emb\n{shapes['model.rotary_emb']},\ncausal mask"
    axes.text(2, 39.3, once, fontsize=8.5, va="center", color=MUTED)
    axes.plot([31.6, 41], [48, 6], color=IDLE, lw=1)
    axes.plot([31.6, 41], [54.4, 103], color=IDLE, lw=1)


_LAYER_ARROWS = (  # where they stand, where they begin and end
    (71, 3.5, 7.7), (52, 14.9, 18.7), (71, 14.9, 18.7), (90, 14.9, 18.7),
    (52, 25.9, 29.7), (71, 25.9, 29.7), (90, 25.9, 40.7), (52, 36.9, 51.7), (71, 36.9, 40.7), (80.5, 47.9, 51.7),
    (71, 58.9, 62.7), (71, 67.9, 70.7), (57, 77.9, 81.7), (85, 77.9, 81.7), (57, 88.9, 92.7), (85, 88.9, 92.7),
    (71, 97.9, 100.7),
)  # fmt: skip


def _draw_layer(axes, recording: Recording, inside: dict[str, str]) -> None:
    """The inside of a decoder layer: attention above, MLP below, with the two residual lines around them."""
    middle, width = 71, 40
    rope, cache = call_of(recording, "fwd.rope_apply"), call_of(recording, "fwd.cache_update")
    query, key = (spec.shape_text for spec in list(rope.outputs.values())[:2])
    stored = next(iter(cache.outputs.values())).shape_text
    _box(axes, middle, 8, width, "input_layernorm", inside["input_layernorm"])
    for x, name in ((52, "q_proj"), (71, "k_proj"), (90, "v_proj")):
        _box(axes, x, 19, 17, name, inside[f"self_attn.{name}"], ATTENTION_COLOUR)
    _box(axes, 61.5, 30, 36, "RoPE", f"query {query}   key {key}", ATTENTION_COLOUR)
    _box(axes, 80.5, 41, 36, "KV cache", f"key and value {stored}", ATTENTION_COLOUR)
    _box(axes, middle, 52, 55, "attention, then o_proj", inside["self_attn.o_proj"], ATTENTION_COLOUR)
    _box(axes, middle, 63, 6, "+")
    _box(axes, middle, 71, width, "post_attention_layernorm", inside["post_attention_layernorm"])
    for x, name in ((57, "gate_proj"), (85, "up_proj")):
        _box(axes, x, 82, 24, name, inside[f"mlp.{name}"], MLP_COLOUR)
    _box(axes, middle, 93, 55, f"down_proj( silu(gate) × up )  {inside['mlp.down_proj']}", "", MLP_COLOUR)
    _box(axes, middle, 101, 6, "+")
    for x, start, end in _LAYER_ARROWS:
        _arrow(axes, x, start, end)
    for start, end in ((5, 65.2), (69.3, 103.2)):
        axes.plot([middle, 41, 41, middle - 3.6], [start, start, end, end], color=LINE_COLOUR, lw=1.4)
    axes.text(39.8, 35, "residual", rotation=90, ha="right", va="center", fontsize=8.5, color=LINE_COLOUR)
    axes.text(39.8, 86, "residual", rotation=90, ha="right", va="center", fontsize=8.5, color=LINE_COLOUR)


def rotation_figure(angles: np.ndarray, title: str = "RoPE: how far each pair of features is turned") -> Figure:
    """The cosine of each angle as colour. `angles`: radians, (positions, pairs of features)."""
    angles = np.asarray(angles, dtype=float)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 3.8)
        axes = figure.add_subplot()
        image = axes.imshow(np.cos(angles).T, aspect="auto", cmap="cividis", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_xlabel("position in the sequence")
        axes.set_ylabel("pair of features")
        axes.set_title(title)
        figure.colorbar(image, label="cosine of the angle")
    return figure


def attention_figure(weights: np.ndarray, tokens: Sequence[str], titles: Sequence[str], title: str) -> Figure:
    """One square per head: how much each position (row) takes from each (column); what is masked is left white.

    `weights`: the shares, (heads, positions, positions), each row with the sum 1. `tokens`: texts of the positions.
    `titles`: one for each head. Raises ValueError for no head, and for shares that are not one square per head.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 3 or not weights.size or weights.shape[1:] != (len(tokens), len(tokens)):
        raise ValueError(
            f"attention_figure draws shares of shape (heads, positions, positions) with a text for each position, not "
            f"{weights.shape} with {len(tokens)} texts."
        )
    future = np.triu(np.ones(weights.shape[1:], dtype=bool), k=1)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(3.1 * len(weights) + 1.2, 4.6)
        for place, (head, name) in enumerate(zip(weights, titles, strict=True), 1):
            axes = figure.add_subplot(1, len(weights), place)
            shown = np.ma.masked_array(head, future)
            image = axes.imshow(shown, cmap="cividis", vmin=0, vmax=1)
            for row, column in zip(*np.nonzero(~future), strict=True):
                ink = INK if head[row, column] > 0.55 else "#ffffff"
                text = f"{head[row, column]:.2f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
            axes.set_title(label(name), fontsize=11)
            axes.set_xticks(range(len(tokens)), [label(token) for token in tokens], rotation=60, family=FONTS[1])
            axes.set_yticks(range(len(tokens)), [label(token) for token in tokens] if place == 1 else [])
            for text in axes.get_yticklabels():
                text.set_fontfamily(FONTS[1])
            axes.set_xlabel("takes from")
            if place == 1:
                axes.set_ylabel("position that takes")
            axes.tick_params(length=0)
        figure.colorbar(image, ax=figure.axes, label="share", shrink=0.8)
        figure.suptitle(label(title), x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


def layer_figure(values: Sequence[float], ylabel: str, title: str, limit: float | None = None) -> Figure:
    """A number of each layer, on a logarithmic scale; `limit` is drawn as a dashed line.

    Zeros have no place on that scale: they stand at its lower edge, as hollow points. Raises ValueError for a number
    below zero, for NaN and infinity, and where all are zero and there is no limit.
    """
    values = np.asarray(values, dtype=float)
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise ValueError(f"layer_figure draws numbers: that of layer {wrong[0]} is {values[wrong[0]]}.")
    above = values[values > 0]
    if (values < 0).any() or not (len(above) or limit):
        raise ValueError("layer_figure draws numbers on a logarithmic scale: give some above zero, and none below.")
    smallest = min([*above, *([limit] if limit else [])])
    with matplotlib.rc_context(STYLE):
        figure = new_figure(8.6, 3.6)
        axes = figure.add_subplot()
        axes.set_yscale("log")
        layers, floor = np.arange(len(values)), smallest / 3
        axes.plot(layers, np.where(values > 0, values, np.nan), "o-", color=LINE_COLOUR, markersize=4)
        zeros = layers[values == 0]
        if len(zeros):
            axes.plot(zeros, np.full(len(zeros), floor), "o", fillstyle="none", color=LINE_COLOUR, label="exactly 0")
        if limit is not None:
            axes.axhline(limit, color=LIMIT_COLOUR, linestyle="--", linewidth=1.4, label=f"tolerance {limit:g}")
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=2, frameon=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("decoder layer")
        axes.set_ylabel(ylabel)
        axes.set_title(title)
    return figure
