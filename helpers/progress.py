"""Tokens so far while a recorded generation takes long: on stderr, in a notebook in an output of its own."""

from __future__ import annotations

import os
import sys

DELAY_SECONDS = 2
"""Nothing is shown of a generation that is done before."""
INTERVAL_SECONDS = 0.2
"""Between two drawings of the line."""


def is_watched() -> bool:
    """Whether a person sees stderr now: a terminal or a notebook's kernel, and TQDM_DISABLE is not set."""
    if os.environ.get("TQDM_DISABLE"):
        return False
    return _is_notebook() or _is_terminal(sys.stderr)


def _is_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")


def _is_terminal(stream) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):  # another object in its place, or it is closed
        return False


class _Output:
    """A file for one line: an output of the cell that each line replaces; a blank line leaves nothing to be seen.

    Written to stderr instead, the blanks that wipe a line out of a terminal would stay in the notebook.
    """

    def __init__(self) -> None:
        self._handle = None

    def write(self, text: str) -> None:
        line = text.strip()
        if self._handle is not None:
            self._handle.update(_shown(line), raw=True)
        elif line:
            from IPython.display import DisplayHandle

            self._handle = DisplayHandle()
            self._handle.display(_shown(line), raw=True)

    def flush(self) -> None:
        """A line is shown when it is written."""


def _shown(line: str) -> dict[str, str]:
    """What is shown of a line, by MIME type. Empty HTML takes no place; what has no type at all is warned of."""
    return {"text/plain": line} if line else {"text/html": "", "text/plain": ""}


class GenerationProgress:
    """A line that counts the tokens of each sequence of one generation after the other, and is gone at its end."""

    def __init__(self) -> None:
        self._bar = None

    def begin(self) -> None:
        """A generation begins."""
        self._call(self._open)

    def tokens(self, count: int) -> None:
        """Each of its sequences has so many more tokens."""
        if self._bar is not None:
            self._call(lambda: self._bar.update(count))

    def end(self) -> None:
        """It ended; so does the line, if there is one."""
        if self._bar is not None:
            self._call(self._bar.close)
            self._bar = None

    def _open(self) -> None:
        from tqdm import tqdm

        class Line(tqdm):
            monitor_interval = 0  # no thread of its own: it would outlive the recording

        self._bar = Line(
            desc="recorded",
            unit=" tokens",
            delay=DELAY_SECONDS,
            mininterval=INTERVAL_SECONDS,
            miniters=1,  # without it, and without a monitor thread, a slower rate would stop the line
            leave=False,
            file=_Output() if _is_notebook() else sys.stderr,
            disable=False,  # decided by is_watched(); tqdm itself reads TQDM_DISABLE once, when it is imported
        )

    def _call(self, show) -> None:
        """A stderr that was closed meanwhile ends the line, never the program that is recorded."""
        try:
            show()
        except (OSError, ValueError):
            self._bar = None
