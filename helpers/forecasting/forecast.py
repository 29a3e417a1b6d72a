"""forecast(): will it fit? Answered from the config and the headers of the weights, before anything is loaded."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import devices
from helpers.forecasting import source as forecast_source
from helpers.forecasting.advice import advice
from helpers.forecasting.load import allocator_reserve, load_pages
from helpers.forecasting.placement import NOT_FOR_COMPUTING, Placement, place
from helpers.forecasting.rehearsal import FakeModel, Parameter, Rehearsal
from helpers.forecasting.result import DeviceForecast, Forecast
from helpers.forecasting.settings import CACHES, NEW_TOKENS, PROMPT_TOKENS, ForecastError
from helpers.forecasting.sizes import parse_size
from helpers.forecasting.source import Source

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


def forecast(
    model: str | Path | PretrainedConfig,
    *,
    dtype: torch.dtype | str | None = None,
    device_map: str | int | torch.device | dict | None = None,
    prompt_tokens: int = PROMPT_TOKENS,
    new_tokens: int = NEW_TOKENS,
    batch: int = 1,
    cache: str = "dynamic",
    memory: dict[str | int, int | str] | None = None,
) -> Forecast:
    """What `model` will need on each device to load, and to generate `new_tokens` for `batch` prompts: bytes.

    model: a folder, a config.json, a Hub id (its config and the headers of its weights are fetched, no weights), or a
    config object. dtype and device_map: as for from_pretrained; without them, what the installed version does. cache:
    "dynamic" or "static". memory: what devices have free, such as {"cuda:0": "24GB"}, in place of what is measured;
    these devices need not be there.

    Weights and KV cache are exact: the installed library's own model is built and run on tensors without memory.
    Activations are the tensors that live at the same time, without what kernels take for themselves. Not counted: the
    process and its libraries, a CUDA context.

    Raises CheckpointError for a model that cannot be read, DeviceError for a device or dtype that there is not,
    RehearsalError for a config that transformers cannot build, ForecastError for counts below 1 or another cache.
    """
    _check_counts(prompt_tokens=prompt_tokens, new_tokens=new_tokens, batch=batch)
    if cache not in CACHES:
        raise ForecastError(f"cache={cache!r} is not forecast: give one of {', '.join(CACHES)}")
    budgets = _budgets(memory or {})
    source = forecast_source.read(model)
    loaded = devices.loaded_dtype(dtype, source.config, [weight.dtype for weight in source.stored or ()])
    fake = FakeModel(source.config, loaded)
    parameters = fake.parameters()
    placement = place(fake, parameters, device_map, budgets)
    rehearsal = _rehearsal(fake, source.config, prompt_tokens, new_tokens, batch, cache)
    known = {row.device: (row.free, row.total) for row in devices.describe_devices()}
    known |= {name: (size, size) for name, size in budgets.items()}
    split = _Split(source, parameters, rehearsal, known)
    weights = [entry for entry in parameters if not entry.is_buffer]
    result = Forecast(
        model=source.name,
        architecture=type(fake.model).__name__,
        dtype=str(loaded).removeprefix("torch."),
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        batch=batch,
        cache=cache,
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
        devices=tuple(split.on(device, placement) for device in placement.devices) + split.host(placement),
        elsewhere=tuple(split.whole(name) for name in known if name not in placement.devices),
        notes=(
            *_other_class(source.config, type(fake.model).__name__),
            *_notes(source, parameters, rehearsal, placement, prompt_tokens + new_tokens, batch),
        ),
    )

    def offloaded(limits: dict[str, int]) -> tuple[DeviceForecast, ...]:
        placed = place(fake, parameters, "auto", limits)
        return tuple(split.on(device, placed) for device in placed.devices if device != "disk")

    return replace(result, advice=advice(result, functools.partial(split.cache_at, placement), offloaded))


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ForecastError(f"{name}={count!r}: give a whole number above 0")


def _budgets(memory: dict[str | int, int | str]) -> dict[str, int]:
    try:
        return {_memory_s_device(name): parse_size(size) for name, size in memory.items()}
    except ForecastError:
        raise
    except ValueError as error:
        raise ForecastError(f"memory: {error}") from error


def _memory_s_device(name: str | int) -> str:
    """A device of `memory` as torch spells it; accelerate's number of a GPU is one too. It need not be there."""
    import torch

    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise ForecastError(f'memory: {name!r} is no device: write "cuda:0", or 0 for the first GPU')
    spelt = f"cuda:{name}" if isinstance(name, int) else name
    try:
        return spelt if spelt == "disk" else str(torch.device("cuda:0" if spelt == "cuda" else spelt))
    except RuntimeError:
        raise ForecastError(f'memory: {name!r} is no device: write "cuda:0", or 0 for the first GPU') from None


