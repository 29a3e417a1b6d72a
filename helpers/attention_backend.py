"""Which implementation of scaled dot-product attention really ran: flash, memory-efficient, cuDNN or plain mathematics.

PyTorch decides it anew for each call, by shapes, dtype, mask and device, so it is observed and not predicted: one
forward pass runs under torch.profiler, and the operators and, on a GPU, the kernels that ran are read by name. The
profiler waits for the GPU, which is why this is a question of its own and no part of a recording.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from .tables import Table

# Operator that one backend alone calls, to its name. Source: aten/src/ATen/native/native_functions.yaml.
BACKENDS = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_attention_math": "math",
    "aten::_scaled_dot_product_attention_math_for_mps": "math",
}
KERNEL_WORDS = ("flash", "fmha", "efficient", "cudnn", "attention", "mha")


def attention_backends(work: Callable[[], object]) -> Table:
    """Run `work` once under torch.profiler: one row per backend that attention took.

    Columns: backend (flash, efficient, cudnn or math), operator, calls, kernels (names of the GPU's kernels that have
    to do with attention, in all of `work`; "" on a CPU, which has none). No row: attention did not go through
    torch's scaled_dot_product_attention (eager, or a kernel of another package). Waits for the GPU.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler's library writes to stderr that it starts
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler, torch.no_grad():
        work()
    averages = profiler.key_averages()
    on_gpu = [row.key for row in averages if row.device_type != torch.autograd.DeviceType.CPU]
    kernels = sorted({name for name in on_gpu if any(word in name.lower() for word in KERNEL_WORDS)})
    rows = [
        {"backend": BACKENDS[row.key], "operator": row.key, "calls": row.count, "kernels": ", ".join(kernels)}
        for row in averages
        if row.key in BACKENDS
    ]
    return Table.of(sorted(rows, key=lambda row: -row["calls"]), ["backend", "operator", "calls", "kernels"])
