"""The rows of the loading ledger, from what the hooks of the load noted: made when the recording ends, where the byte
ranges come from the shards' own headers."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..checkpoint_error import CheckpointError
from ..gguf_header import read_gguf_header
from ..recording.rows import LoadRow
from ..safetensors_header import StoredTensor, read_header
from .load_notes import Final, Load
from .redact import text

# How safetensors headers spell dtypes, as torch spells them.
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U8": "uint8", "BOOL": "bool", "U16": "uint16", "U32": "uint32", "U64": "uint64", "C64": "complex64",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
}  # fmt: skip


def ledger_rows(loads: Sequence[Load], problems: dict[str, str]) -> list[LoadRow]:
    """One row per tensor of the checkpoint, and one per parameter that the checkpoint does not hold.

    What cannot be read any more (a shard that is gone, a GPU that failed) is put into `problems`.
    """
    return [row for number, load in enumerate(loads) for row in _rows_of(number, load, problems)]


def _rows_of(number: int, load: Load, problems: dict[str, str]) -> Iterable[LoadRow]:
    stored = _stored(load, problems)
    filled: set[str] = set()
    parts = _parts(load)
    copies = _copies(load, problems)
    parameters = {key: _parameter(load, key) for key in stored}
    shares = _shares(load, stored, parameters)
    mixed = _of_several_dtypes(stored, parameters)
    for key, (file, dtype, shape, begin, end) in stored.items():
        parameter = parameters[key]
        filled.add(parameter)
        thread, started, finished = load.work.get(key, (None, None, None))
        placing_thread, placed = load.placed.get(parameter) or load.placed.get(key, (None, None))
        final = load.final.get(parameter, Final())
        if key in shares:
            final = final._replace(nbytes=shares[key])
        if key in mixed:
            final = final._replace(dtype=None)
        yield LoadRow(
            load=number, key=key, parameter=parameter, status=_status(load, key, parameter),
            file=_name(file), begin=begin, end=end, disk_dtype=dtype, disk_shape=shape,
            dtype=final.dtype, device="disk" if parameter in load.offloaded else final.device, nbytes=final.nbytes,
            thread=thread or placing_thread, started=started, finished=finished, placed=placed,
            tied_to=final.tied_to, shape=final.shape, placement=final.placement,
            copy_began=copies.get(key, (None, None))[0], copy_ended=copies.get(key, (None, None))[1],
        )  # fmt: skip
        for part in parts.pop(parameter, ()):
            filled.add(part)
            yield _row_of_part(number, load, key, part, (file, dtype, shape))
    for parameter, final in load.final.items():
        if parameter in filled or (parameter not in load.missing and final.tied_to is None):
            continue  # a buffer that is computed, not loaded
        yield LoadRow(
            load=number, key=None, parameter=parameter, status="tied" if final.tied_to else "missing", file=None,
            begin=None, end=None, disk_dtype=None, disk_shape=None, thread=None, started=None, finished=None,
            placed=None, **final._asdict(),
        )  # fmt: skip


def _copies(load: Load, problems: dict[str, str]) -> dict[str, tuple[int, int]]:
    try:
        return load.copies.resolve()
    except RuntimeError as error:  # a GPU that failed answers no further question
        problems["copies"] = f"loading ledger: copies to the GPU not observed ({text(str(error))})"
        return {}


def _stored(load: Load, problems: dict[str, str]) -> dict[str, tuple]:
    """Key to (file, dtype, shape, begin, end), in the order of the files; ranges where headers tell them."""
    found: dict[str, tuple] = {}
    for file in load.files:
        if file.endswith(".safetensors"):
            found.update({tensor.name: _from_header(file, tensor) for tensor in _header(file, problems)})
    for key, (file, dtype, shape) in load.stored.items():
        found.setdefault(key, (file or _only(load.files), dtype, shape, None, None))
    for key in load.targets:
        found.setdefault(key, (None, None, None, None, None))
    for file in {file for file, *_ in found.values() if file is not None and file.endswith(".gguf")}:
        found |= _in_gguf(file, [key for key, (of_file, *_) in found.items() if of_file == file], problems)
    return found


def _in_gguf(file: str, keys: list[str], problems: dict[str, str]) -> dict[str, tuple]:
    """The keys of a GGUF file as it has them: transformers gives them names of its own, and float32 for any type."""
    try:
        header = read_gguf_header(file)
        names = header.names(keys)
    except (CheckpointError, ImportError) as error:
        problems[file] = f"loading ledger: byte ranges not observed ({text(str(error))})"
        return dict.fromkeys(keys, (file, None, None, None, None))
    tensors = {tensor.name: _from_header(file, tensor) for tensor in header.tensors}
    return {key: tensors.get(names.get(key), (file, None, None, None, None)) for key in keys}


def _header(file: str, problems: dict[str, str]) -> list[StoredTensor]:
    try:
        return read_header(file)
    except CheckpointError as error:
        problems[file] = f"loading ledger: byte ranges not observed ({text(str(error))})"
        return []


def _parameter(load: Load, key: str) -> str | None:
    """The parameter that a key of the checkpoint fills; None: none, as far as can be told.

    5.x says which. 4.x leaves the prefix of the base model out or puts it before, and knows two old names.
    """
    if key in load.targets:
        return load.targets[key]
    if key in load.final:
        return key
    old = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    for ending, now in old.items():
        if key.endswith(ending):
            key = key.removesuffix(ending) + now
    names = (key, key.removeprefix(f"{load.prefix}."), f"{load.prefix}.{key}")
    return next((name for name in names if name in load.final), None)


def _shares(load: Load, stored: dict[str, tuple], parameters: dict[str, str | None]) -> dict[str, int]:
    """Where several keys fill one parameter (the experts of a mixture, from 5.0 on): each one's share of its bytes."""
    keys_of: dict[str, list[str]] = {}
    for key, parameter in parameters.items():
        if load.final.get(parameter, Final()).nbytes is not None:
            keys_of.setdefault(parameter, []).append(key)
    shares = {}
    for parameter, keys in keys_of.items():
        sizes = [_size_in_file(stored[key]) for key in keys]
        if len(keys) > 1 and None not in sizes and sum(sizes):
            shares |= zip(keys, _divided(load.final[parameter].nbytes, sizes), strict=True)
    return shares


