"""What would make a model fit. Only what the figures say would do so is named."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from helpers.forecasting.result import DeviceForecast, Forecast
from helpers.tables import format_bytes

HALF = 2
"""Bytes per number in float16 and bfloat16."""
WIDE = {"float32": 4, "float64": 8}


CacheAt = Callable[[str, int], int]
"""Bytes of the KV cache on a device, after that many positions of each sequence."""
Offloaded = Callable[[dict[str, int]], tuple[DeviceForecast, ...]]
"""What each device needs with device_map="auto" and these bytes by device as max_memory."""
TRIES = 4
"""A weight that is moved in for its computation takes room too: the limits are lowered by what was too much."""


def advice(forecast: Forecast, cache_at: CacheAt, offloaded: Offloaded) -> tuple[str, ...]:
    """What would make `forecast` fit, each in a sentence; empty where it fits."""
    short = [device for device in forecast.devices if device.fits is False]
    if not short:
        return ()
    found = [text for device in short for text in (*_half(forecast, device), *_shorter(forecast, device, cache_at))]
    found += [f"put it on {other.device}: {other.sentence()}" for other in forecast.elsewhere if other.fits]
    found += _offload(forecast, short, offloaded)
    return tuple(found) or ("none of the means that are known here: a smaller or a quantised model is needed",)


def _half(forecast: Forecast, device: DeviceForecast) -> list[str]:
    width = WIDE.get(forecast.dtype)
    if width is None:
        return []
    reserve = device.phases["load"].get("reserve", 0)
    need = (device.needed - reserve) * HALF // width + reserve
    if need > device.free:
        return []
    return [f"dtype=float16 or bfloat16 in place of {forecast.dtype}: about {format_bytes(need)} on {device.device}"]


def _shorter(forecast: Forecast, device: DeviceForecast, cache_at: CacheAt) -> list[str]:
    """Fewer new tokens, where the cache is what does not fit; or a shorter prompt, where one new token is too many."""
    decode, prefill = device.phases["decode"], device.phases["prefill"]
    held = device.held("load") - device.phases["load"].get("file_pages", 0)
    # a cache of which one token's share is not known cannot be told for fewer
    if forecast.kv_cache_per_token is None or not decode.get("kv_cache") or held > device.free:
        return []

    def fits(positions: int) -> bool:
        prompt = min(positions, forecast.prompt_tokens)
        # activations grow with the prompt at least in proportion: a shorter one has at most its share of them
        activations = -(-prefill["activations"] * prompt // forecast.prompt_tokens)
        first = device.held("prefill") - prefill["kv_cache"] - prefill["activations"]
        last = device.held("decode") - decode["kv_cache"]
        cached = cache_at(device.device, positions)
        return first + activations + cache_at(device.device, prompt) <= device.free and last + cached <= device.free

    positions = forecast.prompt_tokens + forecast.new_tokens - 1
    fitting = bisect.bisect_left(range(1, positions + 1), True, key=lambda count: not fits(count))
    if not 1 <= fitting < positions:
        return []
    each = " of each sequence" if forecast.batch > 1 else ""
    if fitting < forecast.prompt_tokens:
        return [f"a prompt of at most about {fitting:,} tokens{each} in place of {forecast.prompt_tokens:,}"]
    return [f"at most about {fitting:,} tokens{each}, prompt and new ones together, in place of {positions:,}"]


def _offload(forecast: Forecast, short: list[DeviceForecast], offloaded: Offloaded) -> list[str]:
    """Part of the weights in main memory, where the rest of the need leaves the accelerators room."""
    cpu = next((row for row in (*forecast.devices, *forecast.elsewhere) if row.device == "cpu"), None)
    if cpu is None or cpu.free is None or any(device.device == "cpu" for device in short):
        return []
    accelerators = [row for row in forecast.devices if row.device not in ("cpu", "disk")]
    if any(row.free is None for row in accelerators):  # one does not answer: what it has room for is not known
        return []
    rooms = {row.device: row.free - (row.needed - row.phases["load"]["weights"]) for row in accelerators}
    for _ in range(TRIES):
        if min(rooms.values()) <= 0:
            return []
        rows = offloaded(rooms | {"cpu": cpu.free})
        over = {row.device: -row.margin for row in rows if row.margin is not None and row.margin < 0}
        if not over:
            break
        rooms = {device: room - over.get(device, 0) for device, room in rooms.items()}
    kept = sum(row.parameters for row in rows if row.device == "cpu")
    used = {row.device for row in rows if row.parameters}
    if not kept or not rooms.keys() <= used or not all(row.fits for row in rows):
        return []
    limits = ", ".join(f"{_as_key(device)}: {room}" for device, room in (rooms | {"cpu": cpu.free}).items())
    return [
        f'device_map="auto", max_memory={{{limits}}}: {format_bytes(kept)} of the weights then stay in main memory, '
        "and move for each token (slow)"
    ]


def _as_key(device: str) -> str:
    """A device in max_memory, as accelerate spells it."""
    return device.removeprefix("cuda:") if device.startswith("cuda:") else f'"{device}"'
