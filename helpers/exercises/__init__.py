"""What an exercise answers: a Verdict. The checks of each notebook are in the module of its name.

A check computes what is right from what the reader's notebook holds (a checkpoint, a model, a recording), never from a
constant, and says of a wrong answer which thought leads to it.
"""

from __future__ import annotations

from dataclasses import dataclass

RIGHT, WRONG, NOT_ANSWERED = "✓ Right", "✗ Not yet", "· Not answered yet"


@dataclass(frozen=True)
class Verdict:
    """What a check says of an answer; true when the answer is right. The last expression of a cell shows it."""

    outcome: str
    explanation: str

    def __bool__(self) -> bool:
        return self.outcome == RIGHT

    def __repr__(self) -> str:
        return f"{self.outcome}: {self.explanation}"


def right(why: str) -> Verdict:
    """The answer is right; `why` says what makes it so."""
    return Verdict(RIGHT, why)


def wrong(explanation: str) -> Verdict:
    """The answer is wrong; `explanation` says which thought leads to it, or where to look."""
    return Verdict(WRONG, explanation)


def not_answered() -> Verdict:
    """The answer is still None."""
    return Verdict(NOT_ANSWERED, "put your answer in the place of None and run the cell again.")
