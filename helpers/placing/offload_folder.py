"""The folder of a load that offloads to disk: whether it can be written to and has the room, and what a failed load
left in it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import compat
from helpers.folders import nearest_existing
from helpers.forecasting import source as forecast_source
from helpers.placing.checks import DeviceMap
from helpers.placing.error import PlacementError
from helpers.safetensors_header import read_header, shard_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def bytes_written(model: PreTrainedModel, checkpoint: str | Path, placed: DeviceMap) -> int:
    """Bytes that a load writes into the offload folder: the parameters on disk that no safetensors file has as such.

    The others stay in the checkpoint's own files, also where the load casts: it casts at each use. Source:
    `accelerate_disk_offload` in transformers.integrations.accelerate; before 5.0 in `_load_pretrained_model`.
    """
    if not isinstance(placed, Mapping):
        return 0
    modules = [name for name, device in placed.items() if str(device) == "disk"]
    if not modules:
        return 0
    stored = compat.names_after_renaming(model, _stored_names(checkpoint))
    prefix = f"{model.base_model_prefix}."  # a file may be of the model without its head
    return sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in model.named_parameters()
        if any(not module or name == module or name.startswith(f"{module}.") for module in modules)
        and stored.isdisjoint((name, name.removeprefix(prefix), prefix + name))
    )


def _stored_names(checkpoint: str | Path) -> list[str]:
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():  # also where no forecast can be made
        return [tensor.name for file in shard_files(folder) for tensor in read_header(file)]
    return [one.name for one in forecast_source.read(checkpoint).stored or ()]


def check_folder(folder: Path, needed: int) -> None:
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


def paths(folder: Path | None) -> frozenset[Path]:
    """What there is before a load: the folder, those above it, and all that is in it."""
    if folder is None:
        return frozenset()
    folder = folder.absolute()
    return frozenset(path for path in (folder, *folder.parents, *folder.rglob("*")) if path.exists())


def as_before(folder: Path, before: frozenset[Path], error: BaseException) -> None:
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
