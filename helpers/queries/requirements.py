"""What a question needs, or a RecordingError: a finished recording, an event, a generation, a step that was kept."""

from __future__ import annotations

import numbers

from ..events import RecordingError
from ..recording.recording import Recording


def require_finished(recording: Recording) -> None:
    """Raises RecordingError while the recording is still running."""
    if not recording.finished:
        raise RecordingError("The recording is still running: ask after the `with record()` block has ended.")


def require_event(recording: Recording, event: object, asked: str) -> None:
    """Raises RecordingError where `event` is none of the recording's; `asked`: the method that was given it."""
    if isinstance(event, bool) or not isinstance(event, numbers.Integral):
        raise RecordingError(f"{asked}({event!r}): give the number of an event: a value of the column `event`.")
    if not 0 <= event < len(recording):
        raise RecordingError(f"There is no event {event}: this recording has {len(recording)}, numbered from 0.")


def require_generation(recording: Recording, generation: int) -> None:
    """Raises RecordingError where no generate() call of this recording has this number."""
    known = sorted({*recording.events["generation"].tolist(), *recording.step_rows["generation"].tolist()} - {-1})
    if generation not in known:
        there = f"give one of {', '.join(map(str, known))} (counted from 0)" if known else "no generate() was recorded"
        raise RecordingError(f"There is no generation {generation}: {there}.")


def require_kept(recording: Recording, step: int) -> None:
    """Raises RecordingError when the step was not observed, or is a summary row only."""
    rows = recording.step_rows
    known = rows["step"] == step
    if not known.any():
        raise RecordingError(
            f"There is no step {step}: {len(rows['step'])} steps were observed (the prefill is step 0)."
        )
    if not rows["kept"][known].any():
        raise RecordingError(
            f"Step {step} was kept as a summary row only. "
            f"Record it in full with record(steps={step + 1}) or record(steps=None)."
        )
