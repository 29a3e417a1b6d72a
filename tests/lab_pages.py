"""JupyterLab in a real browser, for tests: a server with folders of its own, a page with its errors and requests."""

import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest

from helpers import lab, notebooks

START_SECONDS = 180  # a busy machine
RUN_SECONDS = 300  # a whole notebook, on a busy machine


@pytest.fixture
def serve(tmp_path):
    """A function that serves a folder as `make lab` does, and returns the address that it prints."""
    servers = []

    def start(folder: Path, *, quiet: bool = True) -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = lab.environment(os.environ) if quiet else dict(os.environ)
        notebooks.set_committed_environment(environment)
        environment.pop("TRACE_EXPLORERS", None)  # explorers are alive here
        for name in ("CONFIG", "DATA", "RUNTIME"):
            environment[f"JUPYTER_{name}_DIR"] = str(tmp_path / "jupyter" / name.lower())
        environment["JUPYTERLAB_SETTINGS_DIR"] = str(tmp_path / "jupyter" / "settings")
        environment["JUPYTERLAB_WORKSPACES_DIR"] = str(tmp_path / "jupyter" / "workspaces")
        log = tmp_path / "jupyterlab.log"
        with open(log, "wb") as stream:
            command = [*lab.command(folder, open_browser=False, port=port), "--expose-app-in-browser"]
            if not quiet:
                command = [argument for argument in command if argument not in lab.QUIET]
            server = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        servers.append(server)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and server.poll() is None:
            printed = re.search(r"http://(?:localhost|127\.0\.0\.1):\d+/\S+", log.read_text())
            if printed:
                return printed.group()
            time.sleep(0.2)
        raise AssertionError(f"JupyterLab printed no address:\n{log.read_text()}")

    yield start
    for server in servers:
        server.terminate()
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it waits for a kernel that is still starting
            server.kill()
            server.wait()


class Lab:
    """One page of JupyterLab, with the errors of its console and the requests that left this machine."""

    def __init__(self, browser, address: str):
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.origin = re.match(r"https?://[^/]+", address).group()
        self.page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", self._requested)
        self.page.set_default_timeout(START_SECONDS * 1000)
        self.page.goto(address)
        self.page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=START_SECONDS * 1000)

    def _heard(self, message) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def _requested(self, request) -> None:
        if not request.url.startswith((self.origin, self.origin.replace("http", "ws", 1), "data:", "blob:")):
            self.outside.append(request.url)

    def run_all_cells(self) -> list[dict]:
        """Clear all outputs, run all cells; return each code cell's execution count and its errors' texts.

        The commands are those behind the menus. JupyterLab draws only the cells in view, so the document is
        asked and not the page.
        """
        return self.page.evaluate(
            """async (seconds) => {
                const { commands, shell } = window.jupyterapp;
                const panel = shell.currentWidget;
                const late = new Promise((_, reject) =>
                    setTimeout(() => reject(new Error(`not finished after ${seconds} s`)), seconds * 1000));
                // Never ready when JupyterLab asks which kernel to take.
                await Promise.race([panel.sessionContext.ready, late]);
                await commands.execute("notebook:clear-all-cell-outputs");
                const cells = [...panel.content.model.cells].filter((cell) => cell.type === "code");
                if (cells.some((cell) => cell.executionCount !== null)) throw new Error("not cleared");
                await Promise.race([commands.execute("notebook:run-all-cells"), late]);
                return cells.map((cell) => ({
                    count: cell.executionCount,
                    errors: cell.outputs.toJSON()
                        .filter((output) => output.output_type === "error").map((output) => output.evalue),
                }));
            }""",
            RUN_SECONDS,
        )

    def pop_ups(self) -> list[str]:
        """The texts of dialogs and notifications."""
        return self.page.locator(".jp-Dialog, .Toastify__toast").all_inner_texts()


@pytest.fixture
def open_lab(browser):
    """A function that opens an address in a page of its own."""
    opened = []

    def start(address: str) -> Lab:
        opened.append(Lab(browser, address))
        return opened[-1]

    yield start
    for one in opened:
        one.page.close()
