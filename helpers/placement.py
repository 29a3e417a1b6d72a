"""Where a model's parameters live and where they compute: device maps, accelerate's hooks, offload to CPU and disk.

    where = placement.where(model)      each parameter: where it lies, where it computes, the hook that moves it
    placement.plan(checkpoint, …)       the device map that device_map="auto" would choose, without loading
    placement.load(checkpoint, …)       from_pretrained, with what cannot work refused before it starts

What decides and what moves is accelerate's and transformers' own: nothing is placed by this module.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import compat, devices
from .checkpoints import choice
from .checkpoints.shaped_build import SHAPES
from .folders import nearest_existing
from .forecasting import source as forecast_source
from .probes.collectives import local_part
from .probes.kv_cache import is_cache
from .probes.weights import as_device, offload_hook, place_of
from .tables import Table, format_bytes

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

OTHER_DEVICES = ("cpu", "disk", "mps")
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
DeviceMap = str | int | torch.device | Mapping[str, str | int | torch.device]
MaxMemory = Mapping[str | int, int | str]


class PlacementError(RuntimeError):
    """A model cannot be placed as asked; the message says why and what to change. Nothing was loaded."""


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
            part = local_part(tensor)
            rows.append(
                {
                    "name": name,
                    "device": lies,
                    "execution_device": _execution_device(hook, lies),
                    "hook": type(hook).__name__ if hook is not None else "",
                    "dtype": str(tensor.dtype).removeprefix("torch."),
                    "shape": tuple(part.shape),
                    "nbytes": part.numel() * part.element_size(),
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
    dtype: torch.dtype = torch.float32,
    max_memory: MaxMemory | None = None,
    strategy: str = "auto",
    elsewhere: bool = False,
) -> dict[str, str | int]:
    """The device map that from_pretrained would make for `device_map=strategy` within `max_memory`, without loading.

    `checkpoint`: a folder, a Hub id, or llama-2-7b for that shape without a file. The model is built from its config on
    the meta device. `max_memory`: bytes, or "2GiB", per device; None: what is free now. `strategy`: one of STRATEGIES.
    `elsewhere`: `max_memory` is that of another machine, whose devices need not be here.

    Raises PlacementError for a checkpoint whose config cannot be read, for a strategy that there is not, when
    `max_memory` names what is no device, or a device that is not here, or cannot hold the largest layer, and where the
    installed libraries plan for the GPUs of their own machine only (transformers 4.x).
    """
    if strategy not in STRATEGIES:
        raise PlacementError(f"There is no strategy {strategy!r}: there are {', '.join(STRATEGIES)}.")
    if elsewhere and max_memory is None:
        raise PlacementError("elsewhere=True needs max_memory: what another machine has is not known here.")
    model = _empty(checkpoint, dtype)
    limits = _checked_budget(model, dtype, max_memory, elsewhere=elsewhere)
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
    return dict(compat.automatic_device_map(model, strategy, limits and dict(limits), dtype))


def load(
    checkpoint: str | Path,
    *,
    device_map: DeviceMap,
    dtype: torch.dtype = torch.float32,
    max_memory: MaxMemory | None = None,
    offload_folder: str | Path | None = None,
) -> PreTrainedModel:
    """from_pretrained with a device map, after a check of what cannot work.

    `device_map`: "auto" and its kin, one device, or a map from modules to devices ("disk" is one).
    `offload_folder`: where weights go that cannot be read from the checkpoint's own files: those of .bin files, and
    those that the load merges or splits. When the load fails, what it added there is removed, and the folders that it
    made; a file there with the name of one that it writes is overwritten.

    Raises PlacementError, before anything is loaded, for a device that is not here, a map that names no module of the
    model or leaves some out, a `max_memory` that cannot hold the largest layer, and an `offload_folder` that is no
    folder, cannot be written to, or has not the room for what the load writes there.
    """
    from transformers import AutoModelForCausalLM

    model = _empty(checkpoint, dtype)
    _check_map(model, device_map)
    limits = _checked_budget(model, dtype, max_memory)
    folder = None if offload_folder is None else Path(offload_folder)
    if folder is not None:
        placed = device_map
        if isinstance(device_map, str) and device_map in STRATEGIES:
            placed = _planned(model, device_map, dtype, limits)
        _check_folder(folder, _bytes_written(model, checkpoint, placed))
    before = _paths(folder)
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(checkpoint),
            device_map=dict(device_map) if isinstance(device_map, Mapping) else device_map,
            offload_folder=None if folder is None else str(folder),
            **({} if limits is None else {"max_memory": limits}),
            **compat.dtype_argument(dtype),
        )
    except BaseException as error:
        if folder is not None:
            _as_before(folder, before, error)
        raise


# checks --------------------------------------------------------------------------------------------------------------


def _empty(checkpoint: str | Path, dtype: torch.dtype) -> PreTrainedModel:
    """The model from its config alone, on the meta device."""
    from transformers import AutoModelForCausalLM

    config = _config(checkpoint)
    try:
        # not accelerate's init_empty_weights, which makes each parameter first: the experts of a layer can be 30 GB
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, **compat.dtype_argument(dtype))
    except ValueError as error:
        told = " ".join(str(error).split())
        raise PlacementError(
            f"transformers has no causal language model for this {type(config).__name__}: {told[:160]}…"
        ) from error
    model.tie_weights()
    return model


def _config(checkpoint: str | Path) -> PretrainedConfig:
    from transformers import AutoConfig

    if str(checkpoint) in SHAPES:
        return forecast_source.read(checkpoint).config
    if choice.spelt_as_path(str(checkpoint)) and not Path(checkpoint).expanduser().exists():
        raise PlacementError(f"{checkpoint} does not exist: correct the path, or give another model.")
    try:
        return AutoConfig.from_pretrained(str(checkpoint), trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        told = " ".join(str(error).split())
        raise PlacementError(f"{checkpoint} has no config that transformers can read: {told[:300]}") from error


def _unsplit(model: PreTrainedModel) -> list[str]:
    """The classes of modules that stay on one device, as the model names them."""
    return list(getattr(model, "_no_split_modules", None) or ())


def _check_device(device: object, present: list[str]) -> None:
    name = f"cuda:{device}" if isinstance(device, int) and not isinstance(device, bool) else str(device)
    if name == "cuda":
        name = next((one for one in present if one.startswith("cuda")), name)
    if name == "disk" or name in present:
        return
    raise PlacementError(f"There is no device {name!r} here: there is {', '.join(present)}, and disk.")


def _check_map(model: PreTrainedModel, device_map: DeviceMap) -> None:
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


def _checked_budget(
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
    largest, names = get_max_layer_size(list(model.named_children()), sizes, _unsplit(model))
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


def _bytes_written(model: PreTrainedModel, checkpoint: str | Path, placed: DeviceMap) -> int:
    """Bytes that a load writes into the offload folder: the parameters on disk that no safetensors file has as such.

    The others stay in the checkpoint's own files, also where the load casts: it casts at each use. Source:
    `accelerate_disk_offload` in transformers.integrations.accelerate; before 5.0 in `_load_pretrained_model`.
    """
    if not isinstance(placed, Mapping):
        return 0
    modules = [name for name, device in placed.items() if str(device) == "disk"]
    if not modules:
        return 0
    stored = compat.names_after_renaming(model, [one.name for one in forecast_source.read(checkpoint).stored or ()])
    prefix = f"{model.base_model_prefix}."  # a file may be of the model without its head
    return sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in model.named_parameters()
        if any(not module or name == module or name.startswith(f"{module}.") for module in modules)
        and stored.isdisjoint((name, name.removeprefix(prefix), prefix + name))
    )


def _check_folder(folder: Path, needed: int) -> None:
    existing = nearest_existing(folder)
    if not existing.is_dir():
        raise PlacementError(f"offload_folder={str(folder)!r}: {existing} is a file, not a folder.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise PlacementError(
            f"offload_folder={str(folder)!r}: nothing can be written there ({error.strerror}). Name another folder."
        ) from None
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise PlacementError(
            f"offload_folder={str(folder)!r}: the load writes {needed:,} bytes there, and {free:,} are free. "
            "Name a folder on another disk, or place more on a device."
        )


def _paths(folder: Path | None) -> frozenset[Path]:
    """What there is before a load: the folder, those above it, and all that is in it."""
    if folder is None:
        return frozenset()
    folder = folder.absolute()
    return frozenset(path for path in (folder, *folder.parents, *folder.rglob("*")) if path.exists())


def _as_before(folder: Path, before: frozenset[Path], error: BaseException) -> None:
    """Remove what a failed load added. What cannot be removed is told with the load's own `error`."""
    folder = folder.absolute()
    inside = sorted(folder.rglob("*"), key=lambda path: len(path.parts), reverse=True)
    for path in (*inside, folder, *folder.parents):
        if path in before:
            continue
        try:
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
        except OSError as left:
            error.add_note(f"{path} was left behind by the load: {left.strerror}")
