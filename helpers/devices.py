"""The device and the dtype that the notebooks run on: the reader's choice, or the best that is there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from helpers import compat

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from helpers.main_memory import MainMemory

DTYPES = ("float32", "float16", "bfloat16", "float64")


class DeviceError(RuntimeError):
    """A device or dtype was asked for that is not there; the message says what is."""


@dataclass(frozen=True)
class DeviceDescription:
    """One device: `total` and `free` bytes of memory that this process may use; None where the system does not say."""

    device: str
    name: str
    total: int | None
    free: int | None


def chosen_device() -> torch.device:
    """TRACE_DEVICE; without it the CUDA device with the most free memory, else Apple's mps, else the CPU.

    TRACE_DEVICE=cuda without a number also takes the CUDA device with the most free memory.
    Raises DeviceError when TRACE_DEVICE is no device name, or names a device that is not there, and when no CUDA device
    answers.
    """
    import torch

    wanted = os.environ.get("TRACE_DEVICE", "").strip()
    if wanted:
        return checked_device(wanted)
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


def loaded_dtype(
    asked: torch.dtype | str | None, config: PretrainedConfig | None = None, stored: Iterable[str] = ()
) -> torch.dtype:
    """The dtype that from_pretrained gives the weights in the installed version, asked for `asked`.

    A dtype is taken as it is. None is float32 in 4.x and "auto" from 5.0 on. "auto" is the config's dtype; where it
    names none, that of the checkpoint's first floating-point tensor (`stored`: its tensors' dtypes, in order), and
    float32 where nothing is stored. Source: `_get_dtype` in transformers.modeling_utils; before 4.50 the same rules
    stand in from_pretrained. Raises DeviceError for what is not one of DTYPES.
    """
    import torch

    if asked is None and not compat.loads_in_the_checkpoint_s_dtype():
        return torch.float32
    own = asked is None or asked == "auto"
    if own:
        named = compat.config_dtype(config) if config is not None else None
        asked = named or next((dtype for dtype in stored if dtype.startswith(("float", "bfloat"))), "float32")
    name = str(asked).removeprefix("torch.")
    if own and name not in DTYPES:
        raise DeviceError(f"the checkpoint's own dtype is {name}, which is no model's: give dtype={', '.join(DTYPES)}")
    if name not in DTYPES:
        raise DeviceError(f"dtype={name!r} is not known: use one of {', '.join(DTYPES)}, or auto")
    return getattr(torch, name)


def describe_devices() -> list[DeviceDescription]:
    """Every device that a model can run on here, the CPU last; its memory is the machine's, or its container's."""
    import torch

    from helpers.main_memory import main_memory

    rows = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = _cuda_memory(index)
            rows.append(DeviceDescription(f"cuda:{index}", torch.cuda.get_device_name(index), total, free))
    memory = main_memory()
    if torch.backends.mps.is_available():
        rows.append(_describe_mps(memory))
    rows.append(DeviceDescription("cpu", f"CPU, {os.cpu_count()} logical cores", memory.total, memory.free))
    return rows


def _describe_mps(memory: MainMemory) -> DeviceDescription:
    """Apple's GPU shares the main memory; Metal recommends how much of it a process should take."""
    import torch

    recommended = getattr(torch.mps, "recommended_max_memory", lambda: memory.total)()  # torch 2.5 and later
    free = min(memory.free, max(0, recommended - torch.mps.driver_allocated_memory()))
    return DeviceDescription("mps", "Apple GPU (memory shared with the CPU)", recommended, free)


def _cuda_memory(index: int) -> tuple[int | None, int | None]:
    """(free, total) bytes of a GPU; what the allocator of this process keeps in reserve is free to it. (None, None)
    where the GPU does not answer: it is full, or another process has it alone."""
    import torch

    try:
        free, total = torch.cuda.mem_get_info(index)
    except RuntimeError:
        return None, None
    return free + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index), total


def _cuda_with_most_free_memory() -> torch.device:
    import torch

    told = {index: _cuda_memory(index)[0] for index in range(torch.cuda.device_count())}
    free = {index: nbytes for index, nbytes in told.items() if nbytes is not None}
    if not free:
        raise DeviceError(
            f"none of the {len(told)} CUDA devices answers: each is full, or another process has it alone. Free one, "
            "or set TRACE_DEVICE=cpu"
        )
    return torch.device("cuda", max(free, key=free.__getitem__))


def checked_device(wanted: str, setting: str = "TRACE_DEVICE") -> torch.device:
    """The device of this name; "cuda" is the one with the most free memory. `setting`: what named it, for the error.

    Raises DeviceError when `wanted` is no device name, or names a device that is not there.
    """
    import torch

    present = [row.device for row in describe_devices()]
    advice = f"here there is {', '.join(present)}; set {setting} to one of them, or unset it"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise DeviceError(f"{setting}={wanted!r} is no device name: {advice}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "was built without CUDA" if torch.version.cuda is None else "finds no CUDA device or driver"
        raise DeviceError(f"{setting}={wanted!r}, but torch {torch.__version__} {why}: {advice}")
    if device.type not in {name.split(":")[0] for name in present}:
        raise DeviceError(f"{setting}={wanted!r} is not available: {advice}")
    if device == torch.device("cuda"):
        return _cuda_with_most_free_memory()
    if device.type != "cuda" and device.index in (None, 0):
        return torch.device(device.type)
    if str(device) not in present:
        raise DeviceError(f"{setting}={wanted!r} does not exist: {advice}")
    return device