def _rehearsal(
    fake: FakeModel, config: PretrainedConfig, prompt_tokens: int, new_tokens: int, batch: int, cache: str
) -> Rehearsal:
    """In the forecast's dtype; where that does not run without memory, in bfloat16, scaled.

    torch's grouped matrix multiplication, of mixtures of experts, has fake tensors for bfloat16 only.
    """
    import torch

    found = fake.rehearse(prompt_tokens, new_tokens, batch, cache)
    if found.unknown is None or fake.dtype is torch.bfloat16:
        return found
    other = FakeModel(config, torch.bfloat16).rehearse(prompt_tokens, new_tokens, batch, cache)
    return other.scaled(torch.bfloat16, fake.dtype) if other.unknown is None else found


class _Split:
    """The forecast, split over devices."""

    def __init__(
        self,
        source: Source,
        parameters: list[Parameter],
        rehearsal: Rehearsal,
        known: dict[str, tuple[int | None, int | None]],
    ) -> None:
        self._stored = source.stored or ()
        self._parameters = parameters
        self._rehearsal = rehearsal
        self._known = known

    def whole(self, device: str) -> DeviceForecast:
        """The whole model on one device."""
        everything = {entry.name: device for entry in self._parameters}
        return self.on(device, Placement(everything, (), device))

    def host(self, placement: Placement) -> tuple[DeviceForecast, ...]:
        """Main memory, where nothing is put there: a load to accelerators goes through the pages of its files."""
        host = () if "cpu" in placement.devices else (self.on("cpu", placement),)
        return tuple(row for row in host if row.peak)

    def on(self, device: str, placement: Placement) -> DeviceForecast:
        """What one device holds in each phase."""
        here = [entry for entry in self._parameters if placement.of_parameter[entry.name] == device]
        computes = placement.computes_on(device) == device
        passes = {"prefill": self._rehearsal.prefill, "decode": self._rehearsal.decode}
        standing = {"weights": 0 if device == "disk" else sum(entry.nbytes for entry in here)}
        if device not in NOT_FOR_COMPUTING and device != "mps":
            standing["reserve"] = allocator_reserve(entry.nbytes for entry in here)
        phases = {"load": {**standing, "file_pages": self._file_pages(device, placement)}}
        for phase, one in passes.items():
            phases[phase] = dict(standing)
            if computes:
                phases[phase]["kv_cache"] = self._cache(device, placement, phase)
                phases[phase]["activations"] = (one.activations if one else 0) + self._moved_in(device, placement)
                phases[phase]["logits"] = one.logits if one and device == placement.main else 0
        free, total = self._known.get(device, (None, None))
        parameters = sum(entry.nbytes for entry in here if not entry.is_buffer)
        buffers = sum(entry.nbytes for entry in here if entry.is_buffer)
        complete = not computes or self._rehearsal.unknown is None
        return DeviceForecast(device, parameters, buffers, phases, free, total, complete)

    def cache_at(self, placement: Placement, device: str, positions: int) -> int:
        """Bytes of a dynamic cache on one device after so many positions: a layer whose window is full does not grow.

        `positions` up to those of the rehearsal.
        """
        end, one = self._rehearsal.cache_by_layer or (), self._rehearsal.token_by_layer or ()
        layers = tuple(min(whole, token * positions) for whole, token in zip(end, one, strict=True))
        return self._on_device(layers, device, placement)

    def _cache(self, device: str, placement: Placement, phase: str) -> int:
        layers = self._rehearsal.cache_by_layer if phase == "decode" else self._rehearsal.prefill_cache_by_layer
        return self._on_device(layers, device, placement)

    @staticmethod
    def _on_device(layers: tuple[int, ...] | None, device: str, placement: Placement) -> int:
        """The sum of what the layers of this device have."""
        if len(placement.of_layer) != len(layers or ()):
            return sum(layers or ()) if device == placement.main else 0
        return sum(size for size, place in zip(layers or (), placement.of_layer, strict=True) if place == device)

    def _moved_in(self, device: str, placement: Placement) -> int:
        """The largest parameter that an accelerator computes with, but that lies elsewhere: moved in and out again."""
        if device != placement.main or (device in NOT_FOR_COMPUTING and "disk" not in placement.devices):
            return 0
        elsewhere = [
            entry.nbytes
            for entry in self._parameters
            if placement.of_parameter[entry.name] in NOT_FOR_COMPUTING and placement.of_parameter[entry.name] != device
        ]
        return max(elsewhere, default=0)

    def _file_pages(self, device: str, placement: Placement) -> int:
        """Main memory holds the pages of the files while tensors are cast, or moved to an accelerator."""
        if device != "cpu":
            return 0
        in_memory, copied = {}, set()
        by_name = {entry.name: entry for entry in self._parameters}
        for weight in self._stored:
            entry = by_name.get(weight.name)
            target = placement.of_parameter.get(weight.name)
            if entry is None or target in (None, "disk"):
                continue
            if target == "cpu":
                in_memory[weight.name] = entry.nbytes
            if target != "cpu" or entry.dtype != weight.dtype:
                copied.add(weight.name)
        return load_pages(self._stored, in_memory, copied)


