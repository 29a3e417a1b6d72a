"""The list of notebooks, and what is done to all: executed in place, compared by nbval, checked for form.

python -m helpers.notebooks list
python -m helpers.notebooks execute [NOTEBOOK ...]
python -m helpers.notebooks validate [--lax] [NOTEBOOK ...]
python -m helpers.notebooks check [NOTEBOOK ...]
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from helpers import course, notebook_form
from helpers.project import ROOT

FOLDER = "notebooks"
PATTERN = "[0-9][0-9]_*.ipynb"
CELL_TIMEOUT_SECONDS = 600
"""The limit for one cell, here and (by pyproject.toml) for nbval."""

COMMITTED_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRACE_DEVICE": "cpu",
    "TRACE_EXPLORERS": "table",
}
"""What is set when a notebook is executed for committing, and again when its outputs are compared."""

UNSET_ENVIRONMENT = ("TRACE_MODEL", "TRACE_DTYPE", "MPLBACKEND")
"""What must not be set then: the reader's own model and dtype, and a figure backend that draws no png."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""Of a traceback in a kernel, which does not know whether a terminal will show it."""


class NotebookError(RuntimeError):
    """A notebook that is missing or did not run to its end; the message names the notebook and the cell."""


def paths(root: Path = ROOT) -> list[Path]:
    """Every notebook of the course, in reading order. The only place that knows how they are named."""
    return sorted((root / FOLDER).glob(PATTERN))


def set_committed_environment(environment: MutableMapping[str, str]) -> None:
    """Change `environment` in place to what committed outputs come from: demo checkpoint, CPU, offline."""
    environment.update(COMMITTED_ENVIRONMENT)
    for name in UNSET_ENVIRONMENT:
        environment.pop(name, None)


def execute(path: Path) -> float:
    """Run every cell of the notebook at `path` in this Python, write the outputs back; return the seconds.

    A notebook of the course gets its generated cells anew (the map, the way on). The file changes only when the last
    cell has run without error.

    Raises:
        NotebookError: a cell raised or took longer than CELL_TIMEOUT_SECONDS.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for lesson in course.LESSONS:
        if lesson.name == path.stem:
            course.write_generated_cells(notebook, lesson)
    started = time.perf_counter()
    run(notebook, path)
    seconds = time.perf_counter() - started
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        nbformat.write(notebook, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return seconds


def run(
    notebook,
    path: Path,
    variables: Mapping[str, str] | None = None,
    watch: Callable[[int], object] | None = None,
    before_normalising: Callable[[object], object] | None = None,
) -> None:
    """Run every cell of `notebook` in this Python, in the folder of `path`; the outputs go into `notebook`, normalised.

    `variables`: the environment of the kernel, this process's without; `watch` is called with the kernel's process id
    before and after each cell; `before_normalising` with the notebook while it still holds the state of its widgets.
    Nothing is written. Raises NotebookError, which names `path`, as `execute` does.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    client = NotebookClient(
        notebook,
        kernel_manager_class=_kernels_of_this_python(),
        timeout=CELL_TIMEOUT_SECONDS,
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=True,  # without, nbclient fails at an Output with text in it; `normalise` drops the state
        record_timing=False,
    )
    if watch is not None:
        client.on_cell_start = client.on_cell_executed = lambda **cell: watch(client.km.provisioner.pid)
    try:
        client.execute(**({} if variables is None else {"env": dict(variables)}))
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        words = _COLOURS.sub("", str(error))
        raise NotebookError(f"{path.name} did not run to its end; the file is unchanged.\n{words}") from error
    if before_normalising is not None:
        before_normalising(notebook)
    notebook_form.normalise(notebook)


def _kernels_of_this_python() -> type:
    """A class that starts kernels of this very Python, whatever the notebook or the reader's Jupyter folders name."""
    from ipykernel.kernelspec import RESOURCES, get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets import default

    class ThisPython(KernelSpecManager):
        def get_kernel_spec(self, kernel_name):
            # Only errors: a kernel of this machine also warns, on every start, that it talks without encryption.
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict(extra_arguments=["--log-level=ERROR"]))

    class Kernels(AsyncKernelManager):
        @default("kernel_spec_manager")
        def _this_python(self):
            return ThisPython(parent=self)

    return Kernels


def validate(chosen: list[Path], lax: bool = False) -> int:
    """Run nbval over the notebooks, once each; return pytest's exit status.

    Strict compares each cell's text with what is committed. Lax runs the cells, and so the checks in
    them, under the reader's own TRACE_MODEL and TRACE_DEVICE: for other devices, versions and systems.
    """
    mode = "--nbval-lax" if lax else "--nbval"
    arguments = [sys.executable, "-m", "pytest", mode, *(str(path) for path in chosen)]
    return subprocess.run(arguments, cwd=ROOT).returncode


def check(chosen: list[Path]) -> int:
    """Print what is wrong with the form and the frame of the notebooks; return the number of problems."""
    from helpers import course_frame

    finders = (notebook_form.find_problems, course_frame.find_problems)
    problems = [f"{path.name}: {problem}" for path in chosen for find in finders for problem in find(path)]
    print("\n".join(problems) or f"{len(chosen)} notebooks: the form is as it should be")
    return len(problems)


def _execute_all(chosen: list[Path]) -> int:
    set_committed_environment(os.environ)
    for path in chosen:
        print(f"{path.name}: ", end="", flush=True)
        print(f"{execute(path):.0f} s", flush=True)
    return 0


def _chosen(named: list[Path]) -> list[Path]:
    chosen = [path.resolve() for path in named] or paths()
    if not chosen:
        raise NotebookError(f"No notebook matches {FOLDER}/{PATTERN} in this checkout.")
    for path in chosen:
        if not path.is_file():
            raise NotebookError(f"There is no notebook {path.name}; the list: python -m helpers.notebooks list")
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.notebooks", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in (
        ("list", "the notebooks, one path a line"),
        ("execute", "run them and write their outputs back"),
        ("validate", "run them with nbval and compare their outputs"),
        ("check", "check form and frame: executed, no paths of a machine, short cells, every section there"),
    ):
        command = commands.add_parser(name, help=help_text)
        command.add_argument("notebooks", nargs="*", type=Path, help="these only; all without any")
        if name == "validate":
            command.add_argument("--lax", action="store_true", help="run the checks, compare no output")
    options = parser.parse_args(arguments)
    try:
        chosen = _chosen(options.notebooks)
        if options.command == "list":
            print("\n".join(path.relative_to(ROOT).as_posix() for path in chosen))
            return 0
        if options.command == "execute":
            return _execute_all(chosen)
        if options.command == "validate":
            return validate(chosen, options.lax)
        return min(check(chosen), 1)
    except NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
