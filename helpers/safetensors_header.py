"""Reading the header of a safetensors file, and the index of a sharded checkpoint, without loading a tensor.

Layout, from https://huggingface.co/docs/safetensors: 8 bytes, the header's length N as unsigned
little-endian; N bytes of JSON, {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__":
{...}}; then the tensors' bytes. Offsets count from the end of the header.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from helpers.checkpoint_error import CheckpointError

INDEX = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
LARGEST_HEADER = 100_000_000  # bytes; the safetensors library refuses longer ones


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a safetensors file: `dtype` as in "BF16", `begin` and `end` as byte positions in it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def nbytes(self) -> int:
        """Bytes of its elements in the file."""
        return self.end - self.begin


def read_header(path: str | Path) -> list[StoredTensor]:
    """The tensors of one safetensors file, in the order of their bytes.

    Raises CheckpointError when the file is absent, is not safetensors, or is shorter or longer than its
    header says.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
                raise CheckpointError(f"{path} is not a safetensors file, or is truncated: fetch it again")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = [_stored_tensor(name, entry, 8 + length) for name, entry in header.items()]
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): fetch it again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} has no readable safetensors header: fetch it again") from error
    expected = max((tensor.end for tensor in tensors), default=8 + length)
    if size != expected:
        raise CheckpointError(
            f"{path} has {size} bytes, but its header describes {expected} (truncated or altered): fetch it again"
        )
    return sorted(tensors, key=lambda tensor: tensor.begin)


def _stored_tensor(name: str, entry: dict, data_start: int) -> StoredTensor:
    begin, end = entry["data_offsets"]
    return StoredTensor(name, entry["dtype"], tuple(entry["shape"]), data_start + begin, data_start + end)


def read_index(folder: str | Path) -> dict[str, str]:
    """Tensor name -> shard file name, from the index of a sharded checkpoint.

    Raises CheckpointError when the index is absent or is no index.
    """
    path = Path(folder) / INDEX
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        return {str(name): str(shard) for name, shard in weight_map.items()}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): fetch it again") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a safetensors index: fetch it again") from error


def shard_files(folder: str | Path) -> list[Path]:
    """The safetensors files that hold the checkpoint: the single file if there is one, else the index's
    shards.

    The order is transformers' own: it looks for model.safetensors first, then for the index. Empty when
    there is neither. Raises CheckpointError when the index cannot be read.
    """
    folder = Path(folder)
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if not (folder / INDEX).exists():
        return []
    return [folder / name for name in sorted(set(read_index(folder).values()))]


def check_shards(folder: str | Path) -> None:
    """Check that every shard is there, is whole, and holds the tensors that the index promises.

    Reads headers only, so damage inside a tensor's bytes stays unseen. Raises CheckpointError that names the
    file.
    """
    folder = Path(folder)
    if (folder / SINGLE_FILE).is_file() or not (folder / INDEX).exists():
        for path in shard_files(folder):
            read_header(path)
        return
    index = read_index(folder)
    held = {shard: {tensor.name for tensor in read_header(folder / shard)} for shard in sorted(set(index.values()))}
    for name, shard in index.items():
        if name not in held[shard]:
            raise CheckpointError(
                f"{folder / INDEX} places {name} in {shard}, which does not hold it: fetch both again"
            )
