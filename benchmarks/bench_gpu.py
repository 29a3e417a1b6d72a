"""Llama-2-7B's shapes on a GPU: load, pipeline, the article's prompt, 512 new tokens; plain, recorded and as forecast.

The checkpoint has random weights (float16, two shards, 13.5 GB) and is written once, into TRACE_7B or the cache folder.
Without a CUDA device nothing is measured, and it says so. This was written without one: it has not been run yet.
"""

from __future__ import annotations

import gc
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from measure import RESULTS, write
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import Recording, article, checkpoints, compat, forecast, record
from helpers.attention_backend import attention_backends
from helpers.checkpoints import shaped_build

NEW_TOKENS = 512
RUNS = 3
LARGEST_RECORDING = 700_000  # bytes of the file: what may be committed


def checkpoint() -> Path:
    """The folder of the 7B-shaped checkpoint; written when it is not there."""
    folder = Path(os.environ.get("TRACE_7B") or checkpoints.cache_folder() / "checkpoints" / "llama-2-7b-shaped")
    return folder if (folder / "config.json").is_file() else shaped_build.write("llama-2-7b", folder)


def load(folder: Path, device: str) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(str(folder), device_map=device, **compat.dtype_argument(torch.float16))


def script(folder: Path, device: str) -> Recording:
    """The article's script, whole and recorded."""
    with record() as recording:
        model = load(folder, device)
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        pipe = pipeline(
            "text-generation", model=model, tokenizer=tokenizer, **compat.pipeline_device(model, device),
            max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, **article.SAMPLING,
        )  # fmt: skip
        pipe(article.prompt(tokenizer))
    return recording


def tokens_per_second(model: torch.nn.Module, ids: torch.Tensor, *, recorded: bool) -> float:
    """Median over RUNS of NEW_TOKENS generated tokens by the seconds that took, the GPU waited for at both ends."""

    def run() -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
        )  # fmt: skip
        torch.cuda.synchronize()
        return NEW_TOKENS / (time.perf_counter() - began)

    def run_recorded() -> float:
        with record():
            return run()

    work = run_recorded if recorded else run
    work()
    return statistics.median(work() for _ in range(RUNS))


def main() -> None:
    if not torch.cuda.is_available():
        print(f"No CUDA device (torch {torch.__version__}): nothing was measured.", file=sys.stderr)
        return
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    device, folder = "cuda:0", checkpoint()
    expected = forecast(folder, dtype="float16", device_map=device, new_tokens=NEW_TOKENS)
    recording = script(folder, device)
    peak = torch.cuda.max_memory_allocated(device)
    gc.collect()  # the script's model, should hooks have tied it into a cycle: two do not fit a card of 24 GB
    torch.cuda.empty_cache()
    model = load(folder, device)
    ids = AutoTokenizer.from_pretrained(str(folder))(
        article.prompt(AutoTokenizer.from_pretrained(str(folder))), return_tensors="pt", add_special_tokens=False
    )["input_ids"].to(device)
    plain, recorded = (tokens_per_second(model, ids, recorded=kind) for kind in (False, True))
    backends = attention_backends(lambda: model(ids))
    foretold = expected.on(device).allocated
    lines = [
        "| what | measured | forecast |",
        "|---|---|---|",
        f"| weights, bytes | {recording.parameters()['nbytes'].sum():,} | {expected.weights:,} |",
        f"| KV cache at the end, bytes | {recording.steps()['kv_bytes'].iloc[-1]:,} | {expected.kv_cache:,} |",
        f"| peak allocated, bytes | {peak:,} | {foretold:,} (measured / forecast {peak / foretold:.3f}) |",
        f"| tokens per second, plain | {plain:.1f} | |",
        f"| tokens per second, recorded (default zoom) | {recorded:.1f} (×{plain / recorded:.2f}) | |",
        f"| attention | {', '.join(backends['backend'])} | |",
        *(f"| copies of {row.file}, ms | {row.copied:,.0f} | |" for row in recording.shards().itertuples()),
    ]
    phases = recording.memory_phases()
    told = [
        f"- {row.phase}: allocated {row.cuda_allocated:,}, reserved {row.cuda_reserved:,}, peak {row.cuda_peak:,} "
        f"({row.peak_is})"
        for row in phases.itertuples()
    ]
    write("gpu", "Llama-2-7B's shapes on a GPU", "\n".join([*lines, "", "Bytes by phase:", "", *told]))
    print(_saved(recording))


def _saved(recording: Recording) -> str:
    """Save the recording beside the results where it is small enough to be committed."""
    with tempfile.TemporaryDirectory() as folder:
        size = recording.save(Path(folder, "run.json.gz")).stat().st_size
    if size > LARGEST_RECORDING:
        return f"The recording has {size:,} bytes, more than {LARGEST_RECORDING:,}: it was not kept."
    return f"The recording ({size:,} bytes) is in {recording.save(RESULTS / 'gpu_7b.json.gz')}"


if __name__ == "__main__":
    main()
