"""The most memory that a process and those that it starts have had together, while it runs."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

INTERVAL_SECONDS = 0.1
"""How often processes that share pages are looked at: that costs some 10 ms for each."""


class PeakMemory:
    """While it is entered, watches the process that it was told of (`watch`) and those that this one starts.

    `nbytes`: the most resident memory so far; None before a process was told of, and where the system does not tell.
    Of the process alone that is the kernel's own count, which misses no peak. Together with others it is looked at
    every INTERVAL_SECONDS, and a page that several of them share counts once.
    """

    def __init__(self) -> None:
        self.nbytes: int | None = None
        self._process: int | None = None
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_again, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def watch(self, process: int) -> None:
        """Watch the process with this id from now on, and look at it now."""
        self._process = process
        self._look()

    def _look_again(self) -> None:
        while not self._ended.wait(INTERVAL_SECONDS):
            if self._process is not None:
                self._look()

    def _look(self) -> None:
        with self._looking:
            found = [_peak_resident(self._process), _together(self._process), self.nbytes]
            self.nbytes = max((one for one in found if one is not None), default=None)


def _peak_resident(process: int) -> int | None:
    """The most resident memory that a process has had, in bytes; None where the system keeps no count."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it has ended
            for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        with contextlib.suppress(psutil.Error):
            return psutil.Process(process).memory_info().peak_wset
    return None


def _together(process: int) -> int | None:
    """What the process and those that it started have in memory now, in bytes; None where it is alone, or has ended,
    or where the system does not tell what they share."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process).children(recursive=True)
        if started and sys.platform == "linux":
            return sum(filter(None, map(_share, [psutil.Process(process), *started])))
    return None


def _share(process) -> int | None:
    """The memory of a process, of a page that n processes share the n-th part; None where it has ended."""
    import psutil

    with contextlib.suppress(psutil.Error):
        return process.memory_full_info().pss
    return None
