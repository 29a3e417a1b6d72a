"""What the tests of the explorers stand on: Node for the pure parts, Chromium for the pages, axe for accessibility.

The fixtures reach every test through conftest.py. Where Node, npm or a browser is missing, tests are skipped with that
reason; with TRACE_REQUIRE_NPM or TRACE_REQUIRE_BROWSER set they fail.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.project import ROOT

PAGE_MILLISECONDS = 120_000
"""The longest that a page is waited for: a busy machine's browser, not a reader's patience."""

JAVASCRIPT = ROOT / "tests" / "javascript"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC_CHROME = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def _missing(reason: str, variable: str):
    if os.environ.get(variable):
        pytest.fail(reason)
    pytest.skip(reason)


def node() -> str:
    """The path of Node.js."""
    found = shutil.which("node")
    if found is None:
        _missing("node is not installed", "TRACE_REQUIRE_NPM")
    return found


def node_tests(name: str, folder: Path, explorer: str, **data) -> None:
    """Run tests/javascript/NAME.test.mjs with `node --test`; each of its tests must pass.

    Beside it in `folder` stand explorer.mjs, the joined module that a reader gets, and KEY.json for each `data`.
    """
    from helpers.views import explorers

    (folder / "explorer.mjs").write_text(explorers.explorer_script(explorer), encoding="utf-8")
    for key, value in data.items():
        (folder / f"{key}.json").write_text(json.dumps(value), encoding="utf-8")
    shutil.copy(JAVASCRIPT / f"{name}.test.mjs", folder)
    command = [node(), "--test", "--test-reporter=tap", f"{name}.test.mjs"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=300)
    passed = [line for line in result.stdout.splitlines() if line.startswith("# pass ")]
    failed = result.stdout[result.stdout.find("\nnot ok") :]  # from the first that failed on
    assert result.returncode == 0, failed[:6000] + result.stderr[-2000:]
    assert passed, result.stdout
    assert int(passed[0].split()[-1]) > 0, "no test ran"


def browser_executable() -> str:
    """The path of Chromium or Chrome as installed on this machine."""
    found = [*map(shutil.which, BROWSERS), MAC_CHROME if os.path.exists(MAC_CHROME) else None]
    executable = next((path for path in found if path), None)
    if executable is None:
        _missing(f"no browser found (looked for {', '.join(BROWSERS)})", "TRACE_REQUIRE_BROWSER")
    return executable


@pytest.fixture(scope="module")
def browser():
    """Chromium or Chrome, headless."""
    executable = browser_executable()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=executable, headless=True, args=OPTIONS, timeout=PAGE_MILLISECONDS
        )
        yield launched
        launched.close()


@pytest.fixture
def offline_page(browser, tmp_path):
    """A function that opens an HTML document from disk with the network off.

    At the end of the test no page may have made a request beyond its own file, or have written an error or a warning
    to the console.
    """
    opened = []

    def start(html: str, width: int = 1440, height: int = 900, dark: bool = False, fragment: str = ""):
        path = tmp_path / f"page-{len(opened)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            offline=True,
            accept_downloads=True,
        )
        context.set_default_timeout(PAGE_MILLISECONDS)
        page = context.new_page()
        page.requests, page.problems = [], []
        own = path.as_uri()

        def requested(request):
            if not request.url.startswith((own, "blob:", "data:")):
                page.requests.append(request.url)

        def heard(message):
            if message.type in ("error", "warning"):
                page.problems.append(message.text)

        page.on("request", requested)
        page.on("console", heard)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(own + fragment)
        opened.append((context, page))
        return page

    yield start
    told = [(page.requests, page.problems) for _, page in opened]
    for context, _ in opened:
        context.close()
    assert [requests for requests, _ in told] == [[]] * len(told)
    assert [problems for _, problems in told] == [[]] * len(told)


def npm_install(npm: str, package: str, folder: Path) -> None:
    """Install a package of npm in the folder; a network that fails once is asked again."""
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", package]
    for _ in range(3):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode == 0:
            return
    raise AssertionError(f"npm cannot install {package}: {done.stderr[-2000:]}")


@pytest.fixture(scope="session")
def axe_script(tmp_path_factory) -> str:
    """The text of axe-core, in the version that package.json pins."""
    npm = shutil.which("npm")
    if npm is None:
        _missing("npm is not installed", "TRACE_REQUIRE_NPM")
    version = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]["axe-core"]
    folder = tmp_path_factory.mktemp("axe")
    npm_install(npm, f"axe-core@{version}", folder)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


class Axe:
    """Called with a page, it gives what axe finds in it against WCAG 2.0 to 2.2, A and AA: one line per element.

    `rules`: these rules only, and without axe's look at the style sheets, which it would ask for. With `begin` and
    `found` two pages are looked at in the same time.
    """

    def __init__(self, script: str) -> None:
        self._script = script

    def __call__(self, page, within: str = "body", rules: tuple[str, ...] = ()) -> list[str]:
        self.begin(page, within, rules)
        return self.found(page)

    def begin(self, page, within: str = "body", rules: tuple[str, ...] = ()) -> None:
        """Start to look, and do not wait."""
        chosen = {"type": "rule", "values": list(rules)} if rules else {"type": "tag", "values": WCAG}
        options = {"runOnly": chosen, "preload": not rules, "resultTypes": ["violations"]}
        page.evaluate("script => globalThis.axe || (0, eval)(script)", self._script)
        page.evaluate("([within, options]) => { globalThis.axeRun = axe.run(within, options) }", [within, options])

    def found(self, page) -> list[str]:
        """What was found; waits for it."""
        result = page.evaluate("globalThis.axeRun")
        assert result["passes"], "axe checked nothing"
        return [
            f"{violation['id']}: {' '.join(node['target'])} {node['failureSummary']}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]


@pytest.fixture
def axe(axe_script) -> Axe:
    """What axe finds in a page."""
    return Axe(axe_script)
