"""`python -m helpers doctor`: is this environment fit to run the notebooks? One line for each answer.

Made to be pasted into a bug report: it names versions and figures, and no home directory.
"""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from helpers.folders import nearest_existing
from helpers.lab import FIRST_NOTEBOOK
from helpers.probes.redact import without_home
from helpers.project import DISTRIBUTION, INSTALL, ROOT

OK, WARN, FAIL = "OK", "WARN", "FAIL"
GIGABYTE = 1e9
MEMORY_NEEDED = 2.0 * GIGABYTE
"""Bytes. The largest kernel of the notebooks on the demo checkpoint in float32 took 1.3 GB on Linux; and some air."""
NAMED_PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "tokenizers", "huggingface_hub")
"""Those whose version stands on a line of its own."""


@dataclass(frozen=True)
class Finding:
    """One line of the report: `status` is OK, WARN or FAIL; `advice` says what to do, and is None for OK."""

    status: str
    subject: str
    text: str
    advice: str | None = None

    def __str__(self) -> str:
        advice = f" -> {self.advice}" if self.advice else ""
        return without_home(f"{self.status:<6}{self.subject:<16}{self.text}{advice}")


def check_python() -> Iterator[Finding]:
    """Python's version against what the packages support."""
    text = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding(OK, "python", text)
    else:
        yield Finding(FAIL, "python", text, "use Python 3.11, 3.12 or 3.13")


def check_packages() -> Iterator[Finding]:
    """Every package that pyproject.toml requires: installed, and in its range."""
    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        yield Finding(FAIL, "packages", f"{DISTRIBUTION} is not installed in this Python", INSTALL)
        return
    yield Finding(OK, "helpers", f"{_version(DISTRIBUTION)}, {DISTRIBUTION}")
    required = [entry for entry in requirements if not entry.marker and entry.name != "transformers"]
    problems = {}
    for entry in required:
        installed = _version(entry.name)
        if installed is None:
            problems[entry.name] = f"not installed (needed: {entry.specifier})"
        elif not entry.specifier.contains(installed, prereleases=True):
            problems[entry.name] = f"{installed} is not {entry.specifier}"
        if entry.name in NAMED_PACKAGES and entry.name not in problems:
            yield Finding(OK, entry.name, str(installed))
    for name, problem in problems.items():
        yield Finding(FAIL, name, problem, INSTALL)
    others = [entry.name for entry in required if entry.name not in (*NAMED_PACKAGES, *problems)]
    yield Finding(OK, "other packages", f"{len(others)} installed, in the ranges of pyproject.toml")


def check_transformers() -> Iterator[Finding]:
    """Whether transformers is there, can be imported, and lies in the range that was tested."""
    installed = _version("transformers")
    if installed is None:
        yield Finding(FAIL, "transformers", "not installed", INSTALL)
        return
    problem = _import_problem("transformers")
    if problem:
        yield Finding(FAIL, "transformers", f"{installed} cannot be imported: {problem}", INSTALL)
        return
    yield transformers_finding(installed)


def transformers_finding(installed: str) -> Finding:
    """OK for a version inside the tested range; outside it a warning that names the nearest one."""
    from helpers import landmarks

    warning = landmarks.version_warning(installed)
    if warning:
        return Finding(WARN, "transformers", warning)
    tested = landmarks.tested_versions()
    return Finding(OK, "transformers", f"{installed}, tested from {tested[0]} to {tested[-1]}")


def check_landmarks() -> Iterator[Finding]:
    """Whether the functions that the landmark table names are in the installed version; runs none of them."""
    if any(_version(name) is None or _import_problem(name) for name in ("torch", "transformers", "accelerate")):
        return  # told by the other checks
    from helpers import drift

    text, well = drift.summary()
    if well:
        yield Finding(OK, "landmarks", f"{text} (that they also fire: python -m helpers doctor --drift)")
    else:
        advice = "what moved is shown as not observed; all of it: python -m helpers doctor --drift"
        yield Finding(WARN, "landmarks", text, advice)


def check_devices() -> Iterator[Finding]:
    """The devices that are there, and the one that the notebooks choose."""
    problem = _import_problem("torch")
    if problem:
        yield Finding(FAIL, "device", f"torch cannot be imported: {problem}", INSTALL)
        return
    from helpers import devices

    for device in devices.describe_devices():
        yield Finding(OK, device.device, f"{device.name}, {_free(device.free, device.total)}")
    try:
        chosen = devices.chosen_device()
        dtype = str(devices.chosen_dtype(chosen)).removeprefix("torch.")
    except devices.DeviceError as error:
        yield Finding(FAIL, "chosen device", str(error), "set or unset TRACE_DEVICE and TRACE_DTYPE as it says")
        return
    yield Finding(OK, "chosen device", f"{chosen} in {dtype}")


