"""Other processes that the program starts while it is recorded: a recording is of one, and says so of the others.

Seen where Python starts them, multiprocessing (also torch's, a DataLoader's workers) and subprocess. Only a Python can
run a model, so of subprocess only what is one; those in which torch.compile builds its kernels run none.
"""

from __future__ import annotations

import os
import shutil
import types
from collections.abc import Callable, Sequence

from ..landmarks import code_of, find
from .guard import noting
from .redact import text

_STARTS = {"multiprocessing.process:BaseProcess.start": "process_starts", "subprocess:Popen.__init__": "program_starts"}
_COMPILER = os.path.join("torch", "_inductor", "")
_noting = noting("other processes")


class StartedProcesses:
    """`names`: of each process that was started, in order. `tell(code, on_enter)`: see CallProbe."""

    def __init__(self, tell: Callable) -> None:
        self.names: list[str] = []
        self.problems: dict[str, str] = {}
        for target, hook in _STARTS.items():
            code = code_of(find(target))
            if code is not None:  # else something stands in its place that is no Python code
                tell(code, getattr(self, hook))

    @_noting
    def process_starts(self, frame: types.FrameType) -> None:
        """Process.start(), in each of its start methods."""
        if not _is_the_compiler(frame):
            self.names.append(text(frame.f_locals["self"].name))

    @_noting
    def program_starts(self, frame: types.FrameType) -> None:
        """subprocess.run(…), Popen(…) and their like."""
        program = shutil.which(_program(frame.f_locals["args"]))
        if program is not None and _runs_python(program) and not _is_the_compiler(frame):
            self.names.append(text(os.path.basename(program)))


def _program(command: str | bytes | os.PathLike | Sequence) -> str:
    """The first word of what subprocess is given; of a shell's line too."""
    if isinstance(command, str | bytes | os.PathLike):
        line = os.fsdecode(command)
        return line if os.path.exists(line) else (line.split() or [""])[0].strip("\"'")
    return os.fsdecode(command[0])


def _runs_python(program: str) -> bool:
    """Whether a program is a Python, or a command that a package has installed (torchrun, accelerate)."""
    if os.path.basename(program).startswith("python"):
        return True
    with open(program, "rb") as file:
        first = file.readline(4 * 256)
    return first.startswith(b"#!") and b"python" in first


def _is_the_compiler(frame: types.FrameType | None) -> bool:
    while frame is not None and _COMPILER not in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None
