"""Folders that may not be there yet."""

from __future__ import annotations

from pathlib import Path


def nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that there is: on its disk the folder will be made. It may be a file."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())