def _other_class(config: PretrainedConfig, made: str) -> list[str]:
    """Whether the checkpoint is of another class than the one that is forecast."""
    named = getattr(config, "architectures", None) or [made]
    if made in named:
        return []
    return [
        f"the checkpoint is of {named[0]}; this is a forecast for {made}, which AutoModelForCausalLM makes of it, and "
        f"not for {named[0]}"
    ]


def _notes(
    source: Source, parameters: list[Parameter], rehearsal: Rehearsal, placement: Placement, positions: int, batch: int
) -> list[str]:
    notes = [source.note] if source.note else []
    if rehearsal.unknown:
        notes.append(rehearsal.unknown)
    if batch > 1:
        notes.append(
            "prompts of one length: where some are padded, the library builds an attention mask for the whole batch, "
            "and the activations are larger"
        )
    if rehearsal.scaled_from:
        notes.append(
            f"activations and logits at most: scaled from {rehearsal.scaled_from}, in which the model could run"
        )
    if source.stored is not None:
        stored = {weight.name: weight.shape for weight in source.stored}
        expected = {entry.name: entry.shape for entry in parameters if not entry.is_buffer}
        others = sum(expected.get(name) != shape for name, shape in stored.items())
        if others:
            notes.append(
                f"{others} of the {len(stored)} stored tensors are none of the model's by name and shape: "
                "renamed, merged or left out by the load, and not in the file pages"
            )
    longest = getattr(source.config.get_text_config(), "max_position_embeddings", None)
    if longest and positions > longest:
        notes.append(f"{positions} tokens are more than the {longest} positions that the model was made for")
    if placement.main == "cpu":
        notes.append(
            "not in the figures: the process, its libraries, and what the C library's heap keeps of freed activations"
        )
    if any(device.startswith("cuda") for device in placement.devices):
        notes.append("not in the figures: the CUDA context, which depends on card and driver")
    return notes
