"""What cannot work in a device map or in a `max_memory`, found before anything is loaded."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from helpers import compat, devices, safetensors_header
from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints.shaped_build import SHAPES
from helpers.forecasting import unread_weights
from helpers.placing.error import PlacementError
from helpers.tables import format_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OTHER_DEVICES = ("cpu", "disk", "mps")
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
DeviceMap = str | int | torch.device | Mapping[str, str | int | torch.device]
MaxMemory = Mapping[str | int, int | str]


def checked_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """The one dtype that a plan is for. Raises PlacementError for what is none, as "auto" or one for each part."""
    try:
        if dtype is None or isinstance(dtype, dict) or dtype == "auto":
            raise devices.DeviceError(f"dtype={dtype!r} is not one dtype: use one of {', '.join(devices.DTYPES)}")
        return devices.loaded_dtype(dtype)
    except devices.DeviceError as error:
        raise PlacementError(str(error).removesuffix(", or auto")) from error


def check_files(checkpoint: str | Path) -> None:
    """Raise PlacementError where the weights of a local folder are not all there and whole, as their headers tell."""
    if str(checkpoint) in SHAPES:
        raise PlacementError(f"{checkpoint} is a shape without files: there is nothing to load.")
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        return  # a Hub id: what fetches it tells what is not there
    try:
        safetensors_header.check_shards(folder)
        unread_weights.note(folder)
    except CheckpointError as error:
        raise PlacementError(str(error)) from error


def _check_device(device: object, present: list[str]) -> None:
    name = f"cuda:{device}" if isinstance(device, int) and not isinstance(device, bool) else str(device)
    if name == "cuda":
        name = next((one for one in present if one.startswith("cuda")), name)
    if name == "disk" or name in present:
        return
    raise PlacementError(f"There is no device {name!r} here: there is {', '.join(present)}, and disk.")


def check_map(model: PreTrainedModel, device_map: DeviceMap) -> None:
    present = [row.device for row in devices.describe_devices()]
    if not isinstance(device_map, Mapping):
        if device_map == "disk":
            raise PlacementError('device_map="disk": transformers takes disk in a map only. Write {"": "disk"}.')
        if device_map not in STRATEGIES:
            _check_device(device_map, present)
        return
    for device in device_map.values():
        _check_device(device, present)
    modules = {name for name, _ in model.named_modules()} | {name for name, _ in model.named_parameters()}
    unknown = [name for name in device_map if name not in modules]
    if unknown:
        raise PlacementError(f"The device map names {unknown[0]!r}, which is no module of this {type(model).__name__}.")
    for outer, inner in itertools.permutations(device_map, 2):
        if (not outer or inner.startswith(f"{outer}.")) and str(device_map[outer]) != str(device_map[inner]):
            raise PlacementError(
                f"The device map places {inner!r} on {device_map[inner]} and, as a part of {outer!r}, on "
                f"{device_map[outer]}: accelerate takes one entry for each part. List the other parts of {outer!r}."
            )
    forgotten = [
        name
        for name, _ in model.named_parameters()
        if not any(not part or name == part or name.startswith(f"{part}.") for part in device_map)
    ]
    if forgotten:
        raise PlacementError(
            f"The device map places {len(forgotten)} parameters nowhere, {forgotten[0]} first: name their modules too, "
            'or the whole model as "".'
        )


def checked_budget(
    model: PreTrainedModel, dtype: torch.dtype, max_memory: MaxMemory | None, *, elsewhere: bool = False
) -> dict[str | int, int] | None:
    """`max_memory` in bytes, its devices as accelerate spells them: a GPU by its number.

    Raises PlacementError when no device may hold the largest layer: such a model would go to disk whole.
    """
    from accelerate.utils import compute_module_sizes, get_max_layer_size
    from accelerate.utils.modeling import convert_file_size_to_int

    if max_memory is None:
        return None
    if not isinstance(max_memory, Mapping):
        raise PlacementError(f'max_memory={max_memory!r}: write sizes by device, such as {{0: "24GB", "cpu": "16GB"}}.')
    present = [row.device for row in devices.describe_devices()]
    for device in () if elsewhere else max_memory:
        _check_device(device, present)
    sizes = compute_module_sizes(model, dtype=dtype)
    try:
        largest, names = get_max_layer_size(list(model.named_children()), sizes, compat.unsplit_modules(model))
    except ValueError as error:  # of a model that takes no automatic device map
        raise PlacementError(str(error)) from error
    try:
        limits = {_accelerate_s_name(device): convert_file_size_to_int(limit) for device, limit in max_memory.items()}
    except (ValueError, TypeError, AttributeError) as error:  # the last for what is neither a number nor a text
        raise PlacementError(
            f'max_memory={dict(max_memory)!r}: {error}. Write whole bytes, or for example "2GiB".'
        ) from None
    if max((limit for device, limit in limits.items() if device != "disk"), default=0) < largest:
        raise PlacementError(
            f"max_memory={dict(max_memory)!r} cannot hold the largest layer: {names[0]} is {format_bytes(largest)} "
            f"({largest:,} bytes) in {str(dtype).removeprefix('torch.')}, and a layer computes on one device."
        )
    return limits


def _accelerate_s_name(device: str | int) -> str | int:
    """accelerate counts GPUs by number; "cuda" is the first. Raises PlacementError for what is no device of its."""
    name, _, number = device.partition(":") if isinstance(device, str) else ("cuda", "", str(device))
    if name == "cuda" and (number or "0").isdecimal() and not isinstance(device, bool):
        return int(number or 0)
    if device in OTHER_DEVICES:
        return device
    raise PlacementError(
        f'max_memory: {device!r} is no device: write 0 or "cuda:0" for the first GPU, "cpu" or "disk".'
    )
