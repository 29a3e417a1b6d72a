"""Sizes of memory as people write them: 24GB, 16GiB."""

from __future__ import annotations

LEAST_WITHOUT_UNIT = 2**20
"""Bytes: a smaller number as text was meant in gigabytes."""


def parse_size(text: str | int) -> int:
    """Bytes in "24GB" (10**9), "24GiB" (2**30), also K and M; a number is bytes. As accelerate reads `max_memory`.

    Raises ValueError for anything else, for what is not above 0, and for a text like "24": few bytes, and hardly meant.
    """
    from accelerate.utils import convert_file_size_to_int

    advice = f"{text!r} is no size of memory: write it like 24GB (10**9 bytes) or 24GiB (2**30 bytes), above 0"
    spelt = text.strip() if isinstance(text, str) else text
    if isinstance(spelt, str) and spelt.isascii() and spelt.isdecimal():
        spelt = int(spelt)
        if 0 < spelt < LEAST_WITHOUT_UNIT:
            raise ValueError(f"{advice}; without a unit it is bytes, and {spelt} of them hold no model")
    if isinstance(spelt, bool) or not isinstance(spelt, int | str):
        raise ValueError(advice)
    if isinstance(spelt, str):
        if spelt.endswith(("Kb", "Mb", "Gb")):
            raise ValueError(f"{advice}; {spelt!r} would be bits")
        spelt = spelt.upper()
    try:
        size = convert_file_size_to_int(spelt)
    except (ValueError, OverflowError):
        raise ValueError(advice) from None
    if size < 1:
        raise ValueError(advice)
    return size
