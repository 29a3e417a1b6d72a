"""Which events are calls of a landmark: those of its function, unless the table says that some of them are not."""

from __future__ import annotations

import functools

import numpy as np

from .. import landmarks as landmark_table
from ..events import MODULE, NOT_OBSERVED
from ..recording.recording import Recording
from ..recording.rows import Function


@functools.cache
def _outside_modules() -> frozenset[str]:
    return frozenset(landmark.id for landmark in landmark_table.table() if landmark.outside_modules)


def _is_forward(function: Function) -> bool:
    """A module's, where module calls were not recorded; a pipeline has one too."""
    return function.qualname.endswith(".forward") and not function.module.startswith("transformers.pipelines.")


def not_of_their_landmark(recording: Recording) -> set[int]:
    """The events that call a landmark's function and are none of its calls."""
    found: set[int] = set()
    for status in recording.landmark_statuses:
        if status.id in _outside_modules() and status.function != NOT_OBSERVED:
            events = np.flatnonzero(recording.events["function"] == status.function)
            found |= set(events.tolist()) - set(of_its_own(recording, status.id, events).tolist())
    return found


def of_its_own(recording: Recording, landmark: str, events: np.ndarray) -> np.ndarray:
    """Those of `events`, calls of the landmark's function, that are the landmark's: not attention's softmax where it is
    the decoding loop's that is meant."""
    if landmark not in _outside_modules():
        return events
    forwards = [number for number, function in enumerate(recording.functions) if _is_forward(function)]
    is_module = (recording.events["kind"] == MODULE) | np.isin(recording.events["function"], forwards)
    parents = recording.events["parent"]
    outside = np.ones(len(events), dtype=bool)
    around = parents[events]
    while (known := around != NOT_OBSERVED).any():
        outside &= ~(known & is_module[around])
        around = np.where(known, parents[around], NOT_OBSERVED)
    return events[outside]
