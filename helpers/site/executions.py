"""Executed notebooks, kept by their content: one that did not change, in an environment that did not, runs once.

An execution is of a notebook's cells without their outputs, this package, the installed versions, and the reader's
TRACE_ variables. Explorers are shown as pages (twins): alive without a kernel.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from helpers import notebooks
from helpers.checkpoints import cache_folder
from helpers.project import DISTRIBUTION, ROOT
from helpers.site import SiteError, widget_outputs
from helpers.site.peak_memory import PeakMemory
from helpers.whole_file import write_whole

NAMED_PACKAGES = ("transformers", "torch", "accelerate", "safetensors", "tokenizers", "huggingface_hub")
READERS_OWN = ("TRACE_MODEL", "TRACE_DEVICE", "TRACE_DTYPE")
"""What the reader may set: a page is then of that model, on that device."""
MOST_OF_AN_ERROR = 120
"""Characters of what a library says of a file."""
NOT_RUN = ("site", "__pycache__")
"""Folders of this package that no notebook imports."""


def kept_in(root: Path) -> Path:
    """A checkout keeps executions in its build folder; a package that is installed into an environment in the cache
    folder, since its own place may be shared, or not be written to."""
    checkout = (root / "pyproject.toml").is_file()
    return (root / "build" if checkout else cache_folder()) / "executions"


FOLDER = kept_in(ROOT)


@dataclass(frozen=True)
class Execution:
    """How an executed notebook came about. `seconds` of the whole run; `peak_bytes`: the most resident memory of its
    process and those that it started, together, None where the system does not tell; `executed_at`: UTC, to the
    minute."""

    name: str
    seconds: float
    peak_bytes: int | None
    versions: dict[str, str]
    python: str
    platform: str
    device: str
    settings: dict[str, str]
    executed_at: str

    @property
    def recorded_with(self) -> str:
        """The versions and the device in half a sentence."""
        return f"transformers {self.versions['transformers']}, torch {self.versions['torch']}, on {self.device}"


def executed(path: Path, folder: Path = FOLDER, say=None, again: bool = False) -> tuple[object, Execution]:
    """The notebook at `path`, executed (an nbformat notebook), and how that was; run now only where it is not kept.

    What a notebook reads from files is not looked at: `again` runs it all the same.
    `say` is called with a line of text before a notebook runs. Raises NotebookError, which names the notebook and the
    cell, when one fails; nothing is kept then.
    """
    import nbformat

    name = f"{path.stem}-{_place(path)}"
    kept = folder / f"{name}-{fingerprint(path)[:16]}"
    execution = None if again else _kept_execution(kept)
    if execution is None:
        if say:
            say(f"{path.name}: running")
        _run(path, kept)
        _forget_others(kept, name)
        execution = _kept_execution(kept)
    return nbformat.read(kept / path.name, as_version=4), execution


def _kept_execution(kept: Path) -> Execution | None:
    """What is kept in this folder; None where nothing is, or what an Execution of today does not hold."""
    file = kept / "execution.json"
    if not file.is_file():
        return None
    try:
        return Execution(**json.loads(file.read_text(encoding="utf-8")))
    except (TypeError, ValueError):  # other fields, or no JSON: written by another version of this package
        return None


def read(path: Path):
    """The notebook in this file (nbformat's). Raises SiteError for what is none, and for one without cells."""
    import nbformat

    try:
        notebook = nbformat.read(path, as_version=4)
        cells = [(cell.cell_type, cell.source, cell.metadata) for cell in notebook.cells]
    except (ValueError, AttributeError, KeyError, TypeError, nbformat.ValidationError) as error:
        raise SiteError(f"{path.name} is not a notebook that can be read: {_first_line(error)}") from error
    except OSError as error:
        raise SiteError(f"{path.name} cannot be read ({error.strerror}).") from error
    if not cells:
        raise SiteError(f"{path.name} has no cells: there is nothing to show.")
    return notebook


def _first_line(error: Exception) -> str:
    """What an error says, without what it was raised over: nbformat's says the whole file."""
    words = str(error.__cause__ or error).strip() or type(error).__name__
    return words.splitlines()[0][:MOST_OF_AN_ERROR]


def fingerprint(path: Path) -> str:
    """A hash of all that the outputs of the notebook at `path` depend on."""
    cells = [(cell.cell_type, cell.source, cell.metadata.get("alt")) for cell in read(path).cells]
    content = [cells, _place(path), package_fingerprint(), installed_versions(), platform.python_version()]
    content.append(_settings(os.environ))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()


def _place(path: Path) -> str:
    """Of the folder of a notebook, eight characters: two of one name, in two folders, are two notebooks, since
    elsewhere than in the course the files beside them are not known."""
    folder = path.resolve().parent
    if folder == ROOT / notebooks.FOLDER:
        return "course"
    return hashlib.sha256(str(folder).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def package_fingerprint() -> str:
    """A hash of all files of this package that a notebook could import or show."""
    package = Path(notebooks.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.is_file() and not any(part in NOT_RUN for part in file.relative_to(package).parts):
            digest.update(f"{file.relative_to(package).as_posix()}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def installed_versions() -> dict[str, str]:
    """The version of each package that this project stands on, by name."""
    requirements = (Requirement(text) for text in metadata.requires(DISTRIBUTION) or [])
    names = {requirement.name for requirement in requirements if requirement.marker is None}
    return {name: metadata.version(name) for name in sorted(names | set(NAMED_PACKAGES))}


def _settings(variables: Mapping[str, str]) -> dict[str, str]:
    """What of READERS_OWN is set."""
    return {name: variables[name] for name in READERS_OWN if variables.get(name, "").strip()}


def _shown(value: str) -> str:
    """A setting without the folders of this machine: of a path, its last part."""
    path = Path(value).expanduser()
    return path.name if path.is_absolute() else value


def kernel_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of the kernel: as for a committed notebook, but the reader's own model and device, and twins."""
    changed = dict(variables)
    notebooks.set_committed_environment(changed)
    return {**changed, **_settings(variables), "TRACE_EXPLORERS": "page"}


def _run(path: Path, kept: Path) -> None:
    import nbformat

    notebook = read(path)
    variables = kernel_variables(os.environ)
    started, executed_at = time.perf_counter(), datetime.now(UTC)
    with PeakMemory() as peak:
        notebooks.run(notebook, path, variables, peak.watch, widget_outputs.show)
    seconds = time.perf_counter() - started
    versions = installed_versions()
    execution = Execution(
        name=path.stem,
        seconds=round(seconds, 1),
        peak_bytes=peak.nbytes,
        versions={name: versions[name] for name in NAMED_PACKAGES},
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=_device(variables["TRACE_DEVICE"]),
        settings={name: _shown(value) for name, value in _settings(os.environ).items()},
        executed_at=executed_at.strftime("%Y-%m-%d %H:%M UTC"),
    )
    write_whole(kept / path.name, nbformat.writes(notebook).encode("utf-8"))
    write_whole(kept / "execution.json", json.dumps(asdict(execution), indent=1).encode("utf-8"))  # last: it is whole


def _device(wanted: str) -> str:
    from helpers.devices import checked_device, describe_devices

    device = str(checked_device(wanted))
    names = {found.device: found.name for found in describe_devices()}
    if device == "cpu":
        return f"the {names[device]}"
    return f"{device} ({names[device]})" if device in names else device


def _forget_others(kept: Path, name: str) -> None:
    """Remove what was kept of this notebook before."""
    import shutil

    for other in kept.parent.glob(f"{glob.escape(name)}-*"):
        if other != kept and len(other.name) == len(kept.name):
            shutil.rmtree(other)
