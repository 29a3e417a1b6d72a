"""The same weights stored in another way: in one safetensors file, in a pickle, or with a shard missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers import safetensors_header
from helpers.checkpoint_error import CheckpointError

PICKLE = "pytorch_model.bin"


def as_single_file(checkpoint: str | Path, folder: str | Path) -> Path:
    """Write the checkpoint to `folder` with all its tensors in model.safetensors; return `folder`.

    All tensors are in memory at once. Raises CheckpointError when `checkpoint` holds no safetensors, `folder` is not
    empty, or cannot be written, as on a full disk; then nothing is left of it.
    """
    from safetensors.torch import save_file

    with _written_whole(folder) as folder:
        _copy(checkpoint, folder, but=_weights(checkpoint))
        save_file(_tensors(checkpoint), folder / safetensors_header.SINGLE_FILE, metadata={"format": "pt"})
    return folder


def as_pickle(checkpoint: str | Path, folder: str | Path) -> Path:
    """Write the checkpoint to `folder` with its tensors in pytorch_model.bin, as torch.save does; return `folder`.

    Memory and errors as of `as_single_file`.
    """
    import torch

    with _written_whole(folder) as folder:
        _copy(checkpoint, folder, but=_weights(checkpoint))
        torch.save(_tensors(checkpoint), folder / PICKLE)
    return folder


def without(checkpoint: str | Path, folder: str | Path, name: str) -> Path:
    """Copy the checkpoint to `folder`, except the file `name`; return `folder`.

    Raises CheckpointError when there is no such file, `folder` is not empty, or cannot be written.
    """
    if not (Path(checkpoint) / name).is_file():
        raise CheckpointError(f"{checkpoint} has no file {name} to leave out")
    with _written_whole(folder) as folder:
        _copy(checkpoint, folder, but={name})
    return folder


def _tensors(checkpoint: str | Path) -> dict:
    from safetensors.torch import load_file

    files = safetensors_header.shard_files(checkpoint)
    if not files:
        raise CheckpointError(f"{checkpoint} holds no safetensors file: give a checkpoint that does")
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def _weights(checkpoint: str | Path) -> set[str]:
    return {path.name for path in safetensors_header.shard_files(checkpoint)} | {safetensors_header.INDEX}


def _copy(checkpoint: str | Path, folder: Path, *, but: set[str]) -> None:
    for path in Path(checkpoint).iterdir():
        if path.is_file() and path.name not in but:
            shutil.copyfile(path, folder / path.name)


@contextmanager
def _written_whole(folder: str | Path) -> Iterator[Path]:
    """A new folder to write into; removed again where that fails."""
    folder = Path(folder)
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise CheckpointError(f"{folder} is not empty: give the name of a new folder")
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written ({error.strerror}): give another folder") from error
    try:
        yield folder
    except BaseException as error:
        for path in folder.iterdir():
            path.unlink()
        if not existed:
            folder.rmdir()
        if isinstance(error, CheckpointError) or not isinstance(error, Exception):
            raise
        # torch and safetensors have errors of their own for a disk that is full
        raise CheckpointError(
            f"{folder} could not be written ({' '.join(str(error).split())}): free disk space, or give another folder"
        ) from error
