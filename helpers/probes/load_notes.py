"""What the hooks of the load note of one from_pretrained; the rows of the ledger are made of it (`load_rows`)."""

from __future__ import annotations

from typing import NamedTuple

from .device_copies import DeviceCopies


class Final(NamedTuple):
    """A parameter when from_pretrained returned; shape and bytes are those in this process."""

    dtype: str | None = None
    device: str | None = None
    nbytes: int | None = None
    tied_to: str | None = None
    shape: tuple[int, ...] | None = None
    placement: str | None = None


class Load:
    """One from_pretrained, while it runs."""

    def __init__(self, *, wanted: bool = False) -> None:
        self.wanted = wanted  # by a call of from_pretrained; another runs within that, as an adapter's does
        self.begun = False  # its driver runs; before that, from_pretrained looks for files
        self.files: list[str] = []
        self.targets: dict[str, str] = {}  # checkpoint key to parameter name
        self.firsts: set[str] = set()  # those names: each the first of the parameters that its keys fill
        self.stored: dict[str, tuple[str | None, str | None, tuple[int, ...] | None]] = {}  # key to file, dtype, shape
        self.work: dict[str, tuple[str, int, int]] = {}  # key to thread, start, end of reading, casting and moving
        self.placed: dict[str, tuple[str, int]] = {}  # parameter to thread and time
        self.split: dict[str, str] = {}  # parameter to the first that is filled from the same keys (5.x)
        self.offloaded: set[str] = set()
        self.missing: set[str] = set()
        self.unexpected: set[str] = set()
        self.mismatched: set[str] = set()
        self.information: object = None  # where 5.x notes them meanwhile: names and shapes
        self.final: dict[str, Final] = {}  # by parameter
        self.prefix = ""  # of the model inside its class with a head, as in "model.layers"
        self.copies = DeviceCopies()
        self.ended = True  # False: an error left it
