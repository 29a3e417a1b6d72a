"""What may be given in place of a checkpoint's folder, and what is said of it: a file of weights, an adapter, a folder
around a checkpoint."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from helpers import gguf_header, safetensors_header
from helpers.checkpoint_error import CheckpointError
from helpers.tables import format_bytes

ADAPTER = "adapter_config.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
FLOAT32 = 4  # bytes


def check_is_name(model: object) -> None:
    """Raise CheckpointError for an object that names no checkpoint, such as a model that is loaded already."""
    if not isinstance(model, (str, os.PathLike)):
        raise CheckpointError(
            f"an object of class {type(model).__name__} was given: give a checkpoint's folder or Hub id"
            + (f" ({model.name_or_path})" if getattr(model, "name_or_path", None) else "")
        )


def check_is_checkpoint(path: Path) -> None:
    """Raise CheckpointError for what is neither a folder with a config.json nor such a file, with what to give instead.

    A path that does not exist is let through, and so is any other file: what reads it as a config says what it is not.
    """
    if path.is_file():
        _check_file(path)
    elif path.is_dir() and not (path / "config.json").is_file():
        _check_folder(path)


def dtypes_and_bytes(tensors: Iterable[safetensors_header.StoredTensor]) -> str:
    """'1.2 GiB (I32 1.1 GiB, F16 0.1 GiB)': the bytes of all, and of each dtype in the file's own spelling."""
    sizes = Counter()
    for tensor in tensors:
        sizes[tensor.dtype] += tensor.nbytes
    each = ", ".join(f"{dtype} {format_bytes(size)}" for dtype, size in sizes.most_common())
    return f"{format_bytes(sizes.total())} ({each})"


def _check_file(file: Path) -> None:
    if file.name == ADAPTER:
        raise CheckpointError(_adapter(file.parent))
    if file.suffix == ".gguf":
        raise CheckpointError(_gguf(file))
    if file.suffix in (".safetensors", *PICKLED) or file.name.endswith(".index.json"):
        folder = file.parent.absolute()
        raise CheckpointError(
            f"{file} is one of the files of a checkpoint's weights: give the folder with its config.json"
            + (f", {folder}" if (folder / "config.json").is_file() else "")
        )


def _check_folder(folder: Path) -> None:
    if (folder / ADAPTER).is_file():
        raise CheckpointError(_adapter(folder))
    missing = f"{folder / 'config.json'} is missing"
    if files := sorted(folder.glob("*.gguf")):
        raise CheckpointError(f"{missing}: it is a folder of GGUF files. Of the first: {_gguf(files[0])}")
    inside = sorted(one.parent for one in folder.glob("*/config.json"))
    if inside:
        raise CheckpointError(f"{missing}, and {len(inside)} of its folders have one: give {inside[0]}")
    raise CheckpointError(f"{missing}: give the folder of a checkpoint, or give another model")


def _adapter(folder: Path) -> str:
    """Of an adapter its own bytes are known; the rest is the model that it is for."""
    try:
        values = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
        base, kind = values["base_model_name_or_path"], values.get("peft_type")
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / ADAPTER} cannot be read ({type(error).__name__}: {error})") from error
    file = folder / "adapter_model.safetensors"
    held = ""
    if file.is_file():
        held = f" Its file adds {dtypes_and_bytes(safetensors_header.read_header(file))} to that model's weights."
    return f"{folder} is no whole model, but an adapter (PEFT, {kind}) for {base}: give that model.{held}"


def _gguf(file: Path) -> str:
    """transformers dequantises a GGUF file whole, before it casts: so the file's size says little of the memory."""
    header = gguf_header.read_gguf_header(file)
    whole = sum(FLOAT32 * math.prod(tensor.shape) for tensor in header.tensors)
    config = f"AutoConfig.from_pretrained({str(file.parent)!r}, gguf_file={file.name!r})"
    return (
        f"{file} is a GGUF file, with {dtypes_and_bytes(header.tensors)} of tensors. transformers does not compute "
        f"with these: from_pretrained(…, gguf_file=…) makes {format_bytes(whole)} of float32 of them in main memory, "
        f"then casts. Of the model that results, forecast({config}) tells, in Python"
    )
