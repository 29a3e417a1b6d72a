"""Interleaved runs and their medians, and the machine they were made on."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from datetime import date
from importlib import metadata
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "accelerate")


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of one run."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(
    plain: Callable[[], object],
    recorded: Callable[[], object],
    pairs: int = 9,
    timed: Callable[[Callable], float] = seconds,
) -> dict[str, float]:
    """Run both alternately, `pairs` times after one warm-up, and compare; `timed` runs one and gives its seconds.

    Gives the median of the pairwise ratios, the smallest and the largest ratio, and the two median times in seconds.
    """
    plain(), recorded()
    times = [(timed(plain), timed(recorded)) for _ in range(pairs)]
    ratios = [with_it / without for without, with_it in times]
    return {
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "plain": statistics.median(without for without, _ in times),
        "recorded": statistics.median(with_it for _, with_it in times),
    }


def processor() -> str:
    """The name of the processor, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """The machine in a line: processor, cores, Python, library versions, GPU if there is one."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in PACKAGES)
    place = ", ".join([processor(), f"{os.cpu_count()} cores", *(gpus or ["no GPU"])])
    return f"{place}; Python {platform.python_version()}, {versions}; {date.today():%Y-%m-%d}"


def write(name: str, title: str, table: str) -> Path:
    """Write a result beside the description of its machine; returns the file."""
    where = re.sub(r"[^a-z0-9]+", "-", f"{processor()} {os.cpu_count()} cores py{platform.python_version()}".lower())
    file = RESULTS / f"{name}--{where.strip('-')}.md"
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"# {title}\n\n{machine()}\n\n{table}\n", encoding="utf-8")
    print(f"{title}\n{machine()}\n\n{table}\n\nwritten to {file.relative_to(RESULTS.parent.parent)}")
    return file
