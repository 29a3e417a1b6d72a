"""What recording costs: ratios recorded / plain of the same work, interleaved, median of nine pairs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from measure import ratio, seconds, write
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from helpers import checkpoints, compat, record

ALL_BUT_LINES = ("landmarks", "calls", "modules", "functions", "memory", "sampling", "values")
NEW_TOKENS = 16
FIRST_LOAD = """
import contextlib, sys, time
import torch
from helpers import compat, record
from transformers import AutoModelForCausalLM
began = time.perf_counter()
with record() if sys.argv[2] == "recorded" else contextlib.nullcontext():
    AutoModelForCausalLM.from_pretrained(sys.argv[1], **compat.dtype_argument(torch.float32))
print(time.perf_counter() - began)
"""
"""A load in a process that has loaded nothing yet, which imports what it needs; record() begins with those imports."""
PROMPT_TOKENS = 173  # as many as the article's prompt has with Llama-2's tokenizer


def load(checkpoint: str) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(torch.float32))


def recorded(work, *zoom: str, steps: int | None = 4):
    def run():
        with record(*zoom, steps=steps) as recording:
            work()
        return recording

    return run


def events_unwritten(work):
    """Every step recorded by a recorder that is told of each event, looks up its watch and writes nothing. What is left
    is the interpreter's telling, the callbacks' way to the writer, and entering and leaving the recording. (No step is
    seen, so that none becomes a summary row.)"""
    run = recorded(work, steps=None)

    def writes_nothing(probe, *_):
        probe.state()  # made by the first event that is written; the callbacks look for it
        return (lambda watch, frame: None), (lambda state, value, status: None)

    def unwritten():
        with mock.patch("helpers.probes.calls.event_writer", writes_nothing), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no step was seen
            if len(run()):
                raise RuntimeError("An event was written: this is not the cost without writing.")

    return unwritten


def four_layers(checkpoint: str) -> torch.nn.Module:
    """A tiny random Llama of four layers: next to no work between two events, so the worst case."""
    return LlamaForCausalLM(LlamaConfig.from_pretrained(checkpoint, num_hidden_layers=4)).eval()


def generation(model: torch.nn.Module):
    """A greedy generation of NEW_TOKENS tokens from PROMPT_TOKENS ids, without the tokenizer."""
    ids = (torch.arange(PROMPT_TOKENS) % (model.config.vocab_size - 10) + 5).unsqueeze(0)

    def run():
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
        )  # fmt: skip

    return run


def first_load(checkpoint: str, how: str):
    """A function that loads in a new process, recorded or plain, and gives the seconds of the load and of record()."""

    def run() -> float:
        command = [sys.executable, "-c", FIRST_LOAD, checkpoint, how]
        answer = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return float(answer.stdout)

    return run


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    demo, tiny = str(checkpoints.demo()), str(checkpoints.tiny())
    AutoTokenizer.from_pretrained(demo)
    generate, generate_tiny = generation(load(demo)), generation(four_layers(tiny))
    rows = []

    def measure(name: str, plain, with_it, timed=seconds) -> None:
        figures = ratio(plain, with_it, timed=timed)
        rows.append(
            f"| {name} | ×{figures['ratio']:.2f} | ×{figures['lowest']:.2f} – ×{figures['highest']:.2f} "
            f"| {figures['plain'] * 1000:.0f} | {figures['recorded'] * 1000:.0f} |"
        )
        print(rows[-1], file=sys.stderr)

    measure("generate, default zoom (4 steps in full)", generate, recorded(generate))
    measure("generate, every step in full", generate, recorded(generate, steps=None))
    measure("generate, every step, events told and not written", generate, events_unwritten(generate))
    measure("generate, landmarks only, every step", generate, recorded(generate, "landmarks", steps=None))
    measure("generate, all levels but lines, every step", generate, recorded(generate, *ALL_BUT_LINES, steps=None))
    measure("generate, tiny model of 4 layers, default zoom", generate_tiny, recorded(generate_tiny))
    measure("generate, tiny model, every step in full", generate_tiny, recorded(generate_tiny, steps=None))
    measure("generate, tiny model, every step, not written", generate_tiny, events_unwritten(generate_tiny))
    measure("warm load, default zoom", lambda: load(demo), recorded(lambda: load(demo)))
    measure(
        "first load of a process, default zoom", first_load(demo, "plain"), first_load(demo, "recorded"),
        timed=lambda run: run(),
    )  # fmt: skip
    measure("off means off: plain / plain, after the recordings", generate, generate)
    table = "\n".join(["| work | ratio | spread | plain ms | recorded ms |", "|---|---|---|---|---|", *rows])
    load_now = f"When it ended the machine had {os.getloadavg()[0]:.1f} runnable processes for {os.cpu_count()} cores."
    write("recorder", "Cost of recording", f"{table}\n\n{sizes(generate)}\n\n{load_now}")


def sizes(generate) -> str:
    """File size and events of a default and a full recording of the generation."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in (("default", 4), ("every step in full", None)):
            recording = recorded(generate, steps=steps)()
            size = recording.save(Path(folder) / f"{name}.json.gz").stat().st_size
            kept = int(recording.step_rows["kept"].sum())
            events = f"{len(recording):,} events, {size / 1000:.0f} kB"
            lines.append(f"{name}: {events}, {kept} of {NEW_TOKENS} steps in full.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
