"""A script run by several ranks under `torch.distributed.run`, each recorded: started, watched, never left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import rank_watch
from .process_group import path_of_rank
from .project import ROOT
from .rank_watch import SECONDS_TO_END

_ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL)
_MOST_LINES = 12  # of what a rank wrote, in an error


class RankError(RuntimeError):
    """A run of several ranks could not be made; the message says which rank ended it, and what it wrote."""


def record_ranks(
    script: str | Path,
    arguments: Sequence[str],
    ranks: int,
    output: str | Path,
    *,
    options: Sequence[str] = (),
    port: int | None = None,
    seconds: float = 600,
    environment: Mapping[str, str] | None = None,
) -> list[Path]:
    """Run `script` in `ranks` processes of this machine, each recorded; return the paths of their recordings, by rank.

    As `python -m torch.distributed.run --nproc-per-node RANKS -m helpers record SCRIPT ARGUMENTS -o OUTPUT` does it.
    `output`: run.json.gz becomes run.rank0.json.gz and so on. `options`: further ones of `record`, such as
    ("--steps", "all"). `port`: where the ranks meet; None takes a free one. `seconds`: how long the run may take.
    `environment`: variables that the ranks get beside those of this process.

    Raises RankError when a rank dies or the time is over, with all other ranks ended before; when `ranks` is no whole
    number from 2 on, or `port` cannot be used; and when a rank saves no recording. What was recorded until then stays;
    recordings of an earlier run in the same place do not. When this process is killed, the ranks are ended too.
    """
    checked_ranks(ranks)
    meeting = ["--standalone"] if port is None else ["--master-addr", "127.0.0.1", "--master-port", str(_free(port))]
    output = Path(output).absolute()
    paths = [path_of_rank(output, rank) for rank in range(ranks)]
    for path in paths:
        _remove_earlier(path)
    with tempfile.TemporaryDirectory() as logs:
        command = [
            sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(ranks),
            "--log-dir", logs, "--redirects", "3", "-m", "helpers", "record", "-o", str(output), *options,
            str(script), *map(str, arguments),
        ]  # fmt: skip
        status, told = _run(command, seconds, environment or {}, logs)
        if status is None:
            raise RankError(f"The {ranks} ranks had not ended after {seconds:g} seconds, and were ended.")
        if status:
            raise RankError(_what_ended_it(status, told, Path(logs)))
        lost = [rank for rank, path in enumerate(paths) if not path.is_file()]
        if lost:
            raise RankError(
                f"The script ended without a recording in {', '.join(paths[rank].name for rank in lost)}. "
                f"The end of what rank {lost[0]} wrote:\n{_last_lines(_written(Path(logs), lost[0]))}"
            )
    return paths


def checked_ranks(ranks: int) -> None:
    """Raises RankError unless `ranks` is a number of processes that make a group."""
    if not isinstance(ranks, int) or isinstance(ranks, bool) or ranks < 2:
        raise RankError(f"ranks={ranks!r}: give a whole number, 2 or more; one process needs no group.")


def _remove_earlier(path: Path) -> None:
    """A recording of an earlier run would pass for this one's."""
    try:
        with suppress(NotADirectoryError):  # then there is none, and `record` says what is wrong with the path
            path.unlink(missing_ok=True)
    except OSError as error:
        raise RankError(f"{path}, of an earlier run, cannot be removed ({error.strerror}).") from error


def _free(port: int) -> int:
    """`port`, if it is free. Raises RankError when it is none, or in use."""
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise RankError(f"port={port!r} cannot be used (ports are 1 to 65535): give another, or None for a free one.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RankError(
                f"port={port} cannot be used ({error.strerror}): give another, or None for a free one."
            ) from None
    return port


def _run(command: list[str], seconds: float, further: Mapping[str, str], logs: str) -> tuple[int | None, str]:
    """(exit status, what torch.distributed.run wrote); status None when the time was over. No process is left."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        rank_watch.MARK: mark,
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        **{name: str(value) for name, value in further.items()},
    }
    with _watched(mark, logs):
        # a session of its own: Ctrl-C reaches it through this process, which then ends the ranks in order
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            _, told = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None, ""
        finally:
            _end(process, mark)
        return process.returncode, told


@contextmanager
def _watched(mark: str, logs: str) -> Iterator[None]:
    """Inside the block another process waits for the end of this one: killed, it could not end its ranks itself."""
    command = [sys.executable, "-m", "helpers.rank_watch", mark, logs]
    watch = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        watch.communicate(b"ended")


def _end(process: subprocess.Popen, mark: str) -> None:
    """End the run with all its ranks. Each is in a session of its own and outlives a launcher that was killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)  # torch.distributed.run then ends its ranks
        try:
            process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    rank_watch.end_marked(mark)


def _what_ended_it(status: int, told: str, logs: Path) -> str:
    """Which rank failed first, how, and the end of what it wrote; without a rank the end of what the launcher wrote."""
    found = _ROOT_CAUSE.search(told)
    if status < 0:
        return f"torch.distributed.run was killed by {signal.Signals(-status).name}; its ranks were ended."
    if found is None:
        return f"The ranks could not be started:\n{_last_lines(told)}"
    rank, code = map(int, found.groups())
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    ended = f"Rank {rank} {how}; the other ranks were ended."
    return f"{ended} The end of what it wrote:\n{_last_lines(_written(logs, rank))}"


def _written(logs: Path, rank: int) -> str:
    """What a rank wrote, stderr last: an error's traceback is in it."""
    files = sorted(logs.glob(f"*/attempt_0/{rank}/std*.log"), reverse=True)
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def _last_lines(text: str) -> str:
    lines = [line.rpartition("\r")[2] for line in text.splitlines()]  # of a progress bar its last state
    return "\n".join(line for line in lines[-_MOST_LINES:] if line.strip()) or "(nothing)"
