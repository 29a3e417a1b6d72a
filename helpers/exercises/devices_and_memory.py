"""The checks of the exercises in notebook 09, devices and memory."""

from __future__ import annotations

import math

import torch

from helpers.forecasting.result import Forecast
from helpers.recording.recording import Recording

from . import Verdict, right, wrong
from .answers import judges, whole_number, whole_numbers

BITS = 8  # in a byte


@judges
def check_weight_bytes(answer: object, forecast: Forecast, dtype: torch.dtype) -> Verdict:
    """How many bytes the forecast's model takes in `dtype`: an int."""
    answer = whole_number(answer, "The answer is a number of bytes")
    expected = forecast.parameters * dtype.itemsize
    if answer == expected:
        return right(f"{forecast.parameters:,} parameters, {dtype.itemsize} bytes each: ties are counted once.")
    if answer == forecast.parameters:
        return wrong("That is how many parameters there are. How many bytes has one of them?")
    if answer == expected * BITS:
        return wrong("These are bits; a byte has eight.")
    if answer == expected * 2:
        return wrong(f"{str(dtype).removeprefix('torch.')} is a half-precision type: look at its `itemsize`.")
    return wrong("Multiply the number of parameters by the bytes of one.")


@judges
def check_bytes_moved(answer: object, recording: Recording, passes: int) -> Verdict:
    """How many bytes the hooks moved in `passes` forward passes, of which the recording has the first: an int."""
    answer = whole_number(answer, "The answer is a number of bytes")
    moved = recording.transfers(step=0)
    once = int(moved["nbytes"].sum())
    if answer == once * passes:
        return right("Each forward pass pays anew: the hook drops the weights after each module's call.")
    if answer == once:
        return wrong("That is what one forward pass moves. What does the hook do after it?")
    if answer == len(moved) * passes:
        return wrong("That is how many calls moved weights. The column nbytes has their bytes.")
    return wrong("Sum the bytes of one step of transfers(), and think of how many steps there are.")


@judges
def check_shard_shape(answer: object, shape: tuple[int, ...], placement: str) -> Verdict:
    """The shape of one rank's part of a weight of `shape` that lies as `placement` ("Shard(dim=0) of 2"): a tuple."""
    answer = whole_numbers(answer, "The answer is a shape: a tuple of whole numbers")
    dimension, ranks = int(placement.partition("dim=")[2].partition(")")[0]), int(placement.rpartition(" ")[2])
    expected = tuple(size // ranks if place == dimension else size for place, size in enumerate(shape))
    if answer == expected:
        return right(f"Dimension {dimension} is divided by the {ranks} ranks, the other stays whole.")
    if answer == tuple(shape):
        return wrong("That is the shape in the checkpoint. A rank holds a part of it.")
    if answer == tuple(size // ranks for size in shape):
        return wrong("You divided both dimensions; then the parts together would not be the whole. Read the placement.")
    if math.prod(answer) == math.prod(expected):
        return wrong("The size is right, and the wrong dimension is divided. Read the placement.")
    return wrong("Divide the dimension that the placement names by the number of ranks.")
