"""The device and the dtype that the notebooks run on: the reader's choice, or the best that is there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "float16", "bfloat16", "float64")


class DeviceError(RuntimeError):
    """TRACE_DEVICE or TRACE_DTYPE asks for what is not there; the message says what is."""


@dataclass(frozen=True)
class DeviceDescription:
    """One device: `total` and `free` memory in bytes; None where the system does not say."""

    device: str
    name: str
    total: int | None
    free: int | None


def chosen_device() -> torch.device:
    """TRACE_DEVICE; without it the CUDA device with the most free memory, else Apple's mps, else the CPU.

    TRACE_DEVICE=cuda without a number also takes the CUDA device with the most free memory.
    Raises DeviceError when TRACE_DEVICE is no device name, or names a device that is not there.
    """
    import torch

    wanted = os.environ.get("TRACE_DEVICE", "").strip()
    if wanted:
        return _checked_device(wanted)
    if torch.cuda.is_available():
        return _cuda_with_most_free_memory()
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def chosen_dtype(device: torch.device | str) -> torch.dtype:
    """TRACE_DTYPE; without it float16 on CUDA, as in the article, and float32 elsewhere.

    float32 on a CPU because many CPUs compute half precision slowly, by way of float32.
    Raises DeviceError when TRACE_DTYPE is not one of DTYPES, or the device cannot compute in it.
    """
    import torch

    kind = torch.device(device).type
    wanted = os.environ.get("TRACE_DTYPE", "").strip().removeprefix("torch.")
    if not wanted:
        return torch.float16 if kind == "cuda" else torch.float32
    if wanted not in DTYPES:
        raise DeviceError(f"TRACE_DTYPE={wanted!r} is not known: use one of {', '.join(DTYPES)}, or unset it")
    if kind == "mps" and wanted == "float64":
        raise DeviceError("TRACE_DTYPE=float64 does not exist on mps: use float32, float16 or bfloat16")
    return getattr(torch, wanted)


def describe_devices() -> list[DeviceDescription]:
    """Every device that a model can run on here, the CPU last; its memory is the machine's."""
    import psutil
    import torch

    rows = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            rows.append(DeviceDescription(f"cuda:{index}", torch.cuda.get_device_name(index), total, free))
    memory = psutil.virtual_memory()
    if torch.backends.mps.is_available():
        rows.append(DeviceDescription("mps", "Apple GPU (memory shared with the CPU)", memory.total, memory.available))
    rows.append(DeviceDescription("cpu", f"CPU, {os.cpu_count()} logical cores", memory.total, memory.available))
    return rows


def _cuda_with_most_free_memory() -> torch.device:
    import torch

    free = [torch.cuda.mem_get_info(index)[0] for index in range(torch.cuda.device_count())]
    return torch.device("cuda", free.index(max(free)))


def _checked_device(wanted: str) -> torch.device:
    import torch

    present = [row.device for row in describe_devices()]
    advice = f"here there is {', '.join(present)}; set TRACE_DEVICE to one of them, or unset it"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise DeviceError(f"TRACE_DEVICE={wanted!r} is no device name: {advice}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "was built without CUDA" if torch.version.cuda is None else "finds no CUDA device or driver"
        raise DeviceError(f"TRACE_DEVICE={wanted!r}, but torch {torch.__version__} {why}: {advice}")
    if device.type not in {name.split(":")[0] for name in present}:
        raise DeviceError(f"TRACE_DEVICE={wanted!r} is not available: {advice}")
    if device == torch.device("cuda"):
        return _cuda_with_most_free_memory()
    if device.type != "cuda" and device.index in (None, 0):
        return torch.device(device.type)
    if str(device) not in present:
        raise DeviceError(f"TRACE_DEVICE={wanted!r} does not exist: {advice}")
    return device
