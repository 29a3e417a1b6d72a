"""Makes the README's screenshots of the two explorers, from the explorers as they are built: python docs/screenshots.py

Needs Chromium or Chrome, and the demo checkpoint; writes step_through.png and sampling_explorer.png beside itself.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
import transformers
from playwright.sync_api import sync_playwright
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import checkpoints, compat, explore_sampling, landmarks, reference_recording, step_through
from tests.explorer_tools import OPTIONS, browser_executable

FOLDER = Path(__file__).parent
SIZE = {"width": 1440, "height": 900}
PROMPT = "Once upon a time, there was a little girl. There was a"


def player_page() -> str:
    """The committed recording of the newest tested version: the picture is the same on every machine."""
    recording = reference_recording.committed(landmarks.tested_versions()[-1])
    event = recording.find("model.layers.0.self_attn", step=1)["event"].iloc[0]
    return step_through(recording, event=int(event)).to_html()


def sampling_page() -> str:
    model = AutoModelForCausalLM.from_pretrained(checkpoints.demo(), **compat.dtype_argument(torch.float32))
    return explore_sampling(model, AutoTokenizer.from_pretrained(checkpoints.demo()), PROMPT).to_html()


def set_sampling(page) -> None:
    for name, text in (("temperature", "0.7"), ("top_p", "0.9"), ("repetition_penalty", "1.1")):
        field = page.get_by_label(name, exact=True)
        field.fill(text)
        field.press("Enter")
    page.get_by_role("button", name="Draw 1,000").click()


PICTURES = {
    "step_through.png": (player_page, ".player", lambda page: None),
    "sampling_explorer.png": (sampling_page, ".sampling", set_sampling),
}


def take(chromium, name: str) -> None:
    make, shown, use = PICTURES[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(make(), encoding="utf-8")
        page = chromium.new_page(viewport=SIZE, color_scheme="light", reduced_motion="reduce")
        page.goto(file.as_uri())
        page.wait_for_selector(f".explorer {shown}")
        use(page)
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)  # what is drawn at rest
        picture = FOLDER / name
        page.screenshot(path=picture)
        page.close()
    print(f"{name}: {picture.stat().st_size:,} bytes")


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_executable(), args=OPTIONS)
        for name in sys.argv[1:] or PICTURES:
            take(chromium, name)
        chromium.close()


if __name__ == "__main__":
    main()
