"""`python -m helpers record SCRIPT.py …`: a reader's own script, run as `python SCRIPT.py …` runs it, and recorded;
`python -m helpers record -m MODULE …`: a module or package, as `python -m MODULE …` runs it.

The script keeps its arguments, output, exit status and traceback. Nothing that it could notice is imported before it
starts, so that the environment variables which it sets before it imports torch or transformers still count: the
recording begins when the script's first import of transformers is done. It ends after the script's threads and its
own atexit functions, and is saved then, however the script ended; SIGTERM (`timeout`, a scheduler, a failed rank) saves
it before it ends the script. Only a process that is killed (SIGKILL, os._exit) saves nothing.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import itertools
import os
import signal
import sys
import tempfile
import threading
import types
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from . import first_import, started_program
from .events import RecordingError
from .process_group import own_rank, path_of_rank
from .recorder_settings import DEFAULT_STEPS, DEFAULT_ZOOM, ZOOMS, checked_zoom, steps_from_text
from .started_program import Module, Script, ScriptError

if TYPE_CHECKING:
    from .recorder import Recorder

SUFFIXES = (".json.gz", ".json")
PAGE_SUFFIXES = (".html", ".htm")
USAGE = """%(prog)s SCRIPT.py [ARGUMENT ...] -o FILE [--html PAGE] [--zoom ZOOM]... [--steps N]
       %(prog)s -o FILE [--html PAGE] [--zoom ZOOM]... [--steps N] SCRIPT.py [ARGUMENT ...]
       in both, -m MODULE in place of SCRIPT.py"""
EXPLANATION = """What follows SCRIPT.py or MODULE is the script's, up to the last -o (and --html PAGE right before it).
A script that has such an option itself: name the recording before SCRIPT.py, then everything after it is the script's.
The exit status is the script's; 2 where the script was not run."""


ZOOM_HELP = f"""what is recorded beside landmarks, in place of {" and ".join(DEFAULT_ZOOM[1:])}, which are the default:
give it once for each of {", ".join(ZOOMS)} (sampling: the chain of logits processors; values: minimum, maximum, mean
and NaN of what each module gave back; `help(helpers.record)` tells of each)"""


class _OptionParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ScriptError(f"{message} (after the script's arguments: -o FILE, then --html, --zoom and --steps only)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `record` takes on the command line."""
    parser.usage, parser.epilog = USAGE, EXPLANATION
    _add_options(parser)
    script = parser.add_argument("script", metavar="SCRIPT.py", help="the script to run")
    arguments = parser.add_argument("arguments", metavar="ARGUMENT", nargs=argparse.REMAINDER, help="its arguments")
    arguments.required = False  # Python 3.11 and 3.12 would say that one is

    class TakeModule(argparse.Action):
        """Takes all that follows, as `python -m` does; no script is needed then."""

        def __call__(self, parser, options, values, option_string=None):
            if not values:
                parser.error("-m: which module?")
            script.required = False
            options.module, *options.arguments = values

    what = "a module to run in place of a script, as python -m does"
    parser.add_argument("-m", dest="module", action=TakeModule, nargs=argparse.REMAINDER, metavar="MODULE", help=what)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="where the recording goes (.json.gz; .json: not compressed)"
    )
    parser.add_argument("--html", metavar="PAGE", help="write the run as one HTML page to step through, too (.html)")
    parser.add_argument("--zoom", action="append", default=[], metavar="ZOOM", help=ZOOM_HELP)
    parser.add_argument("--steps", metavar="N", help=f"generation steps kept in full, or all (default {DEFAULT_STEPS})")


