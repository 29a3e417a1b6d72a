"""How long the site takes to build when nothing changed, what it weighs, and how long its pages take to open."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measure import write
from playwright.sync_api import sync_playwright

from helpers.site import build, inspection
from tests.explorer_tools import OPTIONS, browser_executable

OPENINGS = 5


def main() -> None:
    load = os.getloadavg()[0]
    ran = []
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        began = time.perf_counter()
        build.build(site, say=ran.append)
        first = time.perf_counter() - began
        began = time.perf_counter()
        build.build(site)
        again = time.perf_counter() - began
        rows = [
            f"| build, {len(ran)} notebooks and recordings to run first | {first:.0f} s |",
            f"| build, nothing changed | {again:.0f} s |",
            f"| the whole site | {inspection.total_bytes(site) / 1e6:.1f} MB |",
            *opened(site),
        ]
    table = "\n".join(["| what | median |", "|---|---|", *rows])
    note = f"When it began the machine had {load:.1f} runnable processes for {os.cpu_count()} cores."
    write("site", "The exported site", f"{table}\n\n{note}")


def opened(site: Path) -> list[str]:
    """A row for each page: until its load event, from disk, with the network off."""
    rows = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_executable(), args=OPTIONS)
        for file in sorted(site.rglob("*.html")):
            context = chromium.new_context(offline=True, viewport={"width": 1440, "height": 900})
            page = context.new_page()
            times = []
            for _ in range(OPENINGS):
                page.goto("about:blank")
                began = time.perf_counter()
                page.goto(file.as_uri())
                times.append(1000 * (time.perf_counter() - began))
            size = file.stat().st_size / 1000
            rows.append(f"| open {file.relative_to(site)}, {size:,.0f} kB | {statistics.median(times):.0f} ms |")
            print(rows[-1], file=sys.stderr)
            context.close()
        chromium.close()
    return rows


if __name__ == "__main__":
    main()
