"""How quickly the sampling explorer answers: with a kernel beyond the forward pass, and on a page in Node and Chromium.

Demo model, chains of different length, medians. A page's figures need Chromium (and are left out without it).
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from measure import seconds, write
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import checkpoints, compat
from helpers.sampling_answers.answers import FIRST_REQUEST
from helpers.views.sampling_explorer import explore_sampling

RUNS = 15
PROMPT = "Once upon a time, there was a"
SETTINGS = {
    "do_sample only (top_k=50)": {"do_sample": "True"},
    "the article's: penalty, temperature, top_k, top_p": {
        "do_sample": "True",
        "repetition_penalty": "1.1",
        "temperature": "0.7",
        "top_k": "40",
        "top_p": "0.95",
    },
    "every step on, the tail kept": {
        "do_sample": "True",
        "repetition_penalty": "1.1",
        "no_repeat_ngram_size": "3",
        "temperature": "1.5",
        "top_k": "20000",
        "top_p": "0.99",
        "min_p": "1e-05",
        "typical_p": "0.98",
        "epsilon_cutoff": "1e-06",
        "eta_cutoff": "1e-06",
    },
}
ON_THE_PAGE = """async ([asked, runs]) => {
    const field = (name) => document.querySelector(`.explorer input[aria-label="${name}"]`);
    const times = [];
    const set = (name, text) => {
        const one = field(name);
        one.value = text;
        const began = performance.now();
        one.dispatchEvent(new Event("change"));
        return performance.now() - began;
    };
    for (const [name, text] of Object.entries(asked)) if (name !== "do_sample") set(name, text);
    for (let run = 0; run < runs; run++) times.push(set("temperature", run % 2 ? "1.5" : "1.45"));
    return times;
}"""


def in_the_kernel(explorer, where: str) -> list[str]:
    """Milliseconds from a request to its result in Python: what comes beyond the forward pass. Beside the time that
    passed stands that of the processor, of all threads together, which other programs disturb less.
    """
    rows = []
    for name, asked in SETTINGS.items():
        requests = [{**FIRST_REQUEST, "serial": f"{name} {run}", "a": asked} for run in range(RUNS + 1)]
        times, processor_times = [], []
        for request in requests:
            began = time.process_time()
            times.append(1000 * seconds(partial(explorer.set_trait, "request", request)))
            processor_times.append(1000 * (time.process_time() - began))
        rows.append(row(f"{where}: {name}", times[1:], processor_times[1:]))
    return rows


def on_the_page(html: str, folder: Path) -> list[str]:
    """Milliseconds of a change of setting in Chromium: computed and drawn, up to the browser's own layout."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        return ["| page: no Chromium found, not measured | | | |"]
    from playwright.sync_api import sync_playwright

    path = folder / "page.html"
    path.write_text(html, encoding="utf-8")
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        for name, asked in SETTINGS.items():
            page = browser.new_page()
            page.goto(path.as_uri())
            page.wait_for_selector(".explorer .sampling")
            rows.append(row(f"page: {name}, temperature moved", page.evaluate(ON_THE_PAGE, [asked, RUNS])))
            page.close()
        browser.close()
    return rows


def row(name: str, times: list[float], processor_times: list[float] | None = None) -> str:
    processor = f"{statistics.median(processor_times):.0f}" if processor_times else ""
    line = f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} | {processor} |"
    print(line, file=sys.stderr)
    return line


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    folder = checkpoints.demo()
    model = AutoModelForCausalLM.from_pretrained(folder, **compat.dtype_argument(torch.float32))
    explorer = explore_sampling(model, AutoTokenizer.from_pretrained(folder), PROMPT)
    html = explorer.to_html()
    with tempfile.TemporaryDirectory() as temporary:
        threads = torch.get_num_threads()
        rows = in_the_kernel(explorer, f"kernel, {threads} torch threads")
        torch.set_num_threads(1)  # threads that wait for each other on a busy machine cost more than they give
        rows += in_the_kernel(explorer, "kernel, 1 torch thread")
        torch.set_num_threads(threads)
        rows += on_the_page(html, Path(temporary))
    table = "\n".join(["| a change of setting | median ms | worst ms | median CPU ms |", "|---|---|---|---|", *rows])
    nodes = len(explorer.twin_data()["distributions"])
    page = f"The page: {len(html) / 1000:.0f} kB of HTML with {nodes} distributions"
    load = f" Load average at the end: {os.getloadavg()[0]:.1f}." if hasattr(os, "getloadavg") else ""
    size = f"{page}. Vocabulary: {model.config.vocab_size:,} tokens.{load}"
    write("sampling_explorer", "The sampling explorer's answers", f"{table}\n\n{size}")


if __name__ == "__main__":
    main()
