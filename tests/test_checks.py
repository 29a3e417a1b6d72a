"""check(): prints what holds, stops at what does not."""

import pytest

from helpers import check


def test_a_claim_that_holds_is_printed(capsys):
    check(1 + 1 == 2, "one and one are two")
    assert capsys.readouterr().out == "✓ one and one are two\n"


def test_a_claim_that_does_not_hold_fails_with_its_words():
    with pytest.raises(AssertionError, match="does not hold here: pigs fly"):
        check(False, "pigs fly")
