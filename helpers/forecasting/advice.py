"""What would make a model fit. Each means is forecast before it is named."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from typing import Any

from helpers.forecasting.means import Means
from helpers.forecasting.result import DeviceForecast, Forecast
from helpers.tables import format_bytes

HALF = 2
"""Bytes per number in float16 and bfloat16."""
WIDE = {"float32": 4, "float64": 8}
TRIES = 4
"""What a first estimate leaves out (a weight that is moved in takes room too) lowers the next by as much."""

NONE = Means({}, "none of the means that are known here: a smaller or a quantised model is needed")

CacheAt = Callable[[str, int], int]
"""Bytes of the KV cache on a device, after that many positions of each sequence."""
Tried = Callable[[dict[str, Any]], Forecast]
"""The same forecast with these arguments changed."""


def advice(forecast: Forecast, cache_at: CacheAt, tried: Tried) -> tuple[Means, ...]:
    """What would make `forecast` fit, one means each; none where it fits."""
    short = [device for device in forecast.devices if device.fits is False]
    if not short:
        return ()
    found = [*_half(forecast, tried), *_shorter(forecast, short, cache_at, tried), *_smaller_batch(forecast, tried)]
    found += [Means({"device_map": other.device}, other.sentence()) for other in forecast.elsewhere if other.fits]
    found += _offload(forecast, short, tried)
    return tuple(found) or (NONE,)


def _half(forecast: Forecast, tried: Tried) -> Iterator[Means]:
    width = WIDE.get(forecast.dtype)
    if width is None:
        return
    for device in forecast.devices:
        reserve = device.phases["load"].get("reserve", 0)
        if device.free is not None and (device.needed - reserve) * HALF // width > device.free:
            return  # a forecast takes seconds, and this one would say no
    half = tried({"dtype": "float16"})
    if half.fits is not False:
        needs = "; ".join(row.sentence() for row in half.devices if row.needed)
        yield Means({"dtype": "float16"}, f"in place of {forecast.dtype} (or bfloat16, which takes as much): {needs}")


def _shorter(forecast: Forecast, short: list[DeviceForecast], cache_at: CacheAt, tried: Tried) -> Iterator[Means]:
    """Fewer new tokens; where one is too many, a shorter prompt; where none is short enough for all of them, both."""
    if not all(_tokens_are_too_many(forecast, device) for device in short):
        return
    asked = {"prompt_tokens": forecast.prompt_tokens, "new_tokens": forecast.new_tokens}
    for name, also in (("new_tokens", {}), ("prompt_tokens", {}), ("prompt_tokens", {"new_tokens": 1})):

        def is_too_many(count: int, name: str = name, also: dict[str, int] = also) -> bool:
            counts = asked | also | {name: count}
            return not all(_has_room(forecast, device, cache_at, **counts) for device in short)

        count = bisect.bisect_left(range(1, asked[name]), True, key=is_too_many)
        for _ in range(TRIES):
            if count < 1:
                break
            options = {name: count, **also}
            if tried(options).fits:
                each = " for each sequence" if forecast.batch > 1 else ""
                before = " and ".join(f"{asked[one]:,} {one.removesuffix('_tokens')}" for one in options)
                yield Means(options, f"about the most that fits{each}, in place of {before} tokens")
                return
            count = count * 9 // 10  # a part of the activations does not shrink with the prompt


def _tokens_are_too_many(forecast: Forecast, device: DeviceForecast) -> bool:
    """Whether tokens are what is too much for this device, and the share of one is known."""
    weights = device.held("load") - device.phases["load"].get("file_pages", 0)
    return bool(
        forecast.kv_cache_per_token is not None and device.phases["decode"].get("kv_cache") and weights <= device.free
    )


def _has_room(
    forecast: Forecast, device: DeviceForecast, cache_at: CacheAt, prompt_tokens: int, new_tokens: int
) -> bool:
    decode, prefill = device.phases["decode"], device.phases["prefill"]
    activations = -(-prefill["activations"] * prompt_tokens // forecast.prompt_tokens)
    first = device.held("prefill") - prefill["kv_cache"] - prefill["activations"]
    last = device.held("decode") - decode["kv_cache"] if new_tokens > 1 else first
    at_first, at_last = (
        cache_at(device.device, positions) for positions in (prompt_tokens, prompt_tokens + new_tokens - 1)
    )
    return first + activations + at_first <= device.free and last + at_last <= device.free


def _smaller_batch(forecast: Forecast, tried: Tried) -> Iterator[Means]:
    """Fewer prompts at once, where the cache and the activations of one fit."""
    batch = min((_batch(forecast, device) for device in forecast.devices), default=0)
    while batch >= 1:
        if tried({"batch": batch}).fits:
            what = "prompt" if batch == 1 else "prompts"
            yield Means({"batch": batch}, f"{batch:,} {what} at once in place of {forecast.batch:,}")
            return
        batch //= 2


def _batch(forecast: Forecast, device: DeviceForecast) -> int:
    """The largest smaller batch that a device has room for, by an estimate; 0 for none."""
    room = forecast.batch - 1
    if device.free is None or device.fits:
        return room
    for phase in ("prefill", "decode"):
        parts = device.phases[phase]
        grows = sum(parts.get(name, 0) for name in ("kv_cache", "activations", "logits"))
        left = device.free - (device.held(phase) - grows)
        if left < 0:
            return 0
        if grows:
            room = min(room, left * forecast.batch // grows)
    return room


def _offload(forecast: Forecast, short: list[DeviceForecast], tried: Tried) -> Iterator[Means]:
    """Part of the weights in main memory, where the rest of the need leaves the accelerators room."""
    cpu = next((row for row in (*forecast.devices, *forecast.elsewhere) if row.device == "cpu"), None)
    if cpu is None or cpu.free is None or any(device.device == "cpu" for device in short):
        return
    accelerators = [row for row in forecast.devices if row.device not in ("cpu", "disk")]
    if any(row.free is None for row in accelerators):  # one does not answer: what it has room for is not known
        return
    rooms = {row.device: row.free - (row.needed - row.phases["load"]["weights"]) for row in accelerators}
    for _ in range(TRIES):
        if min(rooms.values()) <= 0:
            return
        options = {"device_map": "auto", "max_memory": _limits(rooms, cpu.free)}
        followed = tried(options)
        over = {row.device: -row.margin for row in followed.devices if row.margin is not None and row.margin < 0}
        if not over:
            break
        rooms = {device: room - over.get(device, 0) for device, room in rooms.items()}
    kept = sum(row.parameters for row in followed.devices if row.device == "cpu")
    used = {row.device for row in followed.devices if row.parameters}
    if kept and rooms.keys() <= used and "disk" not in used and followed.fits:
        yield Means(
            options, f"{format_bytes(kept)} of the weights then stay in main memory, and move for each token (slow)"
        )


def _limits(rooms: dict[str, int], cpu: int) -> dict[str | int, int]:
    """As max_memory: accelerate counts GPUs by number."""
    numbered = {
        int(name.removeprefix("cuda:")) if name.startswith("cuda:") else name: room for name, room in rooms.items()
    }
    return numbered | {"cpu": cpu}
