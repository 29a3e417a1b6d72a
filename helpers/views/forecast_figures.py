"""matplotlib figure of forecasts: stacked bars of what each phase holds on each device, against what is free there."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from helpers.forecasting.result import COMPONENTS, PHASES, DeviceForecast, Forecast
from helpers.tables import format_bytes
from helpers.views.pictures import INK, STYLE, label, new_figure

__all__ = ["forecast_description", "forecast_figure"]

COLOURS = {
    "weights": ("#0072B2", "weights"),
    "kv_cache": ("#CC79A7", "KV cache"),
    "activations": ("#E69F00", "activations"),
    "logits": ("#8C564B", "logits"),
    "file_pages": ("#9FC5E0", "file pages while loading"),
    "reserve": ("#BBBBBB", "allocator's reserve"),
}
SHORT = "#B00020"
UNITS = (("GiB", 2**30), ("MiB", 2**20))
ROW_HEIGHT, GAP = 0.32, 0.5  # inches of a bar; bars' heights between two groups


def forecast_figure(*forecasts: Forecast, title: str = "Will it fit?") -> Figure:
    """A group of bars for each forecast and device: load, prefill and last decode step, against the free memory.

    Raises ValueError without a forecast.
    """
    if not forecasts:
        raise ValueError("Nothing to draw: give one forecast or more.")
    groups = [(one, device) for one in forecasts for device in one.devices if device.device != "disk"]
    unit, size = _unit(groups)
    with matplotlib.rc_context(STYLE):
        figure = new_figure(9.2, 1.5 + len(groups) * (len(PHASES) + GAP) * ROW_HEIGHT)
        axes = figure.add_subplot()
        reach = max(max(device.peak, _shown_free(device)) for _, device in groups) / size
        for number, (one, device) in enumerate(groups):
            _draw_group(axes, number * (len(PHASES) + GAP), one, device, size, reach)
        axes.invert_yaxis()
        axes.set_xlim(0, reach * 1.42)  # room for the words beside the bars
        axes.set_xlabel(unit)
        axes.set_title(label(title))
        axes.tick_params(axis="y", length=0)
        _set_row_names(axes, groups)
        drawn = [name for name in COMPONENTS if any(_holds(device, name) for _, device in groups)]
        handles = [matplotlib.patches.Patch(color=COLOURS[name][0], label=COLOURS[name][1]) for name in drawn]
        if any(_shown_free(device) for _, device in groups):
            handles.append(matplotlib.lines.Line2D([], [], color=INK, linewidth=2, label="free memory"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_group(axes, top: float, one: Forecast, device: DeviceForecast, size: int, reach: float) -> None:
    for row, phase in enumerate(PHASES):
        left = 0.0
        for name in COMPONENTS:
            width = device.phases[phase].get(name, 0) / size
            axes.barh(top + row, width, left=left, height=0.78, color=COLOURS[name][0])
            left += width
        axes.text(
            left + reach * 0.01, top + row, format_bytes(device.held(phase)), va="center", fontsize=9.5, color=INK
        )
    if device.free is not None and _shown_free(device):
        axes.plot([device.free / size] * 2, [top - 0.5, top + len(PHASES) - 0.5], color=INK, linewidth=2)
    verdict = {True: "fits", False: "does not fit", None: "not known"}[device.fits]
    axes.text(
        reach * 1.41,
        top + 1,
        verdict,
        ha="right",
        va="center",
        weight="bold",
        color=SHORT if device.fits is False else INK,
    )


def _set_row_names(axes, groups: list[tuple[Forecast, DeviceForecast]]) -> None:
    places, names = [], []
    for number, (one, device) in enumerate(groups):
        for row, phase in enumerate(PHASES):
            places.append(number * (len(PHASES) + GAP) + row)
            names.append(label(f"{one.dtype} on {device.device}:  {phase}" if row == 0 else phase))
    axes.set_yticks(np.array(places), names)


def _unit(groups: list[tuple[Forecast, DeviceForecast]]) -> tuple[str, int]:
    largest = max(device.peak for _, device in groups)
    return next(((unit, size) for unit, size in UNITS if largest >= size), UNITS[-1])


def _shown_free(device: DeviceForecast) -> int:
    """Free memory many times the need would flatten the bars: it is then not drawn."""
    return device.free if device.free is not None and device.free <= 4 * device.peak else 0


def _holds(device: DeviceForecast, name: str) -> bool:
    return any(device.phases[phase].get(name, 0) for phase in PHASES)


def forecast_description(*forecasts: Forecast) -> str:
    """What the figure shows, in words; it names no amount of free memory, so that it is the same on every machine."""
    named = [
        f"{one.dtype} on {device.device}" for one in forecasts for device in one.devices if device.device != "disk"
    ]
    return (
        f"Stacked bars of the bytes that load, prefill and the last decode step hold: {'; '.join(named)}; "
        "each with a line where the free memory ends."
    )
