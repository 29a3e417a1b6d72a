"""step_through(): a recording to walk through, forward and back, live in JupyterLab and in a page without a kernel."""

from __future__ import annotations

from html import escape
from pathlib import Path

import pandas as pd
import traitlets

from helpers.events import RecordingError
from helpers.queries.requirements import require_finished
from helpers.recording.recorded_with import recorded_with
from helpers.recording.recording import Recording
from helpers.tables import Table
from helpers.views import player_payload
from helpers.views.explorers import Explorer, base64_text

STATIC_COLUMNS = [
    "stage", "landmark", "function", "location", "calls", "tensors_in", "tensors_out", "dtype", "device", "memory",
    "milliseconds",
]  # fmt: skip
TEXT = "Step through a recorded run: forward and back, with source, tensors, memory and threads."


class Player(Explorer):
    """The step-through player of one recording, or of two side by side. Made by `step_through`.

    `event`: the event that is shown, as in the tables' column `event`; set it to travel there.
    """

    explorer = "player"
    event = traitlets.Int(0).tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    recording_file = traitlets.Bytes().tag(sync=True)
    guide = traitlets.Bytes().tag(sync=True)
    other_file = traitlets.Bytes().tag(sync=True)
    other_guide = traitlets.Bytes().tag(sync=True)

    def __init__(self, recording: Recording, other: Recording | None = None, event: int = 0) -> None:
        self._recordings = [recording] if other is None else [recording, other]
        state = {
            "event": event,
            "labels": _labels(self._recordings),
            "recording_file": player_payload.packed_recording(recording),
            "guide": player_payload.packed_guide(recording, other),
        }
        if other is not None:
            state["other_file"] = player_payload.packed_recording(other)
            state["other_guide"] = player_payload.packed_guide(other)
        super().__init__(**state)

    def twin_data(self) -> dict:
        """The state for a page without a kernel, as plain JSON values."""
        state = {"event": self.event, "labels": self.labels}
        for name in ("recording_file", "guide", "other_file", "other_guide"):
            state[name] = base64_text(getattr(self, name))
        return state

    def static_html(self) -> str:
        """Stages and landmarks of each recording, and what differs: what is read where no script runs."""
        parts = ["<p>" + escape(TEXT) + " Here are its tables.</p>"]
        for label, recording in zip(self.labels, self._recordings, strict=True):
            parts.append(f"<h4>{escape(label)}</h4>" + recording._repr_html_())
            landmarks = recording.landmarks(observed_only=True)
            parts.append(Table.of(pd.DataFrame(landmarks)[STATIC_COLUMNS])._repr_html_())
        if len(self._recordings) > 1:
            differences = self._recordings[0].diff(self._recordings[1])
            parts.append("<h4>What differs, from the first to the second</h4>" + differences._repr_html_())
        return "\n".join(parts)

    def recorded_with(self) -> str:
        """The versions and devices of the recording, or of both."""
        return "; and with ".join(dict.fromkeys(map(recorded_with, self._recordings)))

    def text(self) -> str:
        """The same on every run and in every version, so that notebooks can be compared."""
        return TEXT


def step_through(
    recording: Recording | str | Path, other: Recording | str | Path | None = None, *, event: int = 0
) -> Player:
    """The step-through player: walk through `recording` forward and back; with `other`, two runs side by side.

    Each is a Recording, or the path of a file that `save` or `python -m helpers record` wrote. `event`: where to begin,
    a value of the column `event` of any table. Zoom: landmarks; whatever else was recorded is shown too.
    `step_through(…).to_html()` is the player as one HTML document that needs no kernel and no network.

    Raises RecordingError for what is no recording, for a recording that is still running, for a file that is damaged,
    and for an event that there is not.
    """
    first = _opened(recording)
    second = None if other is None else _opened(other)
    if isinstance(event, bool) or not isinstance(event, int):
        raise RecordingError(f"step_through(event={event!r}): give the number of an event.")
    if event and not 0 <= event < len(first):
        raise RecordingError(f"There is no event {event}: this recording has {len(first)}, numbered from 0.")
    return Player(first, second, event)


def _opened(recording: object) -> Recording:
    if isinstance(recording, (str, Path)):
        return Recording.load(recording)
    if not isinstance(recording, Recording):
        raise RecordingError(
            f"step_through() takes a Recording or the path of one, not {type(recording).__name__}: "
            "with record() as recording: …, then step_through(recording)."
        )
    require_finished(recording)
    return recording


def _labels(recordings: list[Recording]) -> list[str]:
    """A name for each: its version, and what else tells it apart: class of model, attention, dtype, device, torch."""
    names = [f"transformers {one.environment.get('transformers', '?')}" for one in recordings]
    told = [
        (_classes(one), _attention(one), _dtype(one), _device(one), f"torch {one.environment.get('torch', '?')}")
        for one in recordings
    ]
    different = [place for place, facts in enumerate(zip(*told, strict=True)) if len(set(facts)) > 1]
    labels = [
        ", ".join(filter(None, [name, *(facts[place] for place in different)]))
        for name, facts in zip(names, told, strict=True)
    ]
    if len(recordings) == 1 or len(set(names)) == len(names):
        return labels
    return [f"{letter}: {label}" for letter, label in zip("AB", labels, strict=True)]


def _classes(recording: Recording) -> str:
    """The classes of the models that were called: "LlamaForCausalLM"; empty where none was."""
    models = recording.environment.get("models", [])
    return ", ".join(sorted({model.rpartition(" with ")[0] for model in models}))


def _attention(recording: Recording) -> str:
    """The attention implementation of the models that were called: "sdpa attention"."""
    models = recording.environment.get("models", [])
    return ", ".join(sorted({model.rpartition(" with ")[2] for model in models})) or "attention not observed"


def _dtype(recording: Recording) -> str:
    """The dtype that most parameters have in memory, else that of most tensors that flowed."""
    found = [row.dtype for row in recording.loads if row.dtype] or [spec.dtype for spec in recording.specs]
    return _most(found) or "no tensors"


def _device(recording: Recording) -> str:
    """The device that most parameters are on, else that of most tensors that flowed."""
    return _most([row.device for row in recording.loads if row.device] or [spec.device for spec in recording.specs])


def _most(names: list[str]) -> str:
    return max(sorted(set(names)), key=names.count, default="")


def checked_page(path: str | Path) -> Path:
    """`path`, where a page can be written. Raises RecordingError for another name, a folder, or where there is none."""
    page = Path(path)
    if page.suffix.lower() not in (".html", ".htm"):
        raise RecordingError(f"--html {path}: the name of a page ends in .html.")
    if page.is_dir() or not page.absolute().parent.is_dir():
        raise RecordingError(f"--html {path}: give the name of a file, in a folder that exists.")
    return page


def save_page(recording: Recording, path: str | Path, title: str | None = None) -> Path:
    """Write the player of `recording` as one self-contained HTML document; returns the path.

    Raises RecordingError while the recording is running.
    """
    from helpers.whole_file import write_whole

    document = step_through(recording).to_html(title or f"Step through {_labels([recording])[0]}")
    return write_whole(Path(path), document.encode("utf-8"))