def check_memory() -> Iterator[Finding]:
    """Main memory against what the demo checkpoint needs."""
    from helpers.main_memory import main_memory

    memory = main_memory()
    text = _free(memory.free, memory.total)
    if memory.free >= MEMORY_NEEDED:
        yield Finding(OK, "memory", text)
    else:
        advice = f"close other programs; the notebooks need about {_gigabytes(MEMORY_NEEDED)}"
        yield Finding(WARN, "memory", text, advice)


def check_disk() -> Iterator[Finding]:
    """Free space where the demo checkpoint is, or will be, built."""
    from helpers import checkpoints
    from helpers.checkpoints.demo_build import SPACE_NEEDED

    folder = checkpoints.cache_folder()
    usage = shutil.disk_usage(nearest_existing(folder))
    text = f"{_free(usage.free, usage.total)} for {folder}"
    if usage.free >= SPACE_NEEDED:
        yield Finding(OK, "disk", text)
    else:
        advice = f"free {_gigabytes(SPACE_NEEDED)}, or set TRACE_CACHE to a folder on another disk"
        yield Finding(WARN, "disk", text, advice)


def check_model() -> Iterator[Finding]:
    """The demo checkpoint, without building it; and the reader's own model where TRACE_MODEL names one."""
    from helpers import checkpoints

    try:
        if checkpoints.demo_is_built():
            yield Finding(OK, "checkpoint", f"present and intact: {checkpoints.demo(progress=False)}")
        else:
            text = "the demo checkpoint is not built yet; it will be on first use"
            yield Finding(WARN, "checkpoint", text, "python -m helpers checkpoint")
    except checkpoints.CheckpointError as error:
        yield Finding(FAIL, "checkpoint", str(error), "python -m helpers checkpoint --rebuild")
    if os.environ.get("TRACE_MODEL", "").strip():
        try:
            yield Finding(OK, "TRACE_MODEL", checkpoints.chosen())
        except checkpoints.CheckpointError as error:
            yield Finding(FAIL, "TRACE_MODEL", str(error), "correct TRACE_MODEL, or unset it")


def check_widgets() -> Iterator[Finding]:
    """The widget packages, and the front-end part without which JupyterLab shows only their text."""
    from jupyter_core.paths import jupyter_path

    for name, extension in (
        ("ipywidgets", "@jupyter-widgets/jupyterlab-manager"),
        ("anywidget", "anywidget"),
    ):
        problem = _import_problem(name)
        if problem:
            yield Finding(FAIL, name, f"cannot be imported: {problem}", INSTALL)
        elif not any(Path(folder, extension).is_dir() for folder in jupyter_path("labextensions")):
            text = f"{_version(name)}, but JupyterLab has no extension {extension} and cannot show its widgets"
            yield Finding(FAIL, name, text, f"python -m pip install --force-reinstall {name} jupyterlab_widgets")
        else:
            yield Finding(OK, name, f"{_version(name)}, with its JupyterLab extension")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_python,
    check_transformers,
    check_packages,
    check_landmarks,
    check_devices,
    check_memory,
    check_disk,
    check_model,
    check_widgets,
)


def findings() -> Iterator[Finding]:
    """What every check finds. A check that itself fails is a finding, so that the others are still heard."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:
            subject = check.__name__.removeprefix("check_")
            text = f"could not be checked: {type(error).__name__}: {error}"
            yield Finding(FAIL, subject, text, f"{INSTALL}; if that does not help, report this line")


def run() -> int:
    """Print the report; return 0 when nothing failed (warnings are allowed), else 1."""
    failed = 0
    for finding in findings():
        print(finding, flush=True)
        failed += finding.status == FAIL
    print(f"{failed} of these need attention first." if failed else f"Ready: {first_step()}")
    return 1 if failed else 0


def first_step(root: Path = ROOT) -> str:
    """What a reader can run next: the notebooks where they are at hand, as they are not beside an installed wheel."""
    if (root / FIRST_NOTEBOOK).is_file():
        return "`python -m helpers lab` opens the first notebook."
    return "`python -m helpers record my_script.py -o run.json.gz` records a script of yours."


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _import_problem(name: str) -> str | None:
    """None when the module can be imported; else why not: a broken library raises more than ImportError."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    return None


def _free(free: float | None, total: float | None) -> str:
    if free is None or total is None:
        return "free memory not observed: the system does not say"
    return f"{_gigabytes(free)} of {_gigabytes(total)} free"


def _gigabytes(count: float) -> str:
    return f"{count / GIGABYTE:.1f} GB"
