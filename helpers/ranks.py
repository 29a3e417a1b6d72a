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
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from .process_group import path_of_rank
from .project import ROOT

SECONDS_TO_END = 40  # torch.distributed.run gives its ranks 30 to end before it kills them
_ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", re.DOTALL)
_MARK = "TRACE_RANKS_OF"  # in the environment of a run's processes, so that each is found, whoever its parent is by now
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

    Raises RankError when a rank dies or the time is over, with all other ranks ended before; when `ranks` is below 2
    or `port` is in use. What was recorded until then stays; recordings of an earlier run in the same place do not.
    """
    if ranks < 2:
        raise RankError(f"ranks={ranks}: give 2 or more; one process needs no group.")
    meeting = ["--standalone"] if port is None else ["--master-addr", "127.0.0.1", "--master-port", str(_free(port))]
    output = Path(output).absolute()
    paths = [path_of_rank(output, rank) for rank in range(ranks)]
    for path in paths:
        path.unlink(missing_ok=True)  # else one of an earlier run would pass for this one's
    with tempfile.TemporaryDirectory() as logs:
        command = [
            sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(ranks),
            "--log-dir", logs, "--redirects", "3", "-m", "helpers", "record", "-o", str(output), *options,
            str(script), *map(str, arguments),
        ]  # fmt: skip
        status, told = _run(command, seconds, environment or {})
        if status is None:
            raise RankError(f"The {ranks} ranks had not ended after {seconds:g} seconds, and were ended.")
        if status:
            raise RankError(_what_ended_it(status, told, Path(logs)))
    lost = [path.name for path in paths if not path.is_file()]
    if lost:
        raise RankError(f"The script ended without a recording in {', '.join(lost)}: does it import transformers?")
    return paths


def _free(port: int) -> int:
    """`port`, if it is free. Raises RankError when it is none, or in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else "ports are 1 to 65535"
            raise RankError(f"port={port} cannot be used ({reason}): give another, or None for a free one.") from None
    return port


def _run(command: list[str], seconds: float, further: Mapping[str, str]) -> tuple[int | None, str]:
    """(exit status, what torch.distributed.run wrote); status None when the time was over. No process is left."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        _MARK: mark,
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        **further,
    }
    # a session of its own: Ctrl-C reaches it through this process, which then ends the ranks in order
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, told = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        _end(process, mark)
    return process.returncode, told


def _end(process: subprocess.Popen, mark: str) -> None:
    """End the run with all its ranks. Each is in a session of its own and outlives a launcher that was killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)  # torch.distributed.run then ends its ranks
        try:
            process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    left = psutil.wait_procs(_marked(mark), timeout=1)[1]
    for rank in left:
        rank.kill()
    psutil.wait_procs(left, timeout=SECONDS_TO_END)


def _marked(mark: str) -> list[psutil.Process]:
    """The processes of the run that has this mark in its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # somebody else's, or gone
    return found


def _what_ended_it(status: int, told: str, logs: Path) -> str:
    """Which rank failed first, how, and the end of what it wrote; without a rank the end of what the launcher wrote."""
    found = _ROOT_CAUSE.search(told)
    if status < 0:
        return f"torch.distributed.run was killed by {signal.Signals(-status).name}; its ranks were ended."
    if found is None:
        return f"The ranks could not be started:\n{_last_lines(told)}"
    rank, code = map(int, found.groups())
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
    files = sorted(
        logs.glob(f"*/attempt_0/{rank}/std*.log"), reverse=True
    )  # stderr last: an error's traceback is in it
    written = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    return f"Rank {rank} {how}; the other ranks were ended. The end of what it wrote:\n{_last_lines(''.join(written))}"


def _last_lines(text: str) -> str:
    lines = [line.rpartition("\r")[2] for line in text.splitlines()]  # of a progress bar its last state
    return "\n".join(line for line in lines[-_MOST_LINES:] if line.strip()) or "(nothing)"
