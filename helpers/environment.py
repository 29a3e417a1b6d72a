"""Where and how a recording was made."""

from __future__ import annotations

import functools
import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata

import torch

from . import process_group
from .recorder_settings import ZOOMS

_PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "tokenizers", "huggingface_hub")


@functools.cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cuda_devices() -> list[str]:
    """The names of the GPUs, where the program uses one: asking for a name would set CUDA up, and take its memory."""
    if not torch.cuda.is_initialized():
        return [f"{count} not initialised"] if (count := torch.cuda.device_count()) else []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def environment(zoom: Iterable[str], steps: int | None, probe: str, began: int) -> dict:
    """Where and how a recording was made: versions, Python, devices, threads, loading mode; plain values only.

    `began`: when, in nanoseconds of time.perf_counter_ns().
    """
    return {
        **{package: _version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cuda_devices": _cuda_devices(),
        "async_load": os.environ.get("HF_DEACTIVATE_ASYNC_LOAD", "").upper() not in ("1", "TRUE", "YES", "ON"),
        "zoom": [name for name in ZOOMS if name in zoom],
        "steps_in_full": steps,
        "probe": probe,
        "recorder_python_implementation": sys.implementation.name,
        **process_group.described(began),
    }
