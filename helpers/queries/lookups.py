"""Lookups: the files that a load asked for, in order, and what the answer was."""

from __future__ import annotations

from pathlib import PurePath

from ..events import NOT_OBSERVED
from ..recording.recording import Recording
from ..tables import Table
from .requirements import require_finished

NAME_OF_FILE = {"hub.cached_file": "filename", "ckpt.add_variant": "weights_name", "ckpt.shard_files": "index_filename"}
"""By landmark: the argument that names the file which is asked for."""
TRIED, SNAPSHOTS = "ckpt.add_variant", "snapshots"


def arguments(recording: Recording, event: int) -> dict[str, object]:
    """The arguments of an event that are no tensors, by name."""
    return dict(recording.value_lists[recording.events["arguments"][event]])


def result(recording: Recording, event: int) -> dict[str, object]:
    """What an event returned that is no tensor: "result", or "result.0", "result.1" and so on for several."""
    return dict(recording.value_lists[recording.events["result"][event]])


def lookups(recording: Recording) -> Table:
    """One row per question for a file of the checkpoint or its config, in the order in which they were asked.

    Columns: event, function, asked (the file's name) and answer: "not there" where the function returned None, "in
    snapshots" for a file of the Hub cache, "found" for another, the number of shards for the function that gathers
    them, and "tried" for `_add_variant`, which only makes the name: for a local folder it tells what was looked for.
    Zoom: landmarks.
    """
    require_finished(recording)
    landmarks = {
        status.function: status.id for status in recording.landmark_statuses if status.function != NOT_OBSERVED
    }
    rows = []
    for event, function in enumerate(recording.events["function"].tolist()):
        argument = NAME_OF_FILE.get(landmarks.get(function, ""))
        if argument:
            asked = PurePath(str(arguments(recording, event).get(argument, ""))).name
            answer = "tried" if landmarks[function] == TRIED else _answer(result(recording, event))
            rows.append([event, recording.functions[function].qualname, asked, answer])
    return Table.of(rows, ["event", "function", "asked", "answer"], volatile=("event",))


def _answer(returned: dict[str, object]) -> str:
    if "result" in returned:
        if returned["result"] is None:
            return "not there"
        # Long paths are cut at their end in a recording.
        return "in snapshots" if SNAPSHOTS in PurePath(str(returned["result"])).parts else "found"
    files = [name for name in returned if name.startswith("result.0.")]
    return f"{len(files)} shards" if files else "not observed"
