"""The small runs in which the landmark table says what fires, and how often: each one recorded by itself.

`landmarks.json` describes them under "scenarios"; the names here are those of that description. Its rules are formulas,
so the sizes here (model, new tokens, memory) are others than in the runs that it was made from.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
from transformers.utils import logging as transformers_logging

from . import article, compat, safetensors_header
from .recorder import record
from .recording.recording import Recording

NEW_TOKENS = 3
PROMPT = "The capital of France is"
SHORTER_PROMPT = "Hello"
SHARE_IN_MEMORY = 0.75
"""Of the weights' bytes, for load_auto: accelerate sets the largest layer aside, so that a part goes to disk."""


@dataclass
class Scenarios:
    """What came of the runs: `recordings` by scenario, and `variables`, the values of the letters in the rules."""

    recordings: dict[str, Recording] = field(default_factory=dict)
    variables: dict[str, int] = field(default_factory=dict)


def run(checkpoint: str | Path) -> Scenarios:
    """Run and record every scenario on a checkpoint, on the CPU and with all steps in full.

    `checkpoint`: a folder with a Llama in more than one safetensors shard, such as `checkpoints.tiny()`. The random
    state of torch and transformers' logging are as before afterwards. Raises CheckpointError when the folder has no
    index of shards, and RecordingError when another profiler holds the interpreter.
    """
    checkpoint = str(checkpoint)
    done = Scenarios(variables=_variables(Path(checkpoint)))
    with _quiet(), torch.random.fork_rng(), tempfile.TemporaryDirectory() as offload_folder:
        _run_all(done, checkpoint, offload_folder)
    return done


def _run_all(done: Scenarios, checkpoint: str, offload_folder: str) -> None:
    def recorded(name: str, action: Callable):
        with record("modules", steps=None) as recording:
            result = action()
        done.recordings[name] = recording
        return result

    def load(**arguments):
        return AutoModelForCausalLM.from_pretrained(checkpoint, **arguments)

    recorded("load_bf16", lambda: load(**compat.dtype_argument(torch.bfloat16)))
    recorded("load_cpu", lambda: load(device_map="cpu"))
    partly_on_disk = recorded(
        "load_auto",
        lambda: load(
            device_map="auto",
            max_memory={"cpu": _memory_limit(Path(checkpoint))},
            offload_folder=offload_folder,
            **compat.dtype_argument(torch.float32),
        ),
    )
    done.variables["D"] = _tensors_on_disk(partly_on_disk.hf_device_map, safetensors_header.read_index(checkpoint))
    del partly_on_disk
    model = recorded("load_none", load)
    tokenizer = recorded("tok", lambda: AutoTokenizer.from_pretrained(checkpoint))
    length = {"min_new_tokens": NEW_TOKENS, "max_new_tokens": NEW_TOKENS}
    pipe = recorded(
        "build",
        lambda: pipeline(
            "text-generation", model=model, tokenizer=tokenizer, device="cpu", **article.SAMPLING, **length
        ),
    )
    torch.manual_seed(0)
    recorded("call", lambda: pipe(PROMPT))
    inputs = tokenizer(PROMPT, return_tensors="pt")
    recorded("greedy", lambda: model.generate(**inputs, do_sample=False, **length))
    batch = tokenizer([PROMPT, SHORTER_PROMPT], padding=True, padding_side="left", return_tensors="pt")
    recorded("padded", lambda: model(**batch))
    recorded("build_name", lambda: pipeline("text-generation", model=checkpoint, device="cpu"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no advice from transformers and accelerate; their own settings come back."""
    accelerate = logging.getLogger("accelerate")
    levels = accelerate.level, transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    accelerate.setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        accelerate.setLevel(levels[0])
        transformers_logging.set_verbosity(levels[1])
        if bars:
            transformers_logging.enable_progress_bar()


def _variables(checkpoint: Path) -> dict[str, int]:
    shard_of = safetensors_header.read_index(checkpoint)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    return {
        "L": config["num_hidden_layers"],
        "T": NEW_TOKENS,
        "S": len(set(shard_of.values())),
        "P": len(shard_of),
    }


def _memory_limit(checkpoint: Path) -> int:
    """Bytes, as SHARE_IN_MEMORY of the checkpoint in float32."""
    shards = safetensors_header.shard_files(checkpoint)
    elements = sum(math.prod(tensor.shape) for shard in shards for tensor in safetensors_header.read_header(shard))
    return int(SHARE_IN_MEMORY * elements * torch.float32.itemsize)


def _tensors_on_disk(device_map: dict[str, object], keys: Iterable[str]) -> int:
    """How many of the checkpoint's tensors belong to a module that the device map leaves on disk."""
    on_disk = tuple(f"{module}." for module, device in device_map.items() if device == "disk")
    return sum(key.startswith(on_disk) for key in keys)
