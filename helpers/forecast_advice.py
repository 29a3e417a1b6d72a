"""What would make a model fit. Only what the figures say would do so is named."""

from __future__ import annotations

import bisect
from collections.abc import Callable

from helpers.forecast_result import DeviceForecast, Forecast
from helpers.tables import format_bytes

HALF = 2
"""Bytes per number in float16 and bfloat16."""
WIDE = {"float32": 4, "float64": 8}


CacheAt = Callable[[str, int], int]
"""Bytes of the KV cache on a device, after that many positions of each sequence."""


def advice(forecast: Forecast, cache_at: CacheAt) -> tuple[str, ...]:
    """What would make `forecast` fit, each in a sentence; empty where it fits."""
    short = [device for device in forecast.devices if device.fits is False]
    if not short:
        return ()
    found = [text for device in short for text in (*_half(forecast, device), *_shorter(forecast, device, cache_at))]
    found += [f"put it on {other.device}: {other.sentence()}" for other in forecast.elsewhere if other.fits]
    found += _offload(forecast, short)
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
    if forecast.cache != "dynamic" or not decode.get("kv_cache") or held > device.free:
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


def _offload(forecast: Forecast, short: list[DeviceForecast]) -> list[str]:
    """Part of the weights in main memory, where the rest of the need leaves the accelerator room."""
    cpu = next((row for row in (*forecast.devices, *forecast.elsewhere) if row.device == "cpu"), None)
    if cpu is None or cpu.free is None or any(device.device == "cpu" for device in short):
        return []
    weights = sum(device.phases["load"]["weights"] for device in short)
    beside = sum(device.needed - device.phases["load"]["weights"] for device in short)
    room = sum(device.free for device in short) - beside
    if room <= 0 or weights - room > cpu.free:
        return []
    kept = format_bytes(weights - room)
    return [f'device_map="auto": {kept} of the weights then stay in main memory, and move for each token (slow)']
