"""Checks of the exercises of 02_checkpoint_files."""

from __future__ import annotations

from pathlib import Path

from helpers.exercises import Verdict, right, wrong
from helpers.exercises.answers import Refused, described, function, judges, run, whole_number
from helpers.safetensors_header import read_header, read_index, shard_files


@judges
def check_first_tensor_byte(answer: object, shard: Path) -> Verdict:
    """`answer`: the position in the file of the first byte of the first tensor."""
    answer = whole_number(answer)
    with open(shard, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
    if answer == 8 + length:
        return right("eight bytes for the length, then the header, then the tensors without a gap.")
    if answer == length:
        return wrong("that is the length of the header; the eight bytes that tell it come before it.")
    if answer in (0, 8):
        return wrong("at this place the length or the header begins; the tensors come after both.")
    return wrong("read the first eight bytes as one unsigned little-endian number and go on from there.")


@judges
def check_place(answer: object, folder: Path, name: str) -> Verdict:
    """`answer`: (file name, first byte, byte after the last) of the tensor `name`, counted from the file's start."""
    file, begin, end = _place(answer)
    shard = read_index(folder)[name]
    tensors = read_header(folder / shard)
    tensor = next(each for each in tensors if each.name == name)
    if file != shard:
        return wrong(f"the index has {name} in another file than {file}.")
    if (begin, end) == (tensor.begin, tensor.end):
        return right(f"{tensor.nbytes:,} bytes, read without opening any other shard.")
    if (begin, end) == (tensor.begin - tensors[0].begin, tensor.end - tensors[0].begin):
        return wrong("data_offsets count from the end of the header: add 8 and the header's length.")
    if end == tensor.nbytes:
        return wrong("the third part is the byte after the last, not the number of bytes.")
    return wrong(f"the file is right; look at data_offsets of {name} in its header.")


@judges
def check_reader(answer: object, folder: Path) -> Verdict:
    """`answer`: a function of a tensor's name that gives the torch tensor, read from the shards' bytes."""
    from safetensors import safe_open

    read = function(answer, "The answer is a function: `answer = read_tensor`, without brackets")
    for file in shard_files(folder):
        with safe_open(file, framework="pt") as library:
            for name in sorted(library.keys())[:2]:
                if problem := _other_tensor(run(read, name, of=f"of {name}"), library.get_tensor(name)):
                    return wrong(f"{name} {problem}")
    return right("index, header, bytes: nothing else is in a sharded checkpoint.")


def _place(answer: object) -> tuple[str, int, int]:
    asked = "The answer has three parts: (file name, first byte, byte after the last)"
    if not isinstance(answer, tuple | list) or len(answer) != 3:
        raise Refused(f"{asked}; you gave {described(answer)}.")
    file, begin, end = answer
    if not isinstance(file, str | Path):
        raise Refused(f"{asked}; your first part is {described(file)}.")
    begin = whole_number(begin, "The first byte is a whole number")
    return Path(file).name, begin, whole_number(end, "The byte after the last is a whole number")


def _other_tensor(given: object, expected) -> str:
    """What is wrong with the tensor that the reader's function gave, behind its name; "" where nothing is."""
    import torch

    if not isinstance(given, torch.Tensor):
        return f"is a tensor, and your function gave {described(given)}."
    if given.dtype != expected.dtype:
        return f"is {expected.dtype}, and yours is {given.dtype}: the header tells the dtype."
    if given.shape != expected.shape:
        return f"has the shape {tuple(expected.shape)}, and yours {tuple(given.shape)}."
    if given.is_meta or not torch.equal(given.cpu(), expected):
        return "has other values: are the bytes those between begin and end of its own file?"
    return ""
