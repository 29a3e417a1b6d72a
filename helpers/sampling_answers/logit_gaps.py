"""A long falling row of logits in few bits: each as the number of steps below the one before it.

A number is told by its exponential Golomb code (Teuhola 1978; ITU-T H.264, 9.1): short ones take few bits, and none is
too large. `logitsOfGaps` in views/sampling_row.js reads what is written here.
"""

from __future__ import annotations

import numpy as np

ORDER = 2
"""Numbers below 2 ** ORDER have the shortest codes, of ORDER + 1 bits."""
STEPS = (2.0**-16, 2.0**-10)
LARGEST_GAP = 2**30
"""In steps; a logit that is further below its neighbour is told as this far. At least 16,384 in logits."""


def gaps_of(falling: np.ndarray) -> dict:
    """Finite falling values as {"highest", "step", "count", "bits"}: numbers, and bytes.

    The step is about an eighth of the median distance of neighbours, within `STEPS`, so that a logit is told to half a
    step. Of neighbours in one step it is told whether they are equal: what ties in the row ties for its reader.
    """
    values = np.asarray(falling, dtype=np.float64)
    if not len(values):
        return {"highest": 0.0, "step": STEPS[0], "count": 0, "bits": b""}
    lower = np.diff(values, prepend=values[0]) < 0
    distances = -np.diff(values[lower], prepend=values[0])
    spacing = np.median(distances) if len(distances) else 1.0
    step = float(np.clip(2.0 ** np.floor(np.log2(spacing)), *STEPS))
    levels = np.round((values[0] - values) / step)
    levels_below = np.minimum(np.diff(levels, prepend=0.0), LARGEST_GAP).astype(np.int64)
    # 0: equal to the one before; 1: lower, in the same step; n + 1: n steps lower.
    bits = exponential_golomb(np.where(lower, levels_below + 1, 0))
    return {"highest": float(values[0]), "step": step, "count": len(values), "bits": bits}


def exponential_golomb(numbers: np.ndarray) -> bytes:
    """The codes of numbers from 0 up, one behind the other, the highest bit first; the last byte is filled with zeros.

    The code of n is n + 2 ** ORDER in binary, behind as many zeros as that has bits more than ORDER + 1.
    """
    values = np.asarray(numbers, dtype=np.int64) + (1 << ORDER)
    widths = np.frexp(values.astype(np.float64))[1]  # bits of each in binary; exact below 2 ** 53
    ends = np.cumsum(2 * widths - 1 - ORDER)
    bits = np.zeros(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    for place in range(int(widths.max(initial=0))):
        has = widths > place
        bits[ends[has] - 1 - place] = (values[has] >> place) & 1
    return np.packbits(bits).tobytes()
