"""Where a model's parameters live and where they compute: device maps, accelerate's hooks, offload to CPU and disk.

    where = placement.where(model)      each parameter: where it lies, where it computes, the hook that moves it
    placement.plan(checkpoint, …)       the device map that device_map="auto" would choose, without loading
    placement.load(checkpoint, …)       from_pretrained, with what cannot work refused before it starts

What decides and what moves is accelerate's and transformers' own: nothing is placed by this module.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import compat
from .placing.checks import STRATEGIES, DeviceMap, MaxMemory, check_files, check_map, checked_budget, checked_dtype
from .placing.empty import auto_class, check_sizes_are_known, empty_model
from .placing.error import PlacementError
from .placing.offload_folder import as_before, bytes_written, check_folder, paths
from .probes.kv_cache import is_cache
from .probes.tensor_names import dtype_name
from .probes.tensor_parts import bytes_in_process, local_part
from .probes.weights import as_device, offload_hook, place_of
from .tables import Table

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def where(model: torch.nn.Module) -> Table:
    """One row per parameter and buffer of a model as it is now, in the model's order.

    Columns: name, device (where it lies: cpu, cuda:0, disk, meta where nothing says), execution_device (where
    accelerate's hook moves it for a call; without a hook the same), hook (the class of the hook that does so; empty
    without), dtype, shape, nbytes, tied_to (the first name of the same tensor), file (in which an offloaded tensor
    lies; its name only). A DTensor's shape and bytes are those of this process.
    """
    rows, first = [], {}
    for path, module in model.named_modules():
        if is_cache(module):
            continue
        hook = offload_hook(module)
        for own, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is None:
                continue
            name = f"{path}.{own}" if path else own
            known = first.setdefault(id(tensor), name)
            lies = place_of(hook, own, tensor)
            rows.append(
                {
                    "name": name,
                    "device": lies,
                    "execution_device": _execution_device(hook, lies),
                    "hook": type(hook).__name__ if hook is not None else "",
                    "dtype": dtype_name(tensor.dtype),
                    "shape": tuple(local_part(tensor).shape),
                    "nbytes": bytes_in_process(tensor),
                    "tied_to": known if known != name else None,
                    "file": _file_of(hook, own) if lies == "disk" else None,
                }
            )
    return Table.of(rows, ["name", "device", "execution_device", "hook", "dtype", "shape", "nbytes", "tied_to", "file"])


def _execution_device(hook: object | None, lies: str) -> str:
    device = getattr(hook, "execution_device", None)
    return lies if device is None else str(as_device(device))


def _file_of(hook: object, name: str) -> str | None:
    """The file in which accelerate keeps an offloaded tensor."""
    weights = getattr(hook, "weights_map", None)
    while hasattr(weights, "dataset") and hasattr(weights, "prefix"):
        weights, name = weights.dataset, weights.prefix + name
    entry = (getattr(weights, "index", None) or {}).get(name)
    if entry is None:
        return None
    return Path(entry["safetensors_file"]).name if entry.get("safetensors_file") else f"{name}.dat"


def plan(
    checkpoint: str | Path,
    *,
    dtype: torch.dtype | str = torch.float32,
    max_memory: MaxMemory | None = None,
    strategy: str = "auto",
    elsewhere: bool = False,
) -> dict[str, str | int]:
    """The device map that from_pretrained would make for `device_map=strategy` within `max_memory`, without loading.

    `checkpoint`: a folder, a Hub id, or llama-2-7b for that shape without a file. The model is built from its config on
    the meta device. `max_memory`: bytes, or "2GiB", per device; None: what is free now. `strategy`: one of STRATEGIES.
    `elsewhere`: `max_memory` is that of another machine, whose devices need not be here.

    Raises PlacementError for a checkpoint whose config cannot be read, for a strategy that there is not, when
    `max_memory` names what is no device, or a device that is not here, or cannot hold the largest layer, for a
    quantised checkpoint, for what is not one dtype, and where the installed libraries plan for the GPUs of their own
    machine only (transformers 4.x).
    """
    if strategy not in STRATEGIES:
        raise PlacementError(f"There is no strategy {strategy!r}: there are {', '.join(STRATEGIES)}.")
    if elsewhere and max_memory is None:
        raise PlacementError("elsewhere=True needs max_memory: what another machine has is not known here.")
    dtype = checked_dtype(dtype)
    model = empty_model(checkpoint, dtype)
    check_sizes_are_known(checkpoint, model.config)
    limits = checked_budget(model, dtype, max_memory, elsewhere=elsewhere)
    accelerate = logging.getLogger("accelerate.utils.modeling")
    level = accelerate.level
    try:
        if elsewhere:
            accelerate.setLevel(logging.ERROR)  # it warns of each device that is not here
        return _planned(model, strategy, dtype, limits)
    except RuntimeError as error:  # it asks torch which accelerator a number stands for
        if not elsewhere:
            raise
        raise PlacementError(f"This accelerate cannot plan for devices that are not here: {error}") from error
    finally:
        accelerate.setLevel(level)


def _planned(
    model: PreTrainedModel, strategy: str, dtype: torch.dtype, limits: dict[str | int, int] | None
) -> dict[str, str | int]:
    try:
        return dict(compat.automatic_device_map(model, strategy, limits and dict(limits), dtype))
    except ValueError as error:  # of a model that takes no automatic device map
        raise PlacementError(str(error)) from error


def load(
    checkpoint: str | Path,
    *,
    device_map: DeviceMap,
    dtype: torch.dtype | str = torch.float32,
    max_memory: MaxMemory | None = None,
    offload_folder: str | Path | None = None,
) -> PreTrainedModel:
    """from_pretrained with a device map, after a check of what cannot work, of the class that the config names.

    `device_map`: "auto" and its kin, one device, or a map from modules to devices ("disk" is one).
    `offload_folder`: where weights go that cannot be read from the checkpoint's own files: those of .bin files, and
    those that the load merges or splits. When the load fails, what it added there is removed, and the folders that it
    made; a file there with the name of one that it writes is overwritten.

    Raises PlacementError, before anything is loaded, for what is not one dtype, for a device that is not here, a map
    that names no module of the model or leaves some out, a `max_memory` that cannot hold the largest layer, a local
    file of the weights that is missing or damaged, an `offload_folder` that is no folder, cannot be written to, or has
    not the room for what the load writes there, and for `max_memory` or `offload_folder` with a quantised checkpoint,
    whose sizes are not known.
    """
    dtype = checked_dtype(dtype)
    model = empty_model(checkpoint, dtype)
    if max_memory is not None or offload_folder is not None:
        check_sizes_are_known(checkpoint, model.config)
    check_map(model, device_map)
    limits = checked_budget(model, dtype, max_memory)
    check_files(checkpoint)
    folder = None if offload_folder is None else Path(offload_folder)
    if folder is not None:
        placed = device_map
        if isinstance(device_map, str) and device_map in STRATEGIES:
            placed = _planned(model, device_map, dtype, limits)
        check_folder(folder, bytes_written(model, checkpoint, placed))
    before = paths(folder)
    try:
        return auto_class(model.config).from_pretrained(
            str(checkpoint),
            device_map=dict(device_map) if isinstance(device_map, Mapping) else device_map,
            offload_folder=None if folder is None else str(folder),
            **({} if limits is None else {"max_memory": limits}),
            **compat.dtype_argument(dtype),
        )
    except BaseException as error:
        if folder is not None:
            as_before(folder, before, error)
        raise
