"""Loads a model and generates with it, as a process of its own; prints the memory that it took, as JSON, in bytes.

    python tests/measured_generation.py CHECKPOINT WARM_UP_CHECKPOINT DTYPE PROMPT_TOKENS NEW_TOKENS

Linux only. The small warm-up checkpoint goes first, so that what the libraries take for themselves is there before.
"""

import gc
import json
import sys

import torch
from transformers import AutoModelForCausalLM

from helpers import compat
from helpers.probes.kv_cache import layer_sizes


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (the highest so far): anonymous and file-mapped bytes together."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def start_new_peak() -> None:
    """VmHWM begins again at what is resident now; see clear_refs in the kernel's Documentation/filesystems/proc.rst."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def run(checkpoint: str, dtype: torch.dtype, prompt_tokens: int, new_tokens: int) -> dict[str, int]:
    gc.collect()
    start_new_peak()
    before = resident("VmRSS")
    model = AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(dtype))
    load_peak = resident("VmHWM") - before
    start_new_peak()
    ids = torch.arange(3, 3 + prompt_tokens).remainder(300).unsqueeze(0)
    output = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, min_new_tokens=new_tokens,
        do_sample=False, return_dict_in_generate=True,
    )  # fmt: skip
    cache = sum(layer.nbytes for layer in layer_sizes(output.past_key_values))
    return {"load_peak": load_peak, "generation_peak": resident("VmHWM") - before, "kv_cache": cache}


if __name__ == "__main__":
    checkpoint, small, dtype, prompt_tokens, new_tokens = sys.argv[1:]
    run(small, getattr(torch, dtype), 8, 2)
    print(json.dumps(run(checkpoint, getattr(torch, dtype), int(prompt_tokens), int(new_tokens))))
