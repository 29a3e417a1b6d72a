"""Weights of a folder that a forecast does not read: torch's own files, a variant, files of another name."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints.hub_weights import PICKLED_INDEX, PICKLED_WEIGHTS
from helpers.tables import format_bytes

UNKNOWN = "the stored dtype was not observed"


def note(folder: Path) -> str:
    """Which weights a folder has, that holds none that transformers reads first (model.safetensors, or its index).

    Raises CheckpointError where the index of torch's own files cannot be read, or names a file that is not there.
    """
    if pickled := _pickled(folder):
        size = format_bytes(sum(file.stat().st_size for file in pickled))
        return (
            f"{folder} holds no safetensors file, but {len(pickled)} of torch's own ({size}), which are not read here: "
            f"{UNKNOWN}, and the pages of its files while they are loaded are not in the figures"
        )
    others = sorted(folder.glob("*.safetensors"))
    if others:
        return f"{folder} holds {others[0].name}, {_how_to_read(others[0])}: {UNKNOWN}"
    return f"{folder} holds no safetensors file: {UNKNOWN}"


def _pickled(folder: Path) -> list[Path]:
    """torch's own files that transformers would take: the single one, else those of the index."""
    single, index = folder / PICKLED_WEIGHTS[0], folder / PICKLED_INDEX
    if single.is_file() or not index.is_file():
        return [single] if single.is_file() else []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / name for name in names]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of weights ({type(error).__name__}): fetch it again") from error
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"{file} is missing ({index.name} names it): fetch it again")
    return files


def _how_to_read(file: Path) -> str:
    parts = file.name.split(".")
    if parts[0].startswith("model") and len(parts) > 2:  # model.fp16.safetensors, model.fp16-00001-of-00002.safetensors
        variant = parts[1].split("-0")[0]
        return f"which from_pretrained reads with variant={variant!r} only"
    return "which is not the name that from_pretrained looks for"
