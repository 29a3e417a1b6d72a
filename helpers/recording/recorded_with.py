"""What a recording was made with, in half a sentence: the line that says it on pages."""

from __future__ import annotations

from helpers.recording.recording import Recording


def recorded_with(recording: Recording) -> str:
    """'transformers 5.23.0, torch 2.13.0, on the CPU': the versions, and the devices on which its tensors lay."""
    versions = (f"{name} {recording.environment.get(name) or 'not observed'}" for name in ("transformers", "torch"))
    return f"{', '.join(versions)}, on {_devices(recording)}"


def _devices(recording: Recording) -> str:
    """Accelerators first; a meta tensor lies nowhere."""
    found = {spec.device for spec in recording.specs} - {"meta", ""}
    names = dict(enumerate(recording.environment.get("cuda_devices") or ()))
    return (
        " and ".join(device_words(device, names) for device in sorted(found, key=lambda one: (one == "cpu", one)))
        or "a device that was not observed: no tensor was recorded"
    )


def device_words(device: str, cuda_names: dict[int, str]) -> str:
    """A device as words: 'the CPU', 'cuda:0 (NVIDIA A100)'; `cuda_names`: names by index, as far as known."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return "the CPU"
    name = cuda_names.get(int(index or 0)) if kind == "cuda" else None
    return f"{device} ({name})" if name else device
