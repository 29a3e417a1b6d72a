"""Pages with the step-through player: the whole call in the installed transformers, and in the other tested ones."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from helpers import landmarks, notebooks, reference_recording
from helpers.events import MODULE
from helpers.queries.cells import events_by_function
from helpers.queries.stages import MODULE_CALL
from helpers.recording.recorded_with import recorded_with
from helpers.recording.recording import Recording
from helpers.site import SiteError, executions
from helpers.views.player import step_through

_MAKE = """
import sys
from helpers import reference_recording
reference_recording.make(*reference_recording.CLOSER_ZOOM).save(sys.argv[1])
"""


@dataclass(frozen=True)
class PlayerPage:
    """The whole call in one version of transformers, to step through."""

    recording: Recording

    @property
    def version(self) -> str:
        return self.recording.environment["transformers"]

    @property
    def name(self) -> str:
        """Of its page, and of the file of its recording."""
        return f"whole_call_{self.version}"

    @property
    def recorded_with(self) -> str:
        """The versions and the device in half a sentence."""
        return recorded_with(self.recording)

    @cached_property
    def first_events(self) -> dict[str, int]:
        """Landmark to the first event in which its function ran; a module's call is known by its kind."""
        by_function = events_by_function(self.recording)
        modules = np.flatnonzero(self.recording.events["kind"] == MODULE)
        found = {}
        for status in self.recording.landmark_statuses:
            is_call = status.function >= 0 and self.recording.functions[status.function].qualname == MODULE_CALL
            events = modules if is_call else by_function.get(status.function, modules[:0])
            if len(events):
                found[status.id] = int(events[0])
        return found

    def markdown(self) -> str:
        """The page: a heading, a sentence, the player."""
        environment = self.recording.environment
        player = step_through(self.recording)
        return (
            "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"
            f"# The whole call, step by step: transformers {self.version}\n\n"
            f"Recorded with {self.recorded_with} ({environment.get('platform')}): the script of the article, from "
            "`from_pretrained` to sixteen new tokens. Nothing runs while you step. Press **?** in the player for "
            "its keys. "
            "This page belongs to the site and cannot be mailed alone: "
            f'<a href="../downloads/recordings/{self.name}.json.gz" download>download the recording</a>, and '
            f"`python -m helpers show {self.name}.json.gz --html {self.name}.html` writes it as one page that can.\n\n"
            "## From `from_pretrained` to the text\n\n"
            f'<div class="wide">\n\n{_twin(player)}\n\n</div>\n'
        )


def _twin(player) -> str:
    from helpers.views.explorers import twin

    text = twin(player.explorer, player.twin_data(), player.static_html(), player.text())
    # In Markdown, a blank line would end the block of HTML.
    return "```{raw} html\n" + text + "\n```"


def pages(folder: Path = executions.FOLDER, say=None) -> list[PlayerPage]:
    """The player pages, oldest version first, the installed one last: that is made now, or kept from before, with a
    closer zoom; the others are the committed recordings of the tested versions.

    Raises SiteError when the reference recording cannot be made.
    """
    installed = landmarks.installed_version()
    others = [
        one for one in landmarks.tested_versions() if one != installed and reference_recording.path(one).is_file()
    ]
    recordings = [*map(reference_recording.committed, others), Recording.load(_reference(folder, say))]
    return [PlayerPage(recording) for recording in recordings]


def _reference(folder: Path, say) -> Path:
    content = [executions.package_fingerprint(), executions.installed_versions(), sys.version]
    key = hashlib.sha256(json.dumps(content).encode("utf-8")).hexdigest()[:16]
    file = folder / f"whole_call_{landmarks.installed_version()}-{key}.json.gz"
    if file.is_file():
        return file
    if say:
        say("the reference recording: running")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"unfinished-{os.getpid()}.json.gz")
    variables = dict(os.environ)
    notebooks.set_committed_environment(variables)  # of the demo checkpoint, on the CPU, whatever the reader has set
    result = subprocess.run(
        [sys.executable, "-c", _MAKE, str(unfinished)], env=variables, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise SiteError(f"The reference recording could not be made:\n{result.stderr[-2000:]}")
    for other in folder.glob(f"whole_call_{landmarks.installed_version()}-*.json.gz"):
        other.unlink()
    unfinished.replace(file)
    return file
