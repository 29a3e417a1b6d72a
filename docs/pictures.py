"""Makes the picture of the README from a recording of the article's script: python docs/pictures.py"""

import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import article, checkpoints, compat, devices, record
from helpers.views.pictures import png
from helpers.views.recording_figures import stage_figure

NEW_TOKENS = 24


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    device = devices.chosen_device()
    dtype = compat.dtype_argument(devices.chosen_dtype(device))
    with record(steps=None) as recording:
        model = AutoModelForCausalLM.from_pretrained(checkpoints.chosen(), device_map=str(device), **dtype)
        tokenizer = AutoTokenizer.from_pretrained(checkpoints.chosen())
        pipe = pipeline(
            "text-generation", model=model, tokenizer=tokenizer, max_new_tokens=NEW_TOKENS,
            **compat.pipeline_device(model, device), **article.SAMPLING,
        )  # fmt: skip
        torch.manual_seed(0)
        pipe(article.prompt(tokenizer))
    title = f"{NEW_TOKENS} new tokens, every step recorded; transformers {transformers.__version__}"
    file = Path(__file__).with_name("stages.png")
    file.write_bytes(png(stage_figure(recording, title)))
    print(f"{file.name}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
