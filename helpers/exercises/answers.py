"""What readers answer, whatever its type: taken as the number, the names or the function that it is, or refused.

A check is a function under `@judges`. What it takes with `whole_number`, `run` and the others of this module it can
work with; where that is not possible they raise `Refused`, and the Verdict says what was given.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Collection, Mapping

from . import Verdict, not_answered, wrong


class Refused(Exception):
    """An answer that cannot be judged; the message says what is asked for and what was given."""


def judges(check: Callable[..., Verdict]) -> Callable[..., Verdict]:
    """A check whose first argument is the answer: None is not answered yet, and a refused one is wrong."""

    @functools.wraps(check)
    def judged(answer: object, *given: object, **named: object) -> Verdict:
        if answer is None:
            return not_answered()
        try:
            return check(answer, *given, **named)
        except Refused as refusal:
            return wrong(str(refusal))

    return judged


def whole_number(answer: object, asked: str = "Give a whole number") -> int:
    """The answer as an int: also a float without a fraction, a number of numpy, a tensor without dimensions."""
    value = _plain(answer)
    if _is_number(value) and value % 1 == 0:  # of infinity and of nan it is nan
        return int(value)
    raise Refused(f"{asked}: you gave {described(answer)}.")


def number(answer: object, asked: str = "Give a number") -> float:
    """The answer as a float that is finite."""
    value = _plain(answer)
    if _is_number(value) and math.isfinite(value):
        return float(value)
    raise Refused(f"{asked}: you gave {described(answer)}.")


def whole_numbers(answer: object, asked: str, count: int | None = None) -> tuple[int, ...]:
    """The answer as a tuple of ints, `count` of them if given: also a list, a shape, a tensor of one dimension."""
    values = _sequence(answer)
    if values is None or count not in (None, len(values)):
        raise Refused(f"{asked}: you gave {described(answer)}.")
    return tuple(whole_number(value, asked) for value in values)


def text(answer: object, asked: str) -> str:
    """The answer as a str."""
    if isinstance(answer, str):
        return str(answer)
    raise Refused(f"{asked}: you gave {described(answer)}.")


def texts(answer: object, asked: str, ordered: bool = False) -> list[str]:
    """The answer as a list of str: also a tuple, a column of a table and, unless it is to be `ordered`, a set."""
    values = _sequence(answer, unordered=not ordered)
    if values is None:
        raise Refused(f"{asked}: you gave {described(answer)}.")
    return [text(value, asked) for value in values]


def dictionary(answer: object, asked: str) -> dict:
    """The answer as a dict."""
    if isinstance(answer, Mapping):
        return dict(answer)
    raise Refused(f"{asked}: you gave {described(answer)}.")


def tensor(answer: object, shape: tuple[int, ...], asked: str):
    """The answer as a tensor of this shape, on the CPU."""
    import torch

    usable = isinstance(answer, torch.Tensor) and _has_values(answer) and not answer.is_complex()
    if usable and answer.shape == tuple(shape):
        return answer.detach().cpu()
    raise Refused(f"{asked}: you gave {described(answer)}.")


def function(answer: object, asked: str = "Give the function itself, without calling it") -> Callable:
    """The answer as what can be called."""
    if callable(answer):
        return answer
    raise Refused(f"{asked}: you gave {described(answer)}.")


def run(reader: Callable, *given: object, of: str = "", lets: tuple = (), **named: object) -> object:
    """What the reader's function gives. What it raises is told, behind the words `of`; the errors of `lets` pass."""
    try:
        return reader(*given, **named)
    except lets:
        raise
    except (Exception, SystemExit) as error:  # the reader's own code: whatever it raises is told
        raise Refused(f"{of + ' ' if of else ''}your function raised {type(error).__name__}: {error}") from error


def described(answer: object) -> str:
    """What kind of thing this is, in a few words, with the way to what it may hold."""
    import pandas as pd

    if isinstance(answer, pd.DataFrame):
        return f"a table of {_count(answer, 'row')} (count its rows)"
    if isinstance(answer, str):
        return f"the text {_short(answer)}"
    if isinstance(value := _plain(answer), bool | numbers.Number):
        return _short(value)
    if (shape := _shape(answer)) is not None:
        return f"a {type(answer).__name__} of shape {tuple(shape)}"
    if isinstance(answer, Collection):
        kind = "a dictionary" if isinstance(answer, Mapping) else f"a {type(answer).__name__}"
        return f"{kind} of {_count(answer, 'part')}"
    if answer is None:
        return "None"
    if callable(answer):
        return "a function (call it, and give what it gives)"
    return f"an object of the type {type(answer).__name__}"


def _plain(answer: object) -> object:
    """A tensor or an array without dimensions, and a number of numpy, as the number of Python."""
    return answer.item() if _shape(answer) == () and _has_values(answer) else answer


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _sequence(answer: object, unordered: bool = False) -> list | None:
    """The parts of a list, or of what is like one; None of anything else, a text and a dictionary among it."""
    if isinstance(answer, list | tuple) or (unordered and isinstance(answer, set | frozenset)):
        return list(answer)
    one_dimension = len(_shape(answer) or ()) == 1 and hasattr(answer, "tolist") and _has_values(answer)
    return answer.tolist() if one_dimension else None


def _shape(answer: object) -> tuple | None:
    """Of a tensor, an array, a column."""
    shape = getattr(answer, "shape", None)
    return shape if isinstance(shape, tuple) else None


def _has_values(answer: object) -> bool:
    return not getattr(answer, "is_meta", False)


def _count(parts: Collection, name: str) -> str:
    return f"{len(parts)} {name}" + ("" if len(parts) == 1 else "s")


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "…"
