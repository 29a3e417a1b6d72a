"""Sizes of memory as people write them."""

import pytest

from helpers.forecasting.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GB", 24 * 10**9),
        ("24 GiB", 24 * 2**30),
        ("0.5gb", 5 * 10**8),
        ("3MiB", 3 * 2**20),
        ("4096000", 4096000),
        (7, 7),
    ],
)
def test_decimal_and_binary_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["24 parsecs", "", "GB", "-5GB", "0GB", 0, -3, True, 2.5, None, "1e999GB", "nanGB"])
def test_what_is_no_size_is_refused_with_how_to_write_one(text):
    with pytest.raises(ValueError, match="no size of memory: write it like 24GB"):
        parse_size(text)


def test_bits_are_not_taken_for_bytes():
    with pytest.raises(ValueError, match="would be bits"):
        parse_size("24Gb")


def test_a_text_without_unit_that_would_be_a_few_bytes_is_refused():
    with pytest.raises(ValueError, match="without a unit it is bytes, and 24 of them hold no model"):
        parse_size("24")
