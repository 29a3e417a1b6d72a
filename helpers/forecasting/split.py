"""What each device holds, phase by phase: weights, KV cache, activations, and what a load needs for itself."""

from __future__ import annotations

from helpers.forecasting.load import allocator_reserve, load_pages
from helpers.forecasting.placement import NOT_FOR_COMPUTING, Placement
from helpers.forecasting.rehearsal import Parameter, Rehearsal
from helpers.forecasting.result import DeviceForecast
from helpers.forecasting.source import Source


class Split:
    """The figures of a forecast, device by device."""

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
        told = self._rehearsal
        ends, firsts, more = told.cache_by_layer or (), told.first_by_layer or (), told.token_by_layer or ()
        layers = tuple(
            min(end, first + token * (positions - 1)) for end, first, token in zip(ends, firsts, more, strict=True)
        )
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
