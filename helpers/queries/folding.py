"""Changes between two recordings, and how those that are the same in many layers and steps become one row."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..events import NOT_OBSERVED

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")  # a whole part of a dotted path
_MOST_TOLD = 3  # names or values in a cell; the others are counted
OUTSIDE = (NOT_OBSERVED, NOT_OBSERVED)  # (generation, step) of what ran outside generate()
_ROOT = "(the model)"
_FOLDED = ("module", "parameter")


class Change(NamedTuple):
    """One difference at one place; `step` is (generation, step), -1 where that says nothing."""

    what: str
    of: str
    name: str
    step: tuple[int, int] = OUTSIDE
    tensors: tuple[str, ...] = ()
    before: str = ""
    after: str = ""


def fold(changes: Sequence[Change], paths: Iterable[str]) -> list[dict]:
    """Rows for a table: modules, and parameters, of which the same changed, in the same steps, are one row.

    Where the values differ from step to step (keys that grow) they stand in the order of the steps. `paths` are
    those of all modules, so that "all layers" can be told from "some": `model.layers.*.mlp` are all of
    them, `model.layers.{0-9}.mlp` are ten.
    """
    seen: dict[tuple, list[tuple]] = defaultdict(list)
    for change in changes:
        seen[change.what, change.of, change.name, change.tensors].append((change.step, change.before, change.after))
    alike: dict[tuple, list[str]] = defaultdict(list)
    for (what, of, name, tensors), its_steps in seen.items():
        alike[what, of, pattern(name) if of in _FOLDED else name, tensors, tuple(its_steps)].append(name)
    family: dict[str, set[str]] = defaultdict(set)
    for path in [*paths, *(change.name for change in changes if change.of == "parameter")]:
        family[pattern(path)].add(path)
    return [
        {
            "what": what,
            "of": of,
            "name": folded_name(names, family[name]) if of in _FOLDED else name,
            "steps": told_steps(step for step, _, _ in its_steps),
            "tensors": told_tensors(tensors),
            "before": told_values([before for _, before, _ in its_steps]),
            "after": told_values([after for _, _, after in its_steps]),
            "count": len(names),
        }
        for (what, of, name, tensors, its_steps), names in alike.items()
    ]


def pattern(path: str) -> str:
    """`path` with * for each part that is a number: model.layers.*.self_attn."""
    return _NUMBER.sub("*", path)


def folded_name(names: list[str], family: set[str]) -> str:
    """One name for modules of one pattern; `family` are all modules of that pattern."""
    if len(names) == 1:
        return names[0] or _ROOT
    whole = pattern(names[0])
    if set(names) >= family:
        return whole
    if whole.count("*") == 1:
        numbers = sorted(int(_NUMBER.search(name).group()) for name in names)
        return whole.replace("*", "{" + ranges(numbers) + "}")
    return f"{whole} ({len(names)} of {len(family)})"


def ranges(numbers: list[int]) -> str:
    """Ascending numbers, runs as first-last: 0-3, 7."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def told_steps(steps: Iterable[tuple[int, int]]) -> str:
    """Steps as text; the generation is named where it is not the first alone; "" outside generation."""
    by_generation: dict[int, list[int]] = defaultdict(list)
    for generation, step in sorted(set(steps)):
        if step != NOT_OBSERVED:
            by_generation[generation].append(step)
    if set(by_generation) <= {0}:
        return ranges(by_generation[0]) if by_generation else ""
    return "; ".join(f"generation {generation}: {ranges(own)}" for generation, own in by_generation.items())


def told_tensors(tensors: Iterable[str]) -> str:
    """Names of tensors, the first few; those that differ in a number only are one name."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in tensors:
        alike[pattern(name)].append(name)
    return _first_few([names[0] if len(names) == 1 else folded for folded, names in alike.items()], ", ")


def told_values(values: Iterable[str]) -> str:
    """The distinct values, the first few."""
    return _first_few(list(dict.fromkeys(values)), "; ")


def _first_few(texts: list[str], separator: str) -> str:
    rest = len(texts) - _MOST_TOLD
    return separator.join(texts[:_MOST_TOLD]) + (f" and {rest} more" if rest > 0 else "")
