"""The cell magic `%%record`, after `%load_ext helpers`: the cell runs as without it, recorded.

    %%record                            the Recording is then in the variable `recording`
    %%record slow steps=all             … in `slow`, with every generation step in full
    %%record modules steps=2            … in `recording`, at another zoom

`%%record?` shows what may stand in the line.
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import inspect
import keyword
import types

from IPython.core.error import UsageError
from IPython.core.magic import output_can_be_silenced

from .events import RecordingError
from .recorder import record
from .recorder_settings import DEFAULT_STEPS, ZOOMS, steps_from_text

DEFAULT_NAME = "recording"


def register(shell) -> None:
    """Give `%%record` to this IPython shell."""

    @output_can_be_silenced
    def magic(line: str, cell: str) -> object:
        return record_cell(shell, line, cell)

    magic.__doc__ = record_cell.__doc__
    shell.register_magic_function(magic, "cell", "record")


def record_cell(shell, line: str, cell: str) -> object:
    """%%record [NAME] [ZOOM ...] [steps=N]: run the cell in your namespace, recorded; show what it shows.

    NAME: the variable that holds the Recording afterwards, `recording` without it; also when the cell fails.
    ZOOM: landmarks, calls, modules, … as for record(). steps=N: generation steps of each generate() call that are
    kept in full, or steps=all. A cell with a top-level await needs `with record()` instead.

    Returns the value of the cell's last expression, for IPython to show. Raises UsageError for a line that it cannot
    read and for a recording that cannot start; what the cell raises comes out with the cell's own traceback.
    """
    name, zoom, steps = _settings(line)
    statements, expression = _compiled(shell, cell)
    with contextlib.ExitStack() as stack:
        try:
            recording = stack.enter_context(record(*zoom, steps=steps))
        except RecordingError as error:
            raise UsageError(f"%%record: {error}") from error
        stack.callback(shell.user_ns.__setitem__, name, recording)
        try:
            exec(statements, shell.user_ns)
            return None if expression is None else eval(expression, shell.user_ns)
        except BaseException as error:
            _render_as_the_cell_would(shell, error)
            raise


def _settings(line: str) -> tuple[str, tuple[str, ...], int | None]:
    """(variable, zoom, steps) of the magic's line. Raises UsageError for what is none of them."""
    name, zoom, steps = None, [], DEFAULT_STEPS
    for word in line.split():
        if word.startswith("steps="):
            try:
                steps = steps_from_text(word.removeprefix("steps="))
            except RecordingError as error:
                raise UsageError(f"%%record: {error}") from error
        elif word in ZOOMS:
            zoom.append(word)
        elif word.isalpha() and (close := difflib.get_close_matches(word, ZOOMS, n=1, cutoff=0.8)):
            raise UsageError(f"%%record: there is no zoom {word!r}; did you mean {close[0]!r}?")
        elif name is None and word.isidentifier() and not keyword.iskeyword(word):
            name = word
        else:
            raise UsageError(
                f"%%record: {word!r} is no zoom ({', '.join(ZOOMS)}), not steps=N, and no name for one variable. "
                "Usage: %%record [NAME] [ZOOM ...] [steps=N]"
            )
    return name or DEFAULT_NAME, tuple(zoom), steps


def _compiled(shell, cell: str) -> tuple[types.CodeType, types.CodeType | None]:
    """The cell's statements and, where it ends with an expression, that one; magics in it are IPython's to turn.

    Raises UsageError for a cell that awaits, which a magic cannot run.
    """
    text = shell.transform_cell(cell)
    number = len(shell.history_manager.input_hist_parsed) - 1  # In[number] is the cell that runs
    file = shell.compile.cache(text, number, raw_code=cell)  # so that tracebacks show its lines
    tree = shell.transform_ast(shell.compile.ast_parse(text, filename=file))
    if _awaits(tree):
        raise UsageError(
            "%%record runs no cell with a top-level await. In a cell without it, write `with record() as recording:` "
            "around what awaits."
        )
    expression = None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        expression = shell.compile(ast.Expression(tree.body.pop().value), file, "eval")
    return shell.compile(tree, file, "exec"), expression


def _awaits(tree: ast.Module) -> bool:
    """Whether these statements await outside any function, as IPython lets a cell do."""
    flags = compile(tree, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT).co_flags
    return bool(flags & inspect.CO_COROUTINE)


def _render_as_the_cell_would(shell, error: BaseException) -> None:
    """Let IPython show the traceback from the cell on, once: without the frames of the magic that called it."""
    if hasattr(error, "_render_traceback_"):
        return  # it has a way of its own
    of_the_cell = error.__traceback__.tb_next
    lines = shell.InteractiveTB.structured_traceback(type(error), error, of_the_cell, tb_offset=0)

    def render() -> list[str]:
        vars(error).pop("_render_traceback_")  # raised again elsewhere, it is shown from there
        return lines

    error._render_traceback_ = render
