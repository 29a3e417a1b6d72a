"""How a recording writes dtypes and devices."""

from __future__ import annotations

import functools

import torch


@functools.cache
def dtype_name(dtype: torch.dtype | str) -> str:
    """As "float32", without torch's own name."""
    return str(dtype).removeprefix("torch.")


@functools.cache
def device_name(device: torch.device | str) -> str:
    """As "cpu" or "cuda:0"."""
    return str(device)
