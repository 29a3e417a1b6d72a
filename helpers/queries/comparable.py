"""What two recordings both have, so that a difference between them is one of the runs and not of the recording."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from ..events import NOT_OBSERVED
from ..recording.recording import Recording
from .folding import OUTSIDE, ranges
from .ledger_changes import loads_told


class Scope:
    """What two recordings both have: zoom, generations and steps kept in full."""

    def __init__(self, before: Recording, after: Recording) -> None:
        self.both = (before, after)
        self._have_modules = ["modules" in recording.environment.get("zoom", ()) for recording in self.both]
        self.modules = all(self._have_modules)
        self._kept = [_kept_steps(recording) for recording in self.both]
        self.steps = self._kept[0] & self._kept[1]
        generations = [{generation for generation, _ in _all_steps(recording)} for recording in self.both]
        inside = self.steps | {(generation, NOT_OBSERVED) for generation in generations[0] & generations[1]}
        self.events = [_events_within(recording, inside | {OUTSIDE}) for recording in self.both]

    def left_out(self) -> list[dict]:
        """Rows for what only one of the two has."""
        rows = []
        if self._have_modules[0] != self._have_modules[1]:
            told = ["recorded" if has else "not recorded" for has in self._have_modules]
            rows.append(_not_compared("modules", "", told))
        loads = [loads_told(recording) for recording in self.both]
        if loads[0] != loads[1]:
            rows.append(_not_compared("loads", "", loads))
        unequal = sorted((self._kept[0] | self._kept[1]) - self.steps)
        by_telling: dict[tuple, list[tuple[int, int]]] = defaultdict(list)
        for step in unequal:
            by_telling[step[0], tuple(_how_kept(recording, step) for recording in self.both)].append(step)
        for (generation, told), steps in by_telling.items():
            rows.append(_not_compared(f"generation {generation}", ranges([step for _, step in steps]), told))
        return rows

    def paths(self) -> set[str]:
        """The paths of all modules in both recordings."""
        return set(self.both[0].paths) | set(self.both[1].paths)


def _not_compared(name: str, steps: str, told: Iterable[str]) -> dict:
    before, after = told
    return {
        "what": "not compared", "of": "recording", "name": name, "steps": steps, "tensors": "",
        "before": before, "after": after, "count": 1,
    }  # fmt: skip


def _all_steps(recording: Recording) -> set[tuple[int, int]]:
    rows = recording.step_rows
    return set(zip(rows["generation"].tolist(), rows["step"].tolist(), strict=True))


def _kept_steps(recording: Recording) -> set[tuple[int, int]]:
    rows = recording.step_rows
    kept = rows["kept"] == 1
    return set(zip(rows["generation"][kept].tolist(), rows["step"][kept].tolist(), strict=True))


def _how_kept(recording: Recording, step: tuple[int, int]) -> str:
    if step in _kept_steps(recording):
        return "kept in full"
    return "a summary row" if step in _all_steps(recording) else "did not run"


def _events_within(recording: Recording, steps: set[tuple[int, int]]) -> np.ndarray:
    """Indexes of the events of these (generation, step) pairs."""
    pairs = zip(recording.events["generation"].tolist(), recording.events["step"].tolist(), strict=True)
    return np.flatnonzero(np.fromiter((pair in steps for pair in pairs), dtype=bool, count=len(recording)))
