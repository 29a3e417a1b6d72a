"""The same weights stored in another way: in one safetensors file, in a pickle, or with a shard missing."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers import safetensors_header
from helpers.checkpoints.error import CheckpointError

PICKLE = "pytorch_model.bin"


def as_single_file(checkpoint: str | Path, folder: str | Path) -> Path:
    """Write the checkpoint to `folder` with all its tensors in model.safetensors; return `folder`.

    All tensors are in memory at once. Raises CheckpointError when `checkpoint` holds no safetensors, or `folder`
    is not empty.
    """
    from safetensors.torch import save_file

    folder = _without_weights(checkpoint, folder)
    save_file(_tensors(checkpoint), folder / safetensors_header.SINGLE_FILE, metadata={"format": "pt"})
    return folder


def as_pickle(checkpoint: str | Path, folder: str | Path) -> Path:
    """Write the checkpoint to `folder` with its tensors in pytorch_model.bin, as torch.save does; return `folder`.

    Memory and errors as of `as_single_file`.
    """
    import torch

    folder = _without_weights(checkpoint, folder)
    torch.save(_tensors(checkpoint), folder / PICKLE)
    return folder


def without(checkpoint: str | Path, folder: str | Path, name: str) -> Path:
    """Copy the checkpoint to `folder`, except the file `name`; return `folder`.

    Raises CheckpointError when there is no such file, or `folder` is not empty.
    """
    if not (Path(checkpoint) / name).is_file():
        raise CheckpointError(f"{checkpoint} has no file {name} to leave out")
    folder = _empty(folder)
    for path in Path(checkpoint).iterdir():
        if path.is_file() and path.name != name:
            shutil.copyfile(path, folder / path.name)
    return folder


def _tensors(checkpoint: str | Path) -> dict:
    from safetensors.torch import load_file

    files = safetensors_header.shard_files(checkpoint)
    if not files:
        raise CheckpointError(f"{checkpoint} holds no safetensors file: give a checkpoint that does")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _without_weights(checkpoint: str | Path, folder: str | Path) -> Path:
    weights = {path.name for path in safetensors_header.shard_files(checkpoint)} | {safetensors_header.INDEX}
    folder = _empty(folder)
    for path in Path(checkpoint).iterdir():
        if path.is_file() and path.name not in weights:
            shutil.copyfile(path, folder / path.name)
    return folder


def _empty(folder: str | Path) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise CheckpointError(f"{folder} is not empty: give the name of a new folder")
    return folder
