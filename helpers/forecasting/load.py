"""What a load needs for itself, beside what remains: file pages while it casts, and room that an allocator keeps."""

from __future__ import annotations

from collections.abc import Iterable

from helpers import compat
from helpers.forecasting.source import StoredWeight

MEBIBYTE = 2**20
# torch's caching allocator (c10/cuda/CUDACachingAllocator.cpp): what it asks the driver for, and for which requests.
BLOCK = 512
SMALL_REQUEST, SMALL_SEGMENT = 1 * MEBIBYTE, 2 * MEBIBYTE
MIDDLE_REQUEST, MIDDLE_SEGMENT = 10 * MEBIBYTE, 20 * MEBIBYTE
LARGE_ROUNDING = 2 * MEBIBYTE
CUBLAS_WORKSPACE = 32 * MEBIBYTE
"""cuBLAS's workspace on the newest cards; 8 MiB on others. https://docs.pytorch.org/docs/stable/notes/cuda.html"""


def load_pages(stored: Iterable[StoredWeight], in_memory: dict[str, int], needs_copy: set[str]) -> int:
    """Bytes of the checkpoint's file pages in main memory when a load holds most, beyond what remains in memory.

    `stored` in the order of the files; `in_memory`: tensor name to the bytes that it takes in main memory in the end;
    `needs_copy`: those that are cast or moved. A tensor that stays as it is on a CPU is a page of its file and counts
    with the weights. The system can take file pages back, so they raise the peak, but no load fails for them.

    Measured with the demo checkpoint: from 5.0 on the pages of all shards stay to the end of the load; before, those
    of one shard at a time.
    """
    copied = [weight for weight in stored if weight.name in needs_copy]
    if not compat.reads_shard_by_shard():
        return sum(weight.nbytes for weight in copied)
    remains = sum(in_memory.get(weight.name, 0) for weight in copied)
    most, placed, files = 0, 0, dict.fromkeys(weight.file for weight in copied)
    for file in files:
        shard = [weight for weight in copied if weight.file == file]
        placed += sum(in_memory.get(weight.name, 0) for weight in shard)
        most = max(most, placed + sum(weight.nbytes for weight in shard))
    return max(0, most - remains)


def allocator_reserve(sizes: Iterable[int]) -> int:
    """Bytes that torch's caching allocator holds of a CUDA device beyond the tensors of these sizes, at most.

    It asks the driver for whole segments: 2 MiB for tensors up to 1 MiB, 20 MiB for those up to 10 MiB, and for
    larger ones their size rounded up to 2 MiB. cuBLAS's workspace is in it too. Computed, not measured.
    """
    small = middle = large = total = 0
    for size in sizes:
        total += size
        block = _rounded(size, BLOCK)
        if block <= SMALL_REQUEST:
            small += block
        elif block < MIDDLE_REQUEST:
            middle += block
        else:
            large += _rounded(block, LARGE_ROUNDING)
    return _rounded(small, SMALL_SEGMENT) + _rounded(middle, MIDDLE_SEGMENT) + large - total + CUBLAS_WORKSPACE


def _rounded(size: int, unit: int) -> int:
    return -(-size // unit) * unit