def command(options: argparse.Namespace) -> int:
    """Run `python -m helpers record` as parsed. Raises what the script raises; status 2 where it was not run."""
    try:
        arguments = _separate(options)
        if options.output is None and options.html is None:
            raise ScriptError("say where the recording is to go: -o run.json.gz, or as a page --html run.html")
        steps = DEFAULT_STEPS if options.steps is None else steps_from_text(options.steps)
        output, rank = _checked_output(options.output, "-o", SUFFIXES), own_rank()
        page = _checked_output(options.html, "--html", PAGE_SUFFIXES)
        if rank is not None:  # each rank of a group writes files of its own
            output, page = (path and path_of_rank(path, rank.number) for path in (output, page))
        recording = ScriptRecording(output, tuple(options.zoom), steps, page)
        program = Module(options.module) if options.module else Script(options.script)
    except (ScriptError, RecordingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    run(program, arguments, recording)
    return 0


def _separate(options: argparse.Namespace) -> list[str]:
    """The script's arguments; options of `record` that stand behind them go into `options`."""
    arguments = options.arguments
    marks = [mark for mark in ("-o", "--html") if mark in arguments]
    if options.output is not None or options.html is not None or not marks:
        return arguments
    place = len(arguments) - 1 - arguments[::-1].index(marks[0])
    if place >= 2 and arguments[place - 2] == "--html":
        place -= 2
    parser = _OptionParser(add_help=False, allow_abbrev=False)
    _add_options(parser)
    behind = parser.parse_args(arguments[place:])
    options.output, options.html = behind.output, behind.html
    options.zoom += behind.zoom
    options.steps = options.steps if behind.steps is None else behind.steps
    return arguments[:place]


def _checked_output(output: str | None, option: str, suffixes: tuple[str, ...]) -> Path | None:
    """The file to write, as it stands now: the script may change the folder. Raises ScriptError where it cannot be."""
    if output is None:
        return None
    path = Path(output).absolute()
    if not path.name.endswith(suffixes):
        what = "page" if suffixes == PAGE_SUFFIXES else "recording"
        raise ScriptError(f"{option} {output}: the name of a {what} ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise ScriptError(f"{option} {output} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise ScriptError(f"{option} {output}: there is no folder {path.parent}")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ScriptError(f"{option} {output}: nothing can be written to {path.parent} ({error.strerror})") from error
    return path


def run(program: Script | Module, arguments: list[str], recording: ScriptRecording) -> None:
    """Become `python program arguments` and end as it ends.

    Returns where the script reaches its end. Raises SystemExit with the script's status (1 after an exception, whose
    traceback has been shown), or KeyboardInterrupt, which Python then tells to the shell as for any script.
    """
    atexit.register(recording.finish)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, recording.terminated)  # a script that sets one of its own takes its place
    first_import.after_first_import("transformers", recording.begin)
    try:
        code, module = program.enter(arguments)
        exec(code, module.__dict__)
    except SystemExit:
        recording.ended_with = SystemExit()  # a new one: it holds no frame
        raise
    except BaseException as error:
        recording.ended_with = error
        error.__traceback__ = _without_own_frames(error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            sys.excepthook = lambda *shown_already: None
            raise
        raise SystemExit(1) from None


_OWN = {run.__code__.co_filename, started_program.__file__, first_import.__file__, "<frozen runpy>"}
_PROBES = os.path.join(os.path.dirname(run.__code__.co_filename), "probes", "")


def _without_own_frames(traceback: types.TracebackType | None) -> types.TracebackType | None:
    """What Python would show of the script: without `run`, the watch for the import, and a probe that Ctrl-C met."""
    rows = []
    while traceback is not None:
        rows.append(traceback)
        traceback = traceback.tb_next
    files = [row.tb_frame.f_code.co_filename for row in rows]
    hides_import = first_import.__file__ in files
    kept = [
        row
        for row, file in zip(rows, files, strict=True)
        if file not in _OWN
        and not file.startswith(_PROBES)
        and not (hides_import and file.startswith("<frozen importlib"))
    ]
    for row, following in itertools.pairwise([*kept, None]):
        row.tb_next = following
    return kept[0] if kept else None


def _tell_of_the_interruption() -> None:
    """Have Python end as one that Ctrl-C ended. It knows by the text that it ran last, and saving runs some (a named
    tuple is made by one)."""
    with contextlib.suppress(KeyboardInterrupt):
        exec("raise KeyboardInterrupt")


class Terminated(BaseException):
    """What ended a recording that SIGTERM ended; it is never raised."""


def _why_not_begun() -> str:
    children = os.times()
    if children.children_user + children.children_system:
        return (
            "transformers was not imported in this process, and those that it started are not recorded. Put the "
            "recording inside: accelerate launch … -m helpers record SCRIPT.py …, and so for torchrun"
        )
    return "transformers was not imported"


class ScriptRecording:
    """The recording of one script: begun by its first import of transformers, saved when Python ends.

    Raises RecordingError for a zoom or steps that there are not.
    """

    def __init__(self, output: Path | None, zoom: tuple[str, ...], steps: int | None, page: Path | None = None) -> None:
        checked_zoom(zoom, steps)
        self.output, self.page = output, page
        self.ended_with: BaseException | None = None
        self._zoom = zoom
        self._steps = steps
        self._recorder: Recorder | None = None
        self._not_begun = ""  # what hindered it, where something did
        self._process = os.getpid()
        self._stream = sys.stderr  # the script may put another in its place

    def begin(self) -> None:
        """Start recording. What hinders it is told at the end: the script runs on."""
        try:
            from .landmarks import resolve
            from .recorder import record

            resolve()  # imports: what they do to the filters of warnings is to stay, so it comes before the next line
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # stderr is the script's; a warning of ours is told at the end
                recorder = record(*self._zoom, steps=self._steps, progress=False)
                recorder.__enter__()
        except Exception as error:
            self._not_begun = f"{type(error).__name__}: {error}"
        else:
            self._recorder = recorder

    def finish(self) -> None:
        """End the recording, save it and say in one line where it is. A forked child leaves that to its parent."""
        if os.getpid() == self._process:
            if threading.current_thread() is threading.main_thread():
                for number in (signal.SIGINT, signal.SIGTERM):  # a second one must not lose what the first one left
                    signal.signal(number, signal.SIG_IGN)
            # text and end in one piece: several ranks write to one terminal
            print(f"helpers: {self._save()}\n", end="", file=self._stream, flush=True)
        if isinstance(self.ended_with, KeyboardInterrupt):
            _tell_of_the_interruption()

    def terminated(self, number: int, _frame: types.FrameType | None) -> NoReturn:
        """Save, then end as a script that SIGTERM ends: at once, without its atexit functions."""
        if self.ended_with is None:
            self.ended_with = Terminated()
        self.finish()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _save(self) -> str:
        files = [str(path) for path in (self.output, self.page) if path is not None]
        places = " and ".join(files)
        if self._recorder is None:
            were = "were" if len(files) > 1 else "was"
            return f"nothing was recorded, and {places} {were} not written: {self._not_begun or _why_not_begun()}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are told in the line below
            self._recorder.__exit__(type(self.ended_with) if self.ended_with else None, self.ended_with, None)
        recording = self._recorder.recording
        try:
            if self.output is not None:
                recording.save(self.output)
            if self.page is not None:
                from .views.player import save_page

                save_page(recording, self.page)
        except (OSError, RecordingError) as error:
            return f"error: the recording could not be saved to {places}: {error}"
        told = "".join(f" (warning: {warning})" for warning in recording.warnings)
        if not len(recording):
            return f"no function of the call path ran; an empty recording is in {places}{told}"
        return f"{len(recording)} events recorded in {places}{told}"
