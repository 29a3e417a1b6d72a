"""How long the step-through player takes to open, and to draw a step, in Chromium, from a page on disk."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from measure import write
from playwright.sync_api import sync_playwright
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import checkpoints, compat, record, reference_recording, step_through
from tests.explorer_tools import OPTIONS, browser_executable

ZOOM = ("landmarks", "modules", "functions", "memory")
NEW_TOKENS = 76  # every step in full: about 50,000 events of the demo model
STEPS = 300  # drawn, for each kind of step
OPENINGS = 7

# When the first line of source stands in the page: script, data and layout are done.
SHOWN = """
new MutationObserver((_, observer) => {
    if (!document.querySelector(".player .line, .player .note")) return;
    observer.disconnect();
    requestAnimationFrame(() => { window.shownAt = performance.now(); });
}).observe(document, { childList: true, subtree: true });
"""
# From the key to the end of layout, one step in each frame: what must fit into the frame.
STEP = """
async ([key, shift, times]) => {
    const walk = document.querySelector(".source-lines");
    const root = document.querySelector(".explorer");
    const taken = [];
    for (let step = 0; step < times; step++) {
        await new Promise(requestAnimationFrame);
        const began = performance.now();
        walk.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey: shift, bubbles: true }));
        root.getBoundingClientRect();
        taken.push(performance.now() - began);
    }
    return taken;
}
"""
KINDS = (
    ("forward", "ArrowRight", False, "load"),
    ("forward", "ArrowRight", False, "prefill"),
    ("next landmark", "ArrowRight", True, "decode"),
    ("back", "ArrowLeft", False, "end"),
)


def long_recording():
    """A load and NEW_TOKENS tokens of the demo model, every step in full."""
    checkpoint = str(checkpoints.demo())
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    with record(*ZOOM, steps=None) as recording:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(torch.float32))
        ids = tokenizer("Once upon a time", return_tensors="pt")
        model.generate(**ids, do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)
    return recording


def begins(recording) -> dict[str, int]:
    """Events at which the measured steps begin."""
    steps = recording.events["step"]
    first = lambda step: int((steps == step).argmax())  # noqa: E731
    return {"load": 0, "prefill": first(0), "decode": first(3), "end": len(recording) - 1}


def rows_of(name: str, recording, chromium) -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        page_file = Path(folder) / "page.html"
        page_file.write_text(step_through(recording).to_html(), encoding="utf-8")
        size = page_file.stat().st_size
        context = chromium.new_context(offline=True, viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.add_init_script(SHOWN)

        def opened(fragment: str = "") -> float:
            page.goto("about:blank")
            page.goto(page_file.as_uri() + fragment)
            page.wait_for_function("() => window.shownAt")
            return page.evaluate("window.shownAt")

        times = [opened() for _ in range(OPENINGS + 1)][1:]
        label = f"{name}: {len(recording):,} events, {size / 1000:,.0f} kB"
        rows = [row(f"open {label}", times)]
        for kind, key, shift, place in KINDS:
            opened(f"#step={begins(recording)[place]}")
            work = page_work(context, page)
            times = page.evaluate(STEP, [key, shift, STEPS])
            rows.append(row(f"{kind}, from the {place}: {name}", times, work() / STEPS))
        context.close()
    return rows


def page_work(context, page):
    """A function that gives the milliseconds of the page's thread since now: script, style and layout, no waiting."""
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent() -> float:
        metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
        return 1000 * sum(metrics[f"{part}Duration"] for part in ("Script", "RecalcStyle", "Layout"))

    before = spent()
    return lambda: spent() - before


def row(name: str, times: list[float], work: float | None = None) -> str:
    own = "" if work is None else f"{work:.1f}"
    text = f"| {name} | {statistics.median(times):.1f} | {max(times):.1f} | {own} | {len(times)} |"
    print(text, file=sys.stderr)
    return text


def main() -> None:
    load = os.getloadavg()[0]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_executable(), args=OPTIONS)
        reference = reference_recording.make(*reference_recording.CLOSER_ZOOM)
        rows = rows_of("reference recording", reference, chromium)
        rows += rows_of("long recording", long_recording(), chromium)
        version = chromium.version
        chromium.close()
    table = "\n".join(["| what | median ms | worst ms | own ms | times |", "|---|---|---|---|---|", *rows])
    note = (
        f"Chromium {version}, headless, no GPU. A step: from its key to the end of layout, one in each frame; its own "
        "milliseconds are the mean of what the page's thread worked, without waiting for a processor.\n\n"
        f"When it began the machine had {load:.1f} runnable processes for {os.cpu_count()} cores."
    )
    write("explorers", "The step-through player", f"{table}\n\n{note}")


if __name__ == "__main__":
    main()
