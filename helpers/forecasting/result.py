"""A forecast: what a model will need on each device, phase by phase, and whether it fits. Bytes throughout."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.forecasting.means import Means
from helpers.probes.redact import without_home
from helpers.tables import Table, format_bytes

PHASES = ("load", "prefill", "decode")
COMPONENTS = ("weights", "kv_cache", "activations", "logits", "file_pages", "reserve")
"""In the order in which the figure stacks them. `weights`: parameters and buffers; `file_pages`: of the checkpoint,
while a load casts or moves; `reserve`: what an accelerator's allocator keeps."""


@dataclass(frozen=True)
class DeviceForecast:
    """One device. `phases`: phase to component to bytes. `free`, `total`: None for a disk."""

    device: str
    parameters: int
    """Bytes of the parameters here, each storage once."""
    buffers: int
    phases: dict[str, dict[str, int]]
    free: int | None
    total: int | None
    complete: bool = True
    """False where something of the rehearsal is not known; then the figures are what it takes at least."""

    def held(self, phase: str) -> int:
        """Bytes in a phase at its highest, the file pages of the load with them."""
        return sum(self.phases[phase].values())

    @property
    def peak(self) -> int:
        """The highest of the phases."""
        return max(self.held(phase) for phase in PHASES)

    @property
    def allocated(self) -> int:
        """The highest of the phases in tensors alone: on CUDA what torch.cuda.max_memory_allocated counts, beside
        cuBLAS's workspace. That counter knows nothing of the segments that hold the tensors."""
        beside = ("file_pages", "reserve")
        return max(sum(size for name, size in self.phases[phase].items() if name not in beside) for phase in PHASES)

    @property
    def needed(self) -> int:
        """What must be free: the peak without the file pages, which the system takes back when it needs memory."""
        return max(self.held(phase) - self.phases[phase].get("file_pages", 0) for phase in PHASES)

    @property
    def margin(self) -> int | None:
        """Free bytes beyond what is needed, negative where they are short; None where nothing says what is free."""
        return None if self.free is None else self.free - self.needed

    @property
    def fits(self) -> bool | None:
        """None where it cannot be told: part of the need is not known, or what is free."""
        if self.margin is None:
            return None
        return False if self.margin < 0 else True if self.complete else None

    def sentence(self) -> str:
        """Whether it fits, and by how much."""
        if self.device == "disk":
            return f"disk: {format_bytes(self.parameters)} of the weights stay in files"
        least = "" if self.complete else "at least "
        if not self.needed and self.peak:
            return (
                f"{self.device}: {format_bytes(self.peak)} of file pages while it loads, which the system may take back"
            )
        need = f"{self.device}: needs {least}{format_bytes(self.needed)}"
        if self.free is None:
            return f"{need}; what is free is not observed"
        if self.margin < 0:
            return f"{need} of {format_bytes(self.free)} free: DOES NOT FIT, {format_bytes(-self.margin)} short"
        verdict = "fits" if self.complete else "not known whether it fits"
        return f"{need} of {format_bytes(self.free)} free: {verdict}, {format_bytes(self.margin)} to spare"


@dataclass(frozen=True)
class Forecast:
    """What `forecast()` found. `table()` has it by device and phase; printed, it is a summary with the verdict."""

    model: str
    architecture: str
    dtype: str
    prompt_tokens: int
    new_tokens: int
    batch: int
    cache: str
    parameters: int
    """How many, each once where they are tied."""
    tied: dict[str, str]
    weights: int
    """Bytes of the parameters."""
    buffers: int
    kv_cache: int | None
    """Bytes after the last step."""
    kv_cache_per_token: int | None
    """Bytes that one position of every sequence adds while no window is full; None for a static cache, there whole."""
    prefill_activations: int | None
    decode_activations: int | None
    logits: int | None
    """Bytes of the last position's logits, and of the float32 copy that generate() samples from."""
    all_logits: int | None
    """Bytes of the logits of all positions of the prompt, as a call of the model by itself gives them."""
    devices: tuple[DeviceForecast, ...]
    elsewhere: tuple[DeviceForecast, ...] = ()
    """The whole model on each of the other devices that are here."""
    advice: tuple[Means, ...] = ()
    """What would make it fit, one means each; each was forecast too, and fits."""
    notes: tuple[str, ...] = ()
    """What is not known, or not in the figures, and why."""

    @property
    def fits(self) -> bool | None:
        """False when one device is short, None when it cannot be told."""
        verdicts = [device.fits for device in self.devices if device.device != "disk"]
        return False if False in verdicts else None if None in verdicts else True

    def on(self, device: str) -> DeviceForecast:
        """The forecast for one device. Raises KeyError for a device that the model is not put on."""
        found = {row.device: row for row in self.devices}
        if device not in found:
            raise KeyError(f"The model is not put on {device!r}, but on {', '.join(found)}.")
        return found[device]

    def table(self) -> Table:
        """A row per device and phase: bytes of each component, their sum `total`."""
        rows = [
            {
                "device": device.device,
                "phase": phase,
                **{name: device.phases[phase].get(name, 0) for name in COMPONENTS},
                "total": device.held(phase),
            }
            for device in self.devices
            for phase in PHASES
        ]
        return Table.of(rows, ["device", "phase", *COMPONENTS, "total"])

    def __str__(self) -> str:
        return self.summary()

    def summary(self, *, as_flags: bool = False) -> str:
        """The forecast in lines. as_flags: advice in the spelling of `python -m helpers forecast`, not of Python."""
        tied = f"; {', '.join(self.tied)} tied to another, counted once" if self.tied else ""
        positions = f"{self.prompt_tokens} prompt + {self.new_tokens} new tokens, batch {self.batch}"
        lines = [
            f"{without_home(self.model)} ({self.architecture}) in {self.dtype}",
            f"  parameters   {self.parameters:,}{tied}",
            f"  weights      {_known(self.weights)}",
            f"  KV cache     {_known(self.kv_cache)} ({self.cache}, {positions}){self._per_token()}",
            f"  activations  {_known(self.prefill_activations)} at prefill, "
            f"{_known(self.decode_activations)} at decode",
            f"  logits       {_known(self.logits)}",
            *(device.sentence() for device in self.devices),
            *(f"Put whole on {device.sentence()}" for device in self.elsewhere),
        ]
        if self.fits is False:
            lines += ["To make it fit:", *(f"  - {one.as_flags() if as_flags else one}" for one in self.advice)]
        lines += [f"Note: {text}" for text in self.notes]
        return "\n".join(lines)

    def _per_token(self) -> str:
        if self.kv_cache_per_token is None:
            return ""
        sequences = " and sequence" if self.batch > 1 else ""
        count = self.kv_cache_per_token / self.batch
        return f", {format_bytes(count)} per token{sequences}"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>{self.table()._repr_html_()}"


def _known(count: int | None) -> str:
    return "not known" if count is None else format_bytes(count)
