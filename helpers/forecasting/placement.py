"""Which device each parameter and each layer's KV cache would go to, by a device_map, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers import compat
from helpers.devices import DeviceError, checked_device
from helpers.forecasting.rehearsal import FakeModel, Parameter, quiet

if TYPE_CHECKING:
    import torch

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
NOT_FOR_COMPUTING = ("cpu", "disk")
"""Where a device_map with an accelerator only keeps parameters: they are moved to it for each forward pass."""


@dataclass(frozen=True)
class Placement:
    """`of_parameter`: name to device. `of_layer`: the device that holds each decoder layer's KV cache."""

    of_parameter: dict[str, str]
    of_layer: tuple[str, ...]
    main: str

    @property
    def devices(self) -> list[str]:
        """Every device with a parameter, the accelerators first."""
        return sorted(set(self.of_parameter.values()) | {self.main}, key=lambda name: (name in NOT_FOR_COMPUTING, name))

    def computes_on(self, device: str) -> str:
        """The device that computes with what `device` holds."""
        return self.main if device in NOT_FOR_COMPUTING else device


def place(
    fake: FakeModel,
    parameters: list[Parameter],
    device_map: str | int | torch.device | dict | None,
    memory: dict[str, int],
    max_memory: dict[str, int] | None = None,
) -> Placement:
    """The placement that from_pretrained would make of `device_map`; None is the CPU, as there.

    memory: free bytes by device name, in place of what is here; its devices need not be there. The automatic
    strategies are the library's own; without `max_memory`, `memory` is theirs. Raises DeviceError for a device that is
    neither there nor in `memory`, and for a map that leaves a parameter without a device, or is the word "disk".
    """
    if isinstance(device_map, str) and device_map in STRATEGIES:
        for device in max_memory or {}:
            _device_name(device, memory, "max_memory")
        keys = {_as_key(device): free for device, free in (memory if max_memory is None else max_memory).items()}
        if keys and max_memory is None:
            keys.setdefault("cpu", _free_on_cpu())
        with quiet():  # accelerate warns of each device in `memory` that is not there
            chosen = compat.automatic_device_map(fake.model, device_map, keys or None, fake.dtype)
    elif isinstance(device_map, dict):
        chosen = device_map
    elif device_map == "disk":
        raise DeviceError('device_map="disk": transformers takes disk in a map only. Write {"": "disk"}')
    else:
        chosen = {"": "cpu" if device_map is None else device_map}
    named = {module: _device_name(device, memory, "device_map") for module, device in chosen.items()}
    of_parameter = {entry.name: _device_of(entry.name, named) for entry in parameters}
    main = next((device for device in named.values() if device not in NOT_FOR_COMPUTING), "cpu")
    return Placement(of_parameter, _layer_devices(fake, of_parameter, main), main)


def _as_key(device: str) -> int | str:
    """accelerate counts CUDA devices by number."""
    return int(device.removeprefix("cuda:")) if device.startswith("cuda:") else device


def _free_on_cpu() -> int:
    from helpers.main_memory import main_memory

    return main_memory().free


def _device_name(device: str | int | torch.device, memory: dict[str, int], argument: str) -> str:
    name = f"cuda:{device}" if isinstance(device, int) else str(device)
    name = "cuda:0" if name == "cuda" else name  # torch's current device, unless the reader changed it
    if name == "disk" or name in memory:
        return name
    try:
        return str(checked_device(name, argument))
    except DeviceError as error:
        if not name.startswith("cuda:"):
            raise
        raise DeviceError(f'{error}; memory={{"{name}": "24GB"}} forecasts for one that is not here') from None


def _device_of(parameter: str, named: dict[str, str]) -> str:
    """The entry whose module name is the longest that the parameter's name begins with."""
    place = parameter
    while True:
        if place in named:
            return named[place]
        if not place:
            raise DeviceError(
                f"device_map leaves {parameter} without a device: name it, one of its modules, or '' for all"
            )
        place = place.rpartition(".")[0]


def _layer_devices(fake: FakeModel, of_parameter: dict[str, str], main: str) -> tuple[str, ...]:
    try:
        layers = compat.decoder_layers(fake.model)
    except TypeError:  # kept in a place that this project does not know: all on the device that computes
        return ()
    names = {id(module): name for name, module in fake.model.named_modules()}
    found = []
    for layer in layers:
        prefix = f"{names[id(layer)]}."
        device = next((device for name, device in of_parameter.items() if name.startswith(prefix)), main)
        found.append(main if device in NOT_FOR_COMPUTING else device)
    return tuple(found)
