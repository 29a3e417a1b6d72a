"""Breakpoints for a live debugger: where to stop in the installed packages, from the landmark table.

A recording shows what was; a debugger lets a reader look at everything while it is. Both start at the same functions.
"""

from __future__ import annotations

import ast
import dis
import inspect
import io
import pdb
import types
from collections.abc import Callable, Iterable

from . import landmarks as landmark_table
from .compat import kv_cache_argument
from .landmarks import Resolution
from .tables import Table

STOPS = {
    "model.from_pretrained": "which class, which config, what device_map and dtype",
    "ckpt.shard_files": "index_filename, and the paths that it gives back",
    "init.model": "the device of new parameters: torch.empty(1).device",
    "load.place_param": "the name of the tensor, its dtype and device",
    "call.run_single": "inputs, and the three dictionaries of parameters",
    "gen.sample": "generation_config and logits_processor",
    "fwd.causal_lm": "input_ids.shape in the prefill, and in a decode step",
    "fwd.attn": f"hidden_states.shape, and {kv_cache_argument()}",
    "smp.processors": "scores before and after each processor",
    "dec.decode": "token_ids: with or without the prompt",
}
"""Where to stop first, by landmark, and what to look at there."""


class BreakpointError(ValueError):
    """A landmark at which a debugger cannot stop in the installed version; the message says why."""


def breakpoints(landmarks: Iterable[str] = tuple(STOPS)) -> Table:
    """Where to set breakpoints in the installed version.

    Columns: landmark, function, location (file:line relative to site-packages, of the first line that runs; a
    breakpoint on the `def` or its decorator would stop when the module is imported), look_at, arguments (the names
    that are there). Landmarks without a function of their own here are left out. Raises BreakpointError for a name that
    the landmark table does not have.
    """
    from .recorder import FunctionTable

    functions, rows = FunctionTable(), []
    for name in landmarks:
        resolution = _resolution(name)
        if resolution.code is not None:
            function = functions.rows[functions.of(resolution.code)]
            rows.append(
                {
                    "landmark": name,
                    "function": function.qualname,
                    "location": f"{function.file}:{first_line(resolution.code)}",
                    "look_at": STOPS.get(name, ""),
                    "arguments": ", ".join(_arguments(resolution.code)),
                }
            )
    return Table.of(rows, ["landmark", "function", "location", "look_at", "arguments"], volatile=("location",))


def stop_at(landmark: str, commands: Iterable[str], function: Callable, *args: object, **kwargs: object) -> str:
    """Call `function` under pdb, stop once at the landmark, give pdb these commands there; return what it printed.

    What a reader types into a debugger, as text: for machines where nobody sits at the prompt. Afterwards the call goes
    on to its end, and its result is dropped. Raises BreakpointError where the landmark has no Python function here, or
    was never reached.
    """
    code = _resolution(landmark).code
    if code is None:
        raise BreakpointError(f"{landmark} has no Python function in this version: choose one of breakpoints().")
    debugger = _Scripted(code, commands)
    if problem := debugger.set_break(code.co_filename, first_line(code)):
        raise BreakpointError(f"pdb cannot stop at {landmark}: {problem}")
    try:
        debugger.runcall(function, *args, **kwargs)
    finally:
        debugger.clear_all_breaks()
    if not debugger.reached:
        raise BreakpointError(f"{landmark} was not reached by this call: nothing stopped there.")
    return debugger.written.getvalue()


class _Scripted(pdb.Pdb):
    """A pdb that stops once in one function, runs commands there, and lets the call go on."""

    def __init__(self, code: types.CodeType, commands: Iterable[str]):
        self.written = io.StringIO()
        super().__init__(stdin=io.StringIO(), stdout=self.written, nosigint=True, readrc=False)
        self.code = code
        self.commands_there = [*commands, "continue"]
        self.reached = False

    def user_line(self, frame: types.FrameType) -> None:
        if frame.f_code is self.code and not self.reached:
            self.reached = True
            self.clear_all_breaks()
            self.cmdqueue.extend(self.commands_there)
            self.interaction(frame, None)
        else:  # where the call begins
            self.set_continue()

    def print_stack_entry(self, frame_lineno, prompt_prefix: str = "") -> None:
        """Nothing: the place is known, and its full path names this machine."""


def first_line(code: types.CodeType) -> int:
    """The number of the first line of a function's body that runs: after decorators, `def` and docstring."""
    lines = sorted({line for _, line in dis.findlinestarts(code) if line is not None})
    body = _body_start(code)
    return next(line for line in lines if line >= body)


def _body_start(code: types.CodeType) -> int:
    """The line of the first statement of the body, the docstring aside."""
    source = inspect.getsource(code)
    nested = source[0].isspace()
    tree = ast.parse("if True:\n" + source if nested else source)
    definition = tree.body[0].body[0] if nested else tree.body[0]
    statement = definition.body[1 if ast.get_docstring(definition) and len(definition.body) > 1 else 0]
    return code.co_firstlineno + statement.lineno - (2 if nested else 1)


def _resolution(name: str) -> Resolution:
    for resolution in landmark_table.resolve():
        if resolution.landmark.id == name:
            return resolution
    raise BreakpointError(f"There is no landmark {name!r}: the table of helpers/landmarks.json has others.")


def _arguments(code: types.CodeType) -> tuple[str, ...]:
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
