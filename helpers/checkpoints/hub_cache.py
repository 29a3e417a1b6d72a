"""A Hub cache made by hand from a local checkpoint: `from_pretrained` finds a Hub id in it without any network.

The layout is huggingface_hub's own (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): `refs/main` names
a commit, `snapshots/COMMIT/` has the files under their names, each a link to a blob that is named by the hash of its
content, and an empty file under `.no_exist/COMMIT/` remembers that the Hub was asked for a file which it does not have.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints.stored import sha256

LARGE_FILE_SUFFIXES = (".safetensors", ".bin")
"""Kept on the Hub as large files: their blobs are named by SHA-256, all others by git's SHA-1."""


def write(checkpoint: str | Path, cache: str | Path, repository: str, *, absent: tuple[str, ...] = ()) -> Path:
    """Lay `checkpoint` out in `cache` as if `repository` (owner/name) had been downloaded; return its folder.

    Nothing large is copied: blobs of large files are links to those of `checkpoint`. `absent`: names to mark as not on
    the Hub. Raises CheckpointError when `checkpoint` has no config.json or holds one of the `absent` files, and when
    `repository` is no Hub id.
    """
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    checkpoint = Path(checkpoint).resolve()
    if not (checkpoint / "config.json").is_file():
        raise CheckpointError(f"{checkpoint} has no config.json, so it is no checkpoint: give the folder of one")
    for name in absent:
        if (checkpoint / name).exists():
            raise CheckpointError(f"{checkpoint} holds {name}, so it cannot be marked as absent: leave it out")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise CheckpointError(f"{repository!r} is no Hub id: give owner/name") from error
    folder = Path(cache) / f"models--{repository.replace('/', '--')}"
    files = {path.name: path for path in sorted(checkpoint.iterdir()) if path.is_file()}
    blobs = {name: _blob_name(path) for name, path in files.items()}
    commit = hashlib.sha1("".join(f"{name} {blob}\n" for name, blob in blobs.items()).encode()).hexdigest()
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    for name, path in files.items():
        blob = folder / "blobs" / blobs[name]
        if path.suffix in LARGE_FILE_SUFFIXES:
            _link(path, blob, path)
        else:
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, blob)
        _link(Path("..", "..", "blobs", blob.name), folder / "snapshots" / commit / name, path)
    for name in absent:
        marker = folder / ".no_exist" / commit / name
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    return folder


def _blob_name(path: Path) -> str:
    """The name that the Hub gives to the content of a file."""
    if path.suffix in LARGE_FILE_SUFFIXES:
        return sha256(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _link(target: Path, place: Path, content: Path) -> None:
    """Make `place` a link to `target`; where links need a privilege (Windows), a copy, as huggingface_hub does."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or place.exists():
        place.unlink()
    try:
        os.symlink(target, place)
    except OSError:
        shutil.copyfile(content, place)
