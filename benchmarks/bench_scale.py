"""How the cost of recording grows: with tokens, layers, parameters per load and threads. Slopes by least squares.

Tiny widths, so that the recorder and not the model is measured. Each row is the median of three interleaved pairs.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers
from measure import ratio, write
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from helpers import Recording, record

PAIRS = 3
TOKENS = (16, 64, 128, 256, 512)
LAYERS = (2, 10, 20, 40, 80)
TENSORS = (100, 1_000, 3_000, 10_000)
THREADS = (1, 2, 4, 8)
TENSORS_PER_LAYER = 9  # of a Llama: four of attention, three of the MLP, two norms
CALLS_PER_THREAD = 300


def llama(layers: int) -> LlamaForCausalLM:
    """A random Llama of width 16."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=64, max_position_embeddings=1024, tie_word_embeddings=False, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def generation(model: LlamaForCausalLM, tokens: int) -> Callable[[], object]:
    ids = torch.arange(8)[None] + 5
    return lambda: model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, min_new_tokens=tokens
    )


def checkpoint(folder: Path, tensors: int) -> Path:
    """A checkpoint of about `tensors` tensors: a Llama with as many layers as that takes, in one file."""
    path = folder / f"tensors-{tensors}"
    model = llama(max(1, round((tensors - 3) / TENSORS_PER_LAYER)))
    path.mkdir()
    model.config.architectures = ["LlamaForCausalLM"]
    model.config.save_pretrained(path)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    return path


def in_threads(count: int) -> Callable[[], object]:
    """The same module calls in `count` threads at once."""
    network = torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(10)))
    batch = torch.zeros(1, 8)

    def run() -> None:
        def work() -> None:
            for _ in range(CALLS_PER_THREAD):
                network(batch)

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def measured(work: Callable[[], object], folder: Path) -> dict[str, float]:
    """Seconds added, events, bytes that the finished recording holds, bytes of its file."""

    def recorded() -> Recording:
        with record(steps=None) as recording:
            work()
        return recording

    figures = ratio(work, recorded, pairs=PAIRS)
    gc.collect()
    tracemalloc.start()
    recording = recorded()
    gc.collect()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "ratio": figures["ratio"],
        "plain": figures["plain"],
        "added": figures["recorded"] - figures["plain"],
        "events": len(recording),
        "held": held,
        "file": recording.save(folder / "run.json.gz").stat().st_size,
    }


def section(title: str, unit: str, sizes: Iterable[int], work_of: Callable[[int], Callable], folder: Path) -> str:
    """A table of one thing that grows, and its slopes."""
    rows = []
    for size in sizes:
        rows.append((size, measured(work_of(size), folder)))
        print(f"{title}: {size} {unit}", file=sys.stderr)
    lines = [
        f"## {title}",
        "",
        f"| {unit} | events | plain ms | ratio | added ms | held MB | file kB |",
        "|---|---|---|---|---|---|---|",
        *(_line(size, row) for size, row in rows),
        "",
    ]
    sizes = np.array([size for size, _ in rows], dtype=float)
    slopes = [_slope(sizes, [row[name] * factor for _, row in rows], of) for name, factor, of in SLOPES]
    return "\n".join([*lines, f"Per {unit.rstrip('s')}: {'; '.join(slopes)}."])


SLOPES = (("added", 1e6, "µs"), ("held", 1, "bytes held"), ("file", 1, "bytes of file"), ("events", 1, "events"))


def _line(size: int, row: dict[str, float]) -> str:
    return (
        f"| {size:,} | {row['events']:,} | {row['plain'] * 1e3:.0f} | ×{row['ratio']:.2f} "
        f"| {row['added'] * 1e3:.0f} | {row['held'] / 1e6:.2f} | {row['file'] / 1e3:.1f} |"
    )


def _slope(sizes: np.ndarray, values: list[float], of: str) -> str:
    """The slope of a straight line through the values, and how much of their variation it explains (R²)."""
    y = np.array(values)
    slope, intercept = np.polyfit(sizes, y, 1)
    spread = ((y - y.mean()) ** 2).sum()
    if not spread:
        return f"0 {of}"
    return f"{slope:,.1f} {of} (R² {1 - ((y - slope * sizes - intercept) ** 2).sum() / spread:.3f})"


def main() -> None:
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    small = llama(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def load_of(tensors: int) -> Callable[[], object]:
            path = checkpoint(folder, tensors)
            return lambda: AutoModelForCausalLM.from_pretrained(path)

        parts = [
            section(f"{what}, every step in full", unit, sizes, work_of, folder)
            for what, unit, sizes, work_of in (
                ("Generated tokens, 2 layers", "tokens", TOKENS, lambda count: generation(small, count)),
                ("Layers, 8 tokens", "layers", LAYERS, lambda count: generation(llama(count), 8)),
                ("Tensors of a checkpoint, one load", "tensors", TENSORS, load_of),
                (f"Threads, {CALLS_PER_THREAD} calls of a module of 10", "threads", THREADS, in_threads),
            )
        ]
    write("scale", "How the cost of recording grows", "\n\n".join(parts))


if __name__ == "__main__":
    main()
