"""Time and peak memory of each notebook of the course, run as `make validate` runs it: demo checkpoint, CPU, offline.

A copy of each notebook is executed, one after the other, in a kernel of its own. Seconds are wall-clock, from the start
of the kernel to the result of the last cell. Processor seconds are those of the kernel and of what it started, on all
cores: on a busy machine they tell how much of the wall-clock figure is other programs'. Memory is the peak of resident
bytes, weights that are mapped from their files included: of the kernel alone, and of the kernel with the processes that
it started (a page that two of them share counts twice). All is read every 20 ms; of the kernel's memory, where the
system keeps a high-water mark, nothing is missed.

python benchmarks/bench_notebooks.py [NOTEBOOK ...]     (some of them: printed, not written)
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import psutil
from measure import seconds, write

from helpers import checkpoints, notebooks

MOST_MINUTES, MOST_GIGABYTES = 5, 3
"""Of all notebooks together on two cores, and of each: what the course promises."""
GIGABYTE = 1e9
INTERVAL_SECONDS = 0.02
_HIGH_WATER = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


class Watch:
    """While it is entered, watches the processes that this one starts: `kernel` and `together` are peaks in bytes,
    `processor` the seconds of computing."""

    def __init__(self) -> None:
        self.kernel = 0
        self.together = 0
        self.processor = 0.0
        self._seconds: dict[int, float] = {}  # by process id, as last seen: the kernel's helpers end before it
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(INTERVAL_SECONDS):
            with contextlib.suppress(psutil.NoSuchProcess):
                self._read(own)

    def _read(self, own: psutil.Process) -> None:
        for kernel in own.children():
            self.kernel = max(self.kernel, _peak(kernel))
        resident = 0
        for process in own.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended while the list was read
                resident += process.memory_info().rss
                times = process.cpu_times()
                self._seconds[process.pid] = times.user + times.system
        self.together = max(self.together, self.kernel, resident)
        self.processor = sum(self._seconds.values())


def _peak(process: psutil.Process) -> int:
    """The highest resident bytes so far, from the system where it keeps them, else those of now."""
    with contextlib.suppress(OSError):
        found = _HIGH_WATER.search(Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace"))
        if found:
            return int(found[1]) * 1024
    return process.memory_info().rss


def measured(path: Path, folder: Path) -> tuple[float, Watch]:
    """(seconds, what was seen) of one notebook, executed as a copy in `folder`. Raises NotebookError as `execute`."""
    copy = shutil.copy(path, folder)
    with Watch() as watch:
        taken = seconds(lambda: notebooks.execute(Path(copy)))
    return taken, watch


def main(chosen: list[Path]) -> None:
    notebooks.set_committed_environment(os.environ)
    checkpoints.demo()  # built before the clock runs
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for path in chosen:
            rows.append((path.stem, *measured(path, Path(folder))))
            print(f"{path.stem}: {rows[-1][1]:.0f} s", file=sys.stderr)
    total = sum(taken for _, taken, _ in rows)
    largest = max(watch.together for *_, watch in rows) / GIGABYTE
    computing = sum(watch.processor for *_, watch in rows)
    lines = [
        "| notebook | seconds | processor seconds | GB, its kernel | GB, with the processes that it starts |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {taken:.0f} | {watch.processor:.0f} | {watch.kernel / GIGABYTE:.2f} "
            f"| {watch.together / GIGABYTE:.2f} |"
            for name, taken, watch in rows
        ),
        f"| {len(rows)} together | {total:.0f} | {computing:.0f} | | |",
        "",
        f"All together {total / 60:.1f} minutes (the course promises at most {MOST_MINUTES} on two cores); the largest "
        f"{largest:.2f} GB (at most {MOST_GIGABYTES}). Load of the machine in the last 5 minutes: "
        f"{psutil.getloadavg()[1]:.1f} on {os.cpu_count()} cores.",
    ]
    table = "\n".join(lines)
    if len(rows) == len(notebooks.paths()):
        write("notebooks", "Time and peak memory of the notebooks", table)
    else:
        print(table)  # a part is no result


if __name__ == "__main__":
    main([Path(name).resolve() for name in sys.argv[1:]] or notebooks.paths())
