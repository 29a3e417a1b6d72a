"""source(): the text of a function as it was installed where the recording was made. See `Recording.source`.

It comes from the recording; what did not travel with it, from the files of the same release, where it is installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from ..events import KINDS, NOT_OBSERVED, RecordingError
from ..permalinks import REPOSITORIES, permalink
from ..recording.recording import Recording
from ..recording.rows import Function
from .installed_source import installed_text
from .requirements import require_event, require_finished


@dataclass(frozen=True)
class Source:
    """The source of one function, as text with line numbers, in a terminal and in HTML.

    `text`: as installed, decorators included; `file`: relative to site-packages; `first_line`: of `text`, in `file`;
    `executed_lines`: numbers in `file` of the lines that ran in this call, ascending; None where lines were not
    recorded. `permalink`: the same lines on GitHub, at the tag of the recorded release; None where there is none, and
    then `no_permalink` says why (else it is "").
    """

    module: str
    qualname: str
    file: str
    first_line: int
    text: str
    permalink: str | None
    no_permalink: str
    executed_lines: tuple[int, ...] | None = None

    @property
    def lines(self) -> list[tuple[int, str]]:
        """(number in `file`, text) of each line."""
        return list(enumerate(_lines(self.text), start=self.first_line))

    @property
    def last_line(self) -> int:
        """Number, in `file`, of the last line of `text`."""
        return self.first_line + len(_lines(self.text)) - 1

    def _marked(self) -> list[tuple[str, str]]:
        """(gutter, text) of each line; the gutter has the number, and ▸ where the line ran."""
        width = len(str(self.last_line))
        executed = frozenset(self.executed_lines or ())
        return [(f"{'▸' if number in executed else ' '} {number:>{width}}", line) for number, line in self.lines]

    def __repr__(self) -> str:
        place = self.permalink or f"no permalink: {self.no_permalink}"
        body = "\n".join(f"{gutter}  {line}".rstrip() for gutter, line in self._marked())
        return f"{self.module}:{self.qualname}\n{self.file}:{self.first_line}\n{place}\n{body}"

    def _repr_html_(self) -> str:
        place = f"{escape(self.file)}, lines {self.first_line} to {self.last_line}"
        if self.permalink:
            place = f'<a href="{escape(self.permalink)}" target="_blank" rel="noopener noreferrer">{place}</a>'
        else:
            place += f" (no permalink: {escape(self.no_permalink)})"
        # The gutter is left out when the text is selected and copied.
        body = "\n".join(
            f'<span style="user-select:none;opacity:.8">{escape(gutter)}  </span>{escape(line)}'
            for gutter, line in self._marked()
        )
        return (
            f"<p><code>{escape(self.qualname)}</code>, {place}</p>"
            f'<pre style="overflow:auto;max-height:40em">{body}</pre>'
        )


def _lines(text: str) -> list[str]:
    """Lines as Python and GitHub count them: str.splitlines would end one at a form feed too."""
    return text.removesuffix("\n").split("\n")


def source(recording: Recording, event: object) -> Source:
    """See `Recording.source`."""
    require_finished(recording)
    require_event(recording, event, "source")
    index = int(recording.events["function"][event])
    function = recording.functions[index]
    text = recording.sources.get(f"{function.module}:{function.qualname}")
    if text is None or _is_another_function(recording, function):
        text, reason = installed_text(function, recording.environment)
        if text is None:
            raise RecordingError(_why_missing(recording, index, reason) + _caller_of_builtin(recording, int(event)))
    last_line = function.line + len(_lines(text)) - 1
    link, reason = permalink(function.file, function.line, last_line, recording.environment)
    executed = _executed_lines(recording, int(event))
    return Source(function.module, function.qualname, function.file, function.line, text, link, reason, executed)


def _executed_lines(recording: Recording, event: int) -> tuple[int, ...] | None:
    rows = recording.line_rows
    ran = {int(line) for line in rows["line"][rows["event"] == event]}
    return tuple(sorted(ran)) or None


def _is_another_function(recording: Recording, function: Function) -> bool:
    """Whether two recorded functions have this name, so that the text that is kept may be the other's."""
    twins = {
        (other.file, other.line)
        for other in recording.functions
        if (other.module, other.qualname) == (function.module, function.qualname)
    }
    return len(twins) > 1


def _caller_of_builtin(recording: Recording, event: int) -> str:
    """Where a builtin was called, whose source is what can be read; "" for anything else."""
    parent = int(recording.events["parent"][event])
    if KINDS[recording.events["kind"][event]] != "builtin" or parent == NOT_OBSERVED:
        return ""
    caller = recording.functions[recording.events["function"][parent]].qualname
    return f" It was called within {caller}: see source({parent})."


def _why_missing(recording: Recording, index: int, not_here: str) -> str:
    function = recording.functions[index]
    name = f"{function.module}:{function.qualname}"
    if not function.line:
        return f"{name} is a builtin: it has no Python source."
    if name in recording.sources:
        return (
            f"Several functions are called {name}: which of them the recording's text belongs to is not known, and the "
            f"installed text is not that of the recording: {not_here}."
        )
    if index in {status.function for status in recording.landmark_statuses}:
        why = f"{function.file} could not be read when it was made"
    else:
        why = "sources travel for landmarks and for functions whose lines were recorded"
    if function.file.startswith("<") and not function.file.startswith("<ipython-input"):
        return f"{name} was made from a text (exec, torch.fx, a dataclass): no file holds its source."
    if function.file.partition("/")[0] not in REPOSITORIES:
        return (
            f"{name} is no function of a published package, and the text of your own functions is kept only where you "
            f'ask for their lines: record it with lines=("{name}",). It stands at {function.location}.'
        )
    return (
        f"The source of {name} is not in this recording ({why}), and not to be had here: {not_here}. Where the "
        f"versions of the recording are installed, it stands at {function.location}."
    )
