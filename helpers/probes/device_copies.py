"""How long the copies of a load's tensors to a GPU took, on the GPU's own clock.

A CUDA event is put on the stream before and after each copy; nothing waits for them while the load runs. They are
resolved once, when the recording ends. Copies of several worker threads share a stream, so the time between the two
events of one tensor may hold parts of others: of a shard, what counts is from its first event to its last.

This was written without a GPU at hand: the arithmetic is tested with events that are made up, the rest was not run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import torch

NANOSECONDS = 1e6  # in a millisecond


class Event(Protocol):
    """What is used of a torch.cuda.Event."""

    def synchronize(self) -> None: ...

    def elapsed_time(self, end: Event) -> float: ...


def _cuda_event(device: torch.device) -> Event:
    """A timing event, recorded now on the device's current stream."""
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


class DeviceCopies:
    """Collects pairs of events by checkpoint key. `mark(device)` records an event on a device's stream."""

    def __init__(self, mark: Callable[[torch.device], Event] = _cuda_event) -> None:
        self._mark = mark
        self._first: dict[str, Event] = {}  # by device: the times of a load are counted from it
        self._pairs: dict[str, tuple[str, Event, Event]] = {}
        self._local = threading.local()

    def begin(self, device: object) -> None:
        """A copy to `device` begins in this thread; nothing happens where that is no GPU."""
        self._local.begun = None
        if device is None or str(device) in ("cpu", "meta", "disk", "mps"):
            return
        device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        if device.type == "cuda":
            event = self._mark(device)
            self._first.setdefault(str(device), event)
            self._local.begun = (device, event)

    def end(self, key: str) -> None:
        """The copy that this thread began last, of this key of the checkpoint, is queued."""
        if getattr(self._local, "begun", None) is not None:
            device, event = self._local.begun
            self._pairs[key] = (str(device), event, self._mark(device))

    def resolve(self) -> dict[str, tuple[int, int]]:
        """Key to (begin, end) of its copy, nanoseconds since the load's first copy to that device began. Waits."""
        resolved = {}
        for key, (device, begin, end) in self._pairs.items():
            end.synchronize()
            first = self._first[device]
            # a thread may have marked before the thread whose event counts as the first
            resolved[key] = tuple(round(first.elapsed_time(event) * NANOSECONDS) for event in (begin, end))
        return resolved
