"""JupyterLab on the course: no news, no update check, the first notebook open, a model ready to run."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers.project import INSTALL, ROOT

FIRST_NOTEBOOK = "notebooks/00_the_whole_call.ipynb"

# Both hold for this server only, and the reader's own Jupyter settings stay as they are. The folder holds defaults
# of settings: without it JupyterLab asks in a pop-up whether it may fetch news, whatever the options say. The
# options keep the server from asking for news and for newer releases even where the reader once allowed it.
DEFAULT_SETTINGS = Path(__file__).parent / "jupyter"
QUIET = ("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")


class LabError(RuntimeError):
    """JupyterLab cannot be started on the course; the message says why and what to do."""


def command(root: Path = ROOT, *, open_browser: bool = True, port: int | None = None) -> list[str]:
    """The arguments that serve the folder `root` and open its first notebook, in this Python.

    Raises:
        LabError: JupyterLab is not installed, `root` does not hold the notebook, or there is no such port.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise LabError(f"JupyterLab is not installed in this Python: `{INSTALL}`")
    if port is not None and not 0 < port < 2**16:
        raise LabError(f"--port {port}: give a number from 1 to 65535")
    if not (root / FIRST_NOTEBOOK).is_file():
        raise LabError(f"{FIRST_NOTEBOOK} is not in {root}: run this from a checkout of the repository")
    arguments = [sys.executable, "-m", "jupyterlab", *QUIET]
    arguments += [f"--ServerApp.root_dir={root}", f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}"]
    if port is not None:
        arguments.append(f"--ServerApp.port={port}")
    if not open_browser or not has_display(os.environ):
        arguments.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In a container one often is root, and JupyterLab then refuses to start. It still serves this machine
        # only, and asks for its token.
        arguments.append("--allow-root")
    return arguments


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """The variables that JupyterLab runs with: `base`, this course's defaults, and kernels of this Python first."""
    folders = [str(DEFAULT_SETTINGS), *filter(None, [base.get("JUPYTER_CONFIG_PATH")])]
    # This environment's kernels go before those of the reader's home, which may be of another Python.
    return {**base, "JUPYTER_CONFIG_PATH": os.pathsep.join(folders), "JUPYTER_PREFER_ENV_PATH": "1"}


def has_display(variables: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether a browser can show itself; without a display JupyterLab may start one in the terminal."""
    if not platform.startswith("linux"):
        return True
    return bool(variables.get("DISPLAY") or variables.get("WAYLAND_DISPLAY"))


def run(*, open_browser: bool = True, port: int | None = None) -> int:
    """Make the model ready, serve until interrupted, and return JupyterLab's exit status.

    Raises:
        LabError: see `command`.
        CheckpointError: the model that TRACE_MODEL names, or the demo checkpoint, cannot be had.
    """
    arguments = command(open_browser=open_browser, port=port)
    from helpers import checkpoints, devices

    device = devices.chosen_device()  # a wrong TRACE_DEVICE or TRACE_DTYPE is told here, not in a notebook's cell
    print(f"The model: {checkpoints.chosen()}, on {device} in {devices.chosen_dtype(device)}", flush=True)
    if "--no-browser" in arguments:
        print("Open the address that JupyterLab prints below in a browser; Ctrl-C ends it.", flush=True)
    if os.name == "posix":
        os.execve(arguments[0], arguments, environment(os.environ))  # Ctrl-C and other signals reach JupyterLab itself
    server = subprocess.Popen(arguments, env=environment(os.environ))
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:
            continue  # JupyterLab has it too and asks whether to stop; this only waits for its answer
