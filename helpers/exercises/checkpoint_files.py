"""Checks of the exercises of 02_checkpoint_files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from helpers.exercises import Verdict, not_answered, right, wrong
from helpers.safetensors_header import read_header, read_index, shard_files


def check_first_tensor_byte(answer: int | None, shard: Path) -> Verdict:
    """`answer`: the position in the file of the first byte of the first tensor."""
    if answer is None:
        return not_answered()
    with open(shard, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if answer == 8 + length:
        return right("eight bytes for the length, then the header, then the tensors without a gap.")
    if answer == length:
        return wrong("that is the length of the header; the eight bytes that tell it come before it.")
    if answer in (0, 8):
        return wrong("at this place the length or the header begins; the tensors come after both.")
    return wrong("read the first eight bytes as one unsigned little-endian number and go on from there.")


def check_place(answer: tuple | None, folder: Path, name: str) -> Verdict:
    """`answer`: (file name, first byte, byte after the last) of the tensor `name`, counted from the file's start."""
    if answer is None:
        return not_answered()
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        return wrong("the answer has three parts: (file name, first byte, byte after the last).")
    file, begin, end = answer
    shard = read_index(folder)[name]
    tensors = read_header(folder / shard)
    tensor = next(each for each in tensors if each.name == name)
    if str(file) != shard:
        return wrong(f"the index has {name} in another file than {file}.")
    if (begin, end) == (tensor.begin, tensor.end):
        return right(f"{tensor.nbytes:,} bytes, read without opening any other shard.")
    if (begin, end) == (tensor.begin - tensors[0].begin, tensor.end - tensors[0].begin):
        return wrong("data_offsets count from the end of the header: add 8 and the header's length.")
    if end == tensor.nbytes:
        return wrong("the third part is the byte after the last, not the number of bytes.")
    return wrong(f"the file is right; look at data_offsets of {name} in its header.")


def check_reader(answer: Callable | None, folder: Path) -> Verdict:
    """`answer`: a function of a tensor's name that gives the torch tensor, read from the shards' bytes."""
    import torch
    from safetensors import safe_open

    if answer is None:
        return not_answered()
    if not callable(answer):
        return wrong("the answer is a function: `answer = read_tensor`, without brackets.")
    for file in shard_files(folder):
        with safe_open(file, framework="pt") as library:
            for name in sorted(library.keys())[:2]:
                expected = library.get_tensor(name)
                try:
                    given = answer(name)
                except Exception as error:  # the reader's own code: whatever it raises is told
                    return wrong(f"of {name} your function raised {type(error).__name__}: {error}")
                if not isinstance(given, torch.Tensor):
                    return wrong(f"of {name} your function gave {type(given).__name__}, not a tensor.")
                if given.dtype != expected.dtype:
                    return wrong(f"{name} is {expected.dtype}, and yours is {given.dtype}: the header tells the dtype.")
                if given.shape != expected.shape:
                    return wrong(f"{name} has the shape {tuple(expected.shape)}, and yours {tuple(given.shape)}.")
                if not torch.equal(given, expected):
                    return wrong(f"{name} has other values: are the bytes those between begin and end of its own file?")
    return right("index, header, bytes: nothing else is in a sharded checkpoint.")
