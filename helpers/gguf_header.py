"""Reading the header of a GGUF file, without a tensor of it.

Layout, from https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: "GGUF", the version, how many tensors and how
many values of metadata; the values, each with its key and kind; of each tensor name, dimensions (the innermost first),
type and offset; then, aligned, the tensors' bytes. Everything is little-endian here. `gguf.GGUFReader` reads all of it
too, but makes an array of each token of the vocabulary, which takes seconds.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from helpers.checkpoint_error import CheckpointError
from helpers.safetensors_header import StoredTensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # the first had shorter counts, and was replaced within months
ALIGNMENT = 32  # where general.alignment does not say another
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""GGUF's kinds of metadata that are a number, and struct's letter for each."""
TEXT, ARRAY = 8, 9
LONGEST_TEXT = 2**26  # bytes
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
"""The types that torch has too, in its spelling; the others are blocks of numbers with a scale."""


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself: its metadata (a list is left out) and its tensors in the order of their bytes.

    A tensor's `dtype` is in torch's spelling where torch has it, else GGUF's own, such as Q4_0.
    """

    metadata: dict[str, object]
    tensors: tuple[StoredTensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors in the file."""
        return sum(tensor.nbytes for tensor in self.tensors)

    def names(self, keys: Iterable[str]) -> dict[str, str]:
        """Of the keys that transformers gives to tensors of this file, those that one tensor became: its name there.

        From gguf's own table, as in transformers.modeling_gguf_pytorch_utils. What was split or merged has none.
        """
        import gguf

        architecture = self.metadata.get("general.architecture")
        known = {name: one for one, name in gguf.MODEL_ARCH_NAMES.items()}
        if architecture not in known:
            return {}
        blocks = self.metadata.get(f"{architecture}.block_count", 0)
        table = gguf.get_tensor_name_map(known[architecture], blocks)
        found = {key: table.get_name(key, try_suffixes=(".weight", ".bias")) for key in keys}
        return {key: name for key, name in found.items() if name is not None}


def is_gguf(path: str | Path) -> bool:
    """Whether a file begins as one. Raises OSError for a file that cannot be read."""
    with open(path, "rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def read_gguf_header(path: str | Path) -> GgufHeader:
    """The header of a GGUF file.

    Raises CheckpointError when the file cannot be read, is no GGUF file of a version from 2 on, or is shorter than its
    header says.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            header = _read(stream)
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror or error}): fetch it again") from error
    except (
        struct.error,
        ValueError,
        KeyError,
        TypeError,
        ArithmeticError,
        RecursionError,
    ) as error:  # whatever damage makes of it
        raise CheckpointError(f"{path} has no readable GGUF header ({error}): fetch it again") from error
    expected = max((tensor.end for tensor in header.tensors), default=0)
    if size < expected:
        raise CheckpointError(
            f"{path} has {size} bytes, but its header describes {expected} (truncated or altered): fetch it again"
        )
    return header


def _read(stream: BinaryIO) -> GgufHeader:
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    version, tensors, values = _numbers(stream, "IQQ")
    if version not in VERSIONS:
        raise ValueError(f"version {version}")
    metadata = {}
    for _ in range(values):
        key = _text(stream)
        metadata[key] = _value(stream, *_numbers(stream, "I"))
    described = [(_text(stream), *_description(stream)) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", ALIGNMENT)
    start = -(-stream.tell() // alignment) * alignment
    found = [
        StoredTensor(name, DTYPES.get(dtype, dtype), shape, start + offset, start + offset + nbytes)
        for name, shape, dtype, nbytes, offset in described
    ]
    return GgufHeader(metadata, tuple(sorted(found, key=lambda tensor: tensor.begin)))


def _description(stream: BinaryIO) -> tuple[tuple[int, ...], str, int, int]:
    """(shape, type, bytes, offset) of a tensor. Raises ValueError for a type that gguf does not know."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    (dimensions,) = _numbers(stream, "I")
    shape = _numbers(stream, f"{dimensions}Q")[::-1]
    kind, offset = _numbers(stream, "IQ")
    dtype = GGMLQuantizationType(kind)
    block, nbytes = GGML_QUANT_SIZES[dtype]
    return shape, dtype.name, math.prod(shape) // block * nbytes, offset


def _value(stream: BinaryIO, kind: int) -> object:
    """One value of metadata; a list is passed over, and None."""
    if kind == TEXT:
        return _text(stream)
    if kind != ARRAY:
        return _numbers(stream, NUMBERS[kind])[0]
    inner, count = _numbers(stream, "IQ")
    if inner in NUMBERS:
        stream.seek(count * struct.calcsize(f"<{NUMBERS[inner]}"), 1)
    else:
        for _ in range(count):
            _value(stream, inner)
    return None


def _text(stream: BinaryIO) -> str:
    (length,) = _numbers(stream, "Q")
    return _exactly(stream, length).decode("utf-8", errors="replace")


def _numbers(stream: BinaryIO, kinds: str) -> tuple:
    return struct.unpack(f"<{kinds}", _exactly(stream, struct.calcsize(f"<{kinds}")))


def _exactly(stream: BinaryIO, count: int) -> bytes:
    read = stream.read(min(count, LONGEST_TEXT))  # a damaged length must not ask for all memory
    if len(read) != count:
        raise ValueError("it ends too early")
    return read
