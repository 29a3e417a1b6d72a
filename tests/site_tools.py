"""What the tests of the exported site stand on: one site per test session, built from kept executions, opened offline.

The fixtures reach every test through conftest.py.
"""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from helpers import notebooks
from helpers.site import build, executions
from tests.explorer_tools import PAGE_MILLISECONDS

SETTINGS_OF_THE_READER = ("TRACE_MODEL", "TRACE_DEVICE", "TRACE_DTYPE", "TRACE_EXPLORERS")
"""Tests choose model, device and dtype themselves. TRACE_CACHE stays: the demo checkpoint is there."""


@pytest.fixture(scope="session")
def built_site(tmp_path_factory) -> Path:
    """The folder of the whole site, as `make site` builds it; executions are kept in build/, as there."""
    folder = tmp_path_factory.mktemp("whole") / "site"
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS_OF_THE_READER:
            patch.delenv(name, raising=False)
        build.build(folder, notebooks.paths(), executions.FOLDER)
    return folder


@pytest.fixture
def open_offline(browser):
    """A function that opens a file in Chromium with the network off. The page has `requests` beyond the files beside it
    (whatever their scheme) and `problems` (errors and warnings of the console, and files that are not there)."""
    contexts = []

    def start(file: Path, within: Path, width: int = 1440, dark: bool = False, fragment: str = ""):
        scheme = "dark" if dark else "light"
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        context.set_default_timeout(PAGE_MILLISECONDS)
        contexts.append(context)
        page = context.new_page()
        page.requests, page.problems = [], []
        own = within.resolve().as_uri()

        def requested(request):
            if not request.url.startswith((own, "blob:", "data:")):
                page.requests.append(request.url)

        def heard(message):
            if message.type in ("error", "warning"):
                page.problems.append(message.text)

        page.on("request", requested)
        page.on("requestfailed", lambda request: page.problems.append(f"failed: {request.url}"))
        page.on("console", heard)
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(f"{file.resolve().as_uri()}{fragment}")
        return page

    yield start
    for context in contexts:
        context.close()


ALIVE = ".explorer .player, .explorer .sampling"
"""What an explorer shows when its data is unpacked."""


def mount_explorers(page) -> None:
    """Scroll to each explorer, so that it is there, and back to the top."""
    twins = page.locator(".explorer-twin")
    for number in range(twins.count()):
        twins.nth(number).scroll_into_view_if_needed()
        twins.nth(number).locator(ALIVE).first.wait_for()
    page.evaluate("scrollTo(0, 0)")


def settle(page) -> None:
    """Wait until what a change of the window's size or theme sets off is over."""
    page.evaluate("""async () => {
      const frame = () => new Promise((done) => requestAnimationFrame(done));
      for (let number = 0; number < 3; number++) await frame();
      await Promise.all(document.getAnimations().map((one) => one.effect.getComputedTiming().endTime === Infinity
        ? null : one.finished.catch(() => null)));
      for (let number = 0; number < 3; number++) await frame();
    }""")


TEXTS = """([html, selector]) => {
  const page = new DOMParser().parseFromString(html, "text/html");
  page.querySelectorAll("script, style").forEach((element) => element.remove());
  return [...page.querySelectorAll(selector)].map((element) => element.textContent);
}"""


def texts_in(page, html: str, selector: str) -> list[str]:
    """The text of each element of a document that fits the selector, as it stands in the file; any page parses it."""
    return page.evaluate(TEXTS, [html, selector])


def text_of_output(page, output) -> str:
    """What a reader sees of a notebook's output: the text of its HTML where it has any."""
    data = output.get("data", {})
    if "text/html" in data:
        return "".join(texts_in(page, data["text/html"], "body"))
    return output.get("text") or data["text/plain"]


def squeezed(text: str) -> str:
    """Text without spaces and without the colours of a terminal."""
    return re.sub(r"\s+", "", re.sub(r"\x1b\[[0-9;]*m", "", text))


OF_LAYOUT = ("color-contrast", "scrollable-region-focusable", "target-size")
"""The rules of axe that depend on layout and colours."""
RAW = re.compile(
    r"Traceback \(most recent|\bundefined\b|\[object |application/vnd\.|<[\w.]+ object at 0x|<Figure size"
    r"|\b[A-Z]\w*\((?:children|value|description|options|layout|outputs)=|\bOutput\(\)|\binteractive\(children"
)
"""What a page shows where something went wrong: an error, a value that is not there, a widget without its kernel."""
WORDLESS = """() => {
  const images = [...document.images].filter((image) => !image.alt.trim() && image.ariaHidden !== "true");
  const named = document.querySelectorAll("[aria-label*=undefined], [title*=undefined], [alt*=undefined]");
  return [...images, ...named].map((one) => one.outerHTML.slice(0, 90));
}"""
SPELT_OUT = """() => [...document.querySelectorAll("main :is(h1, h2, h3, h4, p, li, td, th, button, label, summary)")]
  .filter((one) => one.checkVisibility() && one.innerText.trim().length > 5)
  .filter((one) => {
    const { width, height } = one.getBoundingClientRect();
    const size = parseFloat(getComputedStyle(one).fontSize);
    return width > 2 && width < 2 * size && height > 5 * size;
  })
  .map((one) => one.outerHTML.slice(0, 90))"""
"""Words of which each line has a letter or two."""


def layout_problems(page, width: int) -> list[str]:
    """What is wrong with a page as it stands now: wider than the screen, headings, raw text, words broken into letters,
    pictures without words."""
    wide = page.evaluate("document.documentElement.scrollWidth")
    found = [f"{wide} pixels wide, on a screen of {width}"] if wide > width else []
    found += heading_problems(page)
    found += [f"it shows {text!r}" for text in RAW.findall(page.inner_text("main"))]
    found += [f"a letter or two a line: {one}" for one in page.evaluate(SPELT_OUT)]
    return found + [f"without words: {one}" for one in page.evaluate(WORDLESS)]


PAPER = 718
"""The width of A4 between margins of 10 mm, in CSS pixels."""
CUT = """(within) => [...document.querySelectorAll(`${within} *`)].filter((element) => {
    const { width, right } = element.getBoundingClientRect();
    if (!element.checkVisibility() || width < 2) return false;
    const clips = getComputedStyle(element).overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1;
    return clips || right > innerWidth + 1;
  }).map((element) => `cut on paper: ${element.outerHTML.slice(0, 120)}`)"""


def print_problems(page, within: str, axe) -> list[str]:
    """What is wrong with the page on paper: what is cut, what is pale, explorers in place of their tables."""
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 1000})
    settle(page)
    found = [*page.evaluate(CUT, within), *axe(page, within, rules=("color-contrast",))]
    for twin in page.locator(".explorer-twin").all():
        if not twin.locator(".explorer-static table").first.is_visible():
            found.append("an explorer whose static table is not there")
        if twin.locator("section.explorer").is_visible():
            found.append("an explorer in place of its table")
    return found


HEADINGS = """() => [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')]
  .filter((heading) => heading.checkVisibility())
  .map((heading) => [Number(heading.tagName[1]), heading.textContent.trim()])"""


def heading_problems(page) -> list[str]:
    """Headings that skip a level on the way down, and pages without exactly one of the first level."""
    headings = page.evaluate(HEADINGS)
    found = [f"{sum(level == 1 for level, _ in headings)} headings of level 1"]
    problems = found if found != ["1 headings of level 1"] else []
    for (above, _), (level, text) in pairwise(headings):
        if level > above + 1:
            problems.append(f"{text!r} is of level {level}, after one of level {above}")
    return problems