def _of_several_dtypes(stored: dict[str, tuple], parameters: dict[str, str | None]) -> set[str]:
    """The keys that fill one parameter together with others of another dtype, such as numbers and scales: what dtype
    each has in it is not known."""
    dtypes: dict[str, set] = {}
    for key, parameter in parameters.items():
        if parameter is not None:
            dtypes.setdefault(parameter, set()).add(stored[key][1])
    return {key for key, parameter in parameters.items() if len(dtypes.get(parameter, ())) > 1}


def _size_in_file(stored: tuple) -> int | None:
    """Bytes in the file, or elements where it has no byte ranges: the keys of one parameter have one dtype then."""
    _, _, shape, begin, end = stored
    if begin is not None:
        return end - begin
    return None if shape is None else math.prod(shape)


def _divided(whole: int, sizes: list[int]) -> list[int]:
    """`whole` in parts like `sizes`, none of it lost by rounding."""
    ends = [whole * reached // sum(sizes) for reached in itertools.accumulate(sizes)]
    return [end - begin for begin, end in itertools.pairwise([0, *ends])]


def _parts(load: Load) -> dict[str, list[str]]:
    """Of each parameter that its keys fill together with others (a fused query, key and value): the others."""
    parts: dict[str, list[str]] = {}
    for part, first in load.split.items():
        parts.setdefault(first, []).append(part)
    return parts


def _row_of_part(number: int, load: Load, key: str, part: str, stored: tuple) -> LoadRow:
    """A further parameter out of `key`. Its byte range stands in the first one's row: bytes of a file count once."""
    file, dtype, shape = stored
    thread, placed = load.placed[part]
    return LoadRow(
        load=number, key=key, parameter=part, status="offloaded" if part in load.offloaded else "renamed",
        file=_name(file), begin=None, end=None, disk_dtype=dtype, disk_shape=shape,
        thread=thread, started=None, finished=None, placed=placed, **load.final.get(part, Final())._asdict(),
    )  # fmt: skip


def _from_header(file: str, tensor: StoredTensor) -> tuple:
    return file, DTYPES.get(tensor.dtype, tensor.dtype), tuple(tensor.shape), tensor.begin, tensor.end


@functools.lru_cache(maxsize=16)
def _name(file: str | None) -> str | None:
    return Path(file).name if file else None


def _only(files: list[str]) -> str | None:
    return files[0] if len(files) == 1 else None


def _status(load: Load, key: str, parameter: str | None) -> str:
    """What became of a tensor of the checkpoint."""
    if parameter in load.mismatched or key in load.mismatched:
        return "mismatched"
    if not load.ended:
        return "placed" if (parameter or key) in load.placed else "not reached"
    if parameter is None or key in load.unexpected or parameter in load.unexpected:
        return "unexpected"
    if parameter in load.offloaded:
        return "offloaded"
    return "loaded" if key == parameter else "renamed"
