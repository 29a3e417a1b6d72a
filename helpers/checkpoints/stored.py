"""Checkpoint folders that this project writes: published in one step, and verified by hash before every use.

A folder is written beside its final place, gets its manifest last and is then renamed, so that a folder with
the final name is always complete. One process at a time builds; the others wait for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.checkpoint_error import CheckpointError

MANIFEST = "manifest.json"

# What this process has verified: folder -> (name, size, modification time) of each file at that moment.
_verified: dict[Path, tuple] = {}


def stored(folder: Path, recipe: str, write: Callable[[Path], None], *, remedy: str, rebuild: bool = False) -> Path:
    """Return `folder`, verified; build it with `write(unfinished_folder)` if it is absent, outdated or
    `rebuild`.

    recipe: the version of what `write` does; a folder built by another recipe is built again.
    remedy: the command or step that the reader is told to take when the folder was damaged.

    Raises CheckpointError when a file of the folder is missing, altered or foreign, and when the folder
    cannot be written; whatever `write` raises goes through, and then nothing is left behind.
    """
    if rebuild or _recipe(folder, remedy) != recipe:
        _build(folder, recipe, write, remedy=remedy, rebuild=rebuild)
    verify(folder, remedy=remedy)
    return folder


def is_stored(folder: Path, recipe: str) -> bool:
    """True when `folder` was built by `recipe`. Reads only the manifest; `verify` reads the files."""
    return _recipe(folder, "build it again") == recipe


def verify(folder: Path, *, remedy: str) -> None:
    """Check every file of `folder` against the manifest: SHA-256, none missing, none added.

    The result is kept for the life of the process and taken again only when a size or a modification time
    changes. Raises CheckpointError that names the first file that is wrong.
    """
    folder = Path(folder).resolve()
    files = _manifest(folder, remedy)["files"]
    present = {path.name: path for path in folder.iterdir() if not path.name.startswith(".")}
    for name in files:
        if name not in present:
            raise CheckpointError(f"{folder / name} is missing (the manifest lists it): {remedy}")
    foreign = sorted(set(present) - set(files) - {MANIFEST})
    if foreign:
        # transformers prefers, for instance, model.safetensors to the shards: an added file changes what is
        # loaded.
        raise CheckpointError(f"{folder / foreign[0]} is not part of this checkpoint: remove it, or {remedy}")
    state = tuple((name, stat.st_size, stat.st_mtime_ns) for name in files for stat in [present[name].stat()])
    if _verified.get(folder) == state:
        return
    for name, known in files.items():
        size = present[name].stat().st_size
        if size != known["bytes"]:
            raise CheckpointError(
                f"{folder / name} has {size} bytes instead of {known['bytes']} (truncated or altered): {remedy}"
            )
        if sha256(present[name]) != known["sha256"]:
            raise CheckpointError(f"{folder / name} was altered (its SHA-256 is not the manifest's): {remedy}")
    _verified[folder] = state


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _manifest(folder: Path, remedy: str) -> dict:
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        {name: (known["sha256"], known["bytes"]) for name, known in manifest["files"].items()}
        manifest["recipe"]
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing, so the checkpoint cannot be trusted: {remedy}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}: {error}): {remedy}") from error
    return manifest


def _recipe(folder: Path, remedy: str) -> str | None:
    """The recipe that built the folder; None when there is no folder, or an empty one."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file where a checkpoint folder is expected: move it away")
    return _manifest(folder, remedy)["recipe"]


def _build(folder: Path, recipe: str, write: Callable[[Path], None], *, remedy: str, rebuild: bool) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(_unwritable(folder.parent, error)) from error
    with _one_builder(folder):
        if not rebuild and _recipe(folder, remedy) == recipe:
            return  # another process built it while this one waited
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        if folder.exists() and not folder.is_dir():
            raise CheckpointError(f"{folder} is a file where a checkpoint folder is expected: move it away")
        try:
            _remove(unfinished)  # left by a build that was killed
            unfinished.mkdir()
            write(unfinished)
            _write_manifest(unfinished, recipe)
            _publish(unfinished, folder)
        except OSError as error:
            raise CheckpointError(_unwritable(folder, error)) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def _one_builder(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        # where no file can be made, the lock could wait for ever, as if another process had it
        with tempfile.TemporaryFile(dir=folder.parent):
            pass
        lock.acquire(timeout=0)
    except Timeout:
        print(f"Waiting for another process that is building {folder.name} ...", file=sys.stderr)
        lock.acquire()
    except OSError as error:
        raise CheckpointError(_unwritable(folder.parent, error)) from error
    try:
        yield
    finally:
        lock.release()


def _write_manifest(folder: Path, recipe: str) -> None:
    files = {}
    for path in sorted(folder.iterdir()):
        _flush(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"recipe": recipe, "files": files}, indent=2) + "\n", encoding="utf-8")
    _flush(manifest)


def _publish(unfinished: Path, folder: Path) -> None:
    """Rename into place. A folder cannot replace one that has content, so that one is moved aside first."""
    replaced = folder.with_name(f".{folder.name}.replaced")
    _remove(replaced)
    if folder.exists():
        os.replace(folder, replaced)
    os.replace(unfinished, folder)
    _flush(folder.parent)
    _remove(replaced)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _flush(path: Path) -> None:
    """Force a file or folder to the disk. Windows cannot open folders, and needs no flush of them."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(folder: Path, error: OSError) -> str:
    return (
        f"{folder} cannot be written ({error.strerror or error}): free disk space, or set TRACE_CACHE to a "
        "folder "
        "that can be written"
    )
