"""`make lab` in a real browser: the first notebook opens, runs to its end without an error, and nothing pops up.

JupyterLab runs with configuration, data and runtime folders of its own, on a copy of the notebooks.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from helpers import lab, notebooks
from helpers.project import ROOT
from tests.notebook_files import code_cell, write

pytestmark = [pytest.mark.browser, pytest.mark.slow]

START_SECONDS = 60
RUN_SECONDS = 300  # a whole notebook, on a busy machine
POP_UP_MILLISECONDS = 3000  # the question about news comes within a second of the page
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


@pytest.fixture(scope="module")
def browser():
    """Chromium or Chrome as installed on this machine."""
    found = [*map(shutil.which, BROWSERS), MAC_CHROME if os.path.exists(MAC_CHROME) else None]
    executable = next((path for path in found if path), None)
    if executable is None:
        reason = f"no browser found (looked for {', '.join(BROWSERS)})"
        if os.environ.get("TRACE_REQUIRE_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, headless=True, args=options)
        yield launched
        launched.close()


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


@pytest.fixture
def small_course(tmp_path) -> Path:
    """A folder with a first notebook that takes a moment."""
    cells = [code_cell("from helpers import devices"), code_cell("x = 6 * 7\nx"), code_cell("assert x == 42")]
    write(tmp_path / "course" / lab.FIRST_NOTEBOOK, *cells, kernelspec=KERNEL)
    return tmp_path / "course"


def test_the_first_notebook_runs_all_cells_without_error(serve, open_lab, tmp_path, demo_checkpoint):
    course = tmp_path / "course"
    shutil.copytree(ROOT / notebooks.FOLDER, course / notebooks.FOLDER)
    page = open_lab(serve(course))
    cells = page.run_all_cells()
    assert [cell["errors"] for cell in cells if cell["errors"]] == []
    assert [cell["count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert len(cells) > 1
    assert page.errors == []
    assert page.outside == []
    assert page.pop_ups() == []


def test_the_printed_address_opens_the_first_notebook_and_nothing_pops_up(serve, open_lab, small_course):
    address = serve(small_course)
    assert f"/lab/tree/{lab.FIRST_NOTEBOOK}?token=" in address
    page = open_lab(address)
    cells = page.run_all_cells()
    assert cells == [{"count": number, "errors": []} for number in (1, 2, 3)]
    page.page.wait_for_timeout(POP_UP_MILLISECONDS)
    assert page.pop_ups() == []
    assert page.outside == []
    assert page.errors == []


def test_without_the_quiet_options_the_question_about_news_would_be_seen(serve, open_lab, small_course):
    page = open_lab(serve(small_course, quiet=False))
    page.page.wait_for_selector(".Toastify__toast", timeout=START_SECONDS * 1000)
    assert any("news" in text for text in page.pop_ups())


def test_a_failing_cell_would_be_seen(serve, open_lab, small_course):
    write(
        small_course / lab.FIRST_NOTEBOOK, code_cell("assert 6 * 7 == 41, 'wrong'"), code_cell("1"), kernelspec=KERNEL
    )
    cells = open_lab(serve(small_course)).run_all_cells()
    assert cells[0]["errors"] == ["wrong"]
    assert cells[1]["count"] is None
