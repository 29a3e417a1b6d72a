"""Ends the processes of a run when the process that started it is gone, however that one ended.

    python -m helpers.rank_watch MARK FOLDER

Its standard input is a pipe whose other end the starting process holds: the system closes it with that process, also
when it was killed. Then every process that has MARK in its environment is ended, and FOLDER is removed. A byte in the
pipe says that there is nothing to do any more.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress

import psutil

MARK = "TRACE_RANKS_OF"
"""In the environment of a run's processes, so that each is found, whoever its parent is by now."""
SECONDS_TO_END = 40
"""torch.distributed.run gives its ranks 30 to end before it kills them."""


def marked(mark: str) -> list[psutil.Process]:
    """The processes of the run that has this mark in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # somebody else's, or gone
    return found


def end_marked(mark: str, *, seconds: float = 0) -> None:
    """End the processes of a run: asked to where `seconds` are given to them, and killed after these."""
    left = marked(mark)
    for process in left if seconds else ():
        with suppress(psutil.NoSuchProcess):  # it ended by itself
            process.terminate()
    left = psutil.wait_procs(left, timeout=seconds or 1)[1]
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=SECONDS_TO_END)


if __name__ == "__main__":
    mark, folder = sys.argv[1:]
    if not sys.stdin.buffer.read():
        end_marked(mark, seconds=SECONDS_TO_END)
        shutil.rmtree(folder, ignore_errors=True)  # what cannot be removed lies in the system's folder for such things
