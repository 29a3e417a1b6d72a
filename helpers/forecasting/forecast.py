"""forecast(): will it fit? Answered from the config and the headers of the weights, before anything is loaded."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import devices
from helpers.forecasting import source as forecast_source
from helpers.forecasting.advice import CacheAt, advice
from helpers.forecasting.notes import notes
from helpers.forecasting.placement import STRATEGIES, place
from helpers.forecasting.rehearsal import FakeModel, Rehearsal
from helpers.forecasting.result import Forecast
from helpers.forecasting.settings import CACHES, NEW_TOKENS, PROMPT_TOKENS, ForecastError
from helpers.forecasting.sizes import parse_size
from helpers.forecasting.source import Source
from helpers.forecasting.split import Split

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


def forecast(
    model: str | Path | PretrainedConfig,
    *,
    dtype: torch.dtype | str | None = None,
    device_map: str | int | torch.device | dict | None = None,
    max_memory: dict[str | int, int | str] | None = None,
    prompt_tokens: int = PROMPT_TOKENS,
    new_tokens: int = NEW_TOKENS,
    batch: int = 1,
    cache: str = "dynamic",
    memory: dict[str | int, int | str] | None = None,
) -> Forecast:
    """What `model` will need on each device to load, and to generate `new_tokens` for `batch` prompts: bytes.

    model: a folder, a config.json, a Hub id (its config and the headers of its weights are fetched, no weights), or a
    config object. dtype, device_map and max_memory: as for from_pretrained; without them, what the installed version
    does. cache: "dynamic" or "static". memory: what devices have free, such as {"cuda:0": "24GB"}, in place of what is
    measured; these devices need not be there, and without max_memory an automatic device_map may fill them.

    Weights and KV cache are exact: the installed library's own model is built and run on tensors without memory.
    Activations are the tensors that live at the same time, without what kernels take for themselves. Not counted: the
    process and its libraries, a CUDA context.

    Raises CheckpointError for a model that cannot be read, DeviceError for a device or dtype that there is not,
    RehearsalError for a config that transformers cannot build, ForecastError for counts below 1, another cache, sizes
    that are none, and max_memory beside a device_map that is not automatic.
    """
    _check_counts(prompt_tokens=prompt_tokens, new_tokens=new_tokens, batch=batch)
    if cache not in CACHES:
        raise ForecastError(f"cache={cache!r} is not forecast: give one of {', '.join(CACHES)}")
    if max_memory is not None and device_map not in STRATEGIES:
        automatic = ", ".join(STRATEGIES)
        raise ForecastError(f"max_memory is for an automatic device_map ({automatic}), not device_map={device_map!r}")
    study = _Study(forecast_source.read(model), sizes_by_device("memory", memory or {}), cache)
    options = {
        "dtype": dtype,
        "device_map": device_map,
        "max_memory": None if max_memory is None else sizes_by_device("max_memory", max_memory),
        "prompt_tokens": prompt_tokens,
        "new_tokens": new_tokens,
        "batch": batch,
    }
    found, cache_at = study.forecast(**options)

    def tried(changes: dict) -> Forecast:
        changes = {"max_memory": None} | changes if "device_map" in changes else changes
        if changes.get("max_memory"):
            changes |= {"max_memory": sizes_by_device("max_memory", changes["max_memory"])}
        return study.forecast(**options | changes)[0]

    return replace(found, advice=advice(found, cache_at, tried))


class _Study:
    """One model, of which several forecasts are made: it is built once for each dtype, and rehearsed once for each
    length."""

    def __init__(self, source: Source, memory: dict[str, int], cache: str) -> None:
        self._source, self._memory, self._cache = source, memory, cache
        self._known = {row.device: (row.free, row.total) for row in devices.describe_devices()}
        self._known |= {name: (size, size) for name, size in memory.items()}
        # each of its own config: a model writes its dtype into the one that it is made of
        self._fake = functools.cache(lambda dtype: FakeModel(copy.deepcopy(source.config), dtype))
        self._rehearsed = functools.cache(self._rehearse)

    def _rehearse(self, dtype: torch.dtype, prompt_tokens: int, new_tokens: int, batch: int) -> Rehearsal:
        """In the forecast's dtype; where that does not run without memory, in bfloat16, scaled.

        torch's grouped matrix multiplication, of mixtures of experts, has fake tensors for bfloat16 only.
        """
        import torch

        found = self._fake(dtype).rehearse(prompt_tokens, new_tokens, batch, self._cache)
        if found.unknown is None or dtype is torch.bfloat16:
            return found
        other = self._fake(torch.bfloat16).rehearse(prompt_tokens, new_tokens, batch, self._cache)
        return other.scaled(torch.bfloat16, dtype) if other.unknown is None else found

    def forecast(
        self,
        *,
        dtype: torch.dtype | str | None,
        device_map: str | int | torch.device | dict | None,
        max_memory: dict[str, int] | None,
        prompt_tokens: int,
        new_tokens: int,
        batch: int,
    ) -> tuple[Forecast, CacheAt]:
        """The forecast, without advice, and the bytes of its KV cache by device and positions."""
        source = self._source
        loaded = devices.loaded_dtype(dtype, source.config, [weight.dtype for weight in source.stored or ()])
        fake = self._fake(loaded)
        parameters = fake.parameters()
        placement = place(fake, parameters, device_map, self._memory, max_memory)
        rehearsal = self._rehearsed(loaded, prompt_tokens, new_tokens, batch)
        split = Split(source, parameters, rehearsal, self._known)
        weights = [entry for entry in parameters if not entry.is_buffer]
        rows = tuple(split.on(device, placement) for device in placement.devices) + split.host(placement)
        found = Forecast(
            model=source.name,
            architecture=type(fake.model).__name__,
            dtype=str(loaded).removeprefix("torch."),
            prompt_tokens=prompt_tokens,
            new_tokens=new_tokens,
            batch=batch,
            cache=self._cache,
            parameters=sum(entry.count for entry in weights),
            tied=fake.tied(),
            weights=sum(entry.nbytes for entry in weights),
            buffers=sum(entry.nbytes for entry in parameters if entry.is_buffer),
            kv_cache=None if rehearsal.cache_by_layer is None else sum(rehearsal.cache_by_layer),
            kv_cache_per_token=rehearsal.cache_per_token,
            prefill_activations=rehearsal.prefill and rehearsal.prefill.activations,
            decode_activations=rehearsal.decode and rehearsal.decode.activations,
            logits=rehearsal.prefill and rehearsal.prefill.logits,
            all_logits=rehearsal.prefill and rehearsal.prefill.all_logits,
            devices=rows,
            elsewhere=tuple(split.whole(name) for name in self._known if name not in placement.devices),
            notes=notes(source, fake, parameters, rehearsal, placement, rows, prompt_tokens + new_tokens, batch),
        )
        return found, functools.partial(split.cache_at, placement)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ForecastError(f"{name}={count!r}: give a whole number above 0")


def sizes_by_device(argument: str, sizes: dict[str | int, int | str]) -> dict[str, int]:
    """Bytes by device name, of `memory` or `max_memory`. Raises ForecastError for what is no device, or no size."""
    if not isinstance(sizes, Mapping):
        raise ForecastError(f'{argument}={sizes!r}: give sizes by device, such as {{"cuda:0": "24GB"}}')
    try:
        return {_device(argument, name): parse_size(size) for name, size in sizes.items()}
    except ForecastError:
        raise
    except ValueError as error:
        raise ForecastError(f"{argument}: {error}") from error


def _device(argument: str, name: str | int) -> str:
    """A device as torch spells it; accelerate's number of a GPU is one too. It need not be there."""
    import torch

    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise ForecastError(f'{argument}: {name!r} is no device: write "cuda:0", or 0 for the first GPU')
    spelt = f"cuda:{name}" if isinstance(name, int) else name
    try:
        return spelt if spelt == "disk" else str(torch.device("cuda:0" if spelt == "cuda" else spelt))
    except RuntimeError:
        raise ForecastError(f'{argument}: {name!r} is no device: write "cuda:0", or 0 for the first GPU') from None
