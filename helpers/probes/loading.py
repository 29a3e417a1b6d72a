"""The loading ledger: what became of each tensor of the checkpoint, and when.

Hooks on the landmarks of the load note keys, files, threads and times while it runs; the final state is read from the
model when `from_pretrained` returns; byte ranges come from the shards' own headers when the recording ends. A hook
that meets something it does not know says so once and leaves the load alone.
"""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from ..checkpoints.error import CheckpointError
from ..rows import LoadRow
from ..safetensors_header import StoredTensor, read_header
from .redact import text

# How safetensors headers spell dtypes, as torch spells them.
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16",
    "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


class _Load:
    """One from_pretrained, while it runs."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.targets: dict[str, str] = {}  # checkpoint key to parameter name
        self.stored: dict[str, tuple[str | None, str | None, tuple[int, ...] | None]] = {}  # key to file, dtype, shape
        self.work: dict[str, tuple[str, int, int]] = {}  # key to thread, start, end of reading, casting and moving
        self.placed: dict[str, tuple[str, int]] = {}  # parameter to thread and time
        self.offloaded: set[str] = set()
        self.missing: set[str] = set()
        self.unexpected: set[str] = set()
        self.mismatched: set[str] = set()
        self.final: dict[str, tuple[str, str, int, str | None]] = {}  # parameter to dtype, device, bytes, tied to


def _observed(method: Callable) -> Callable:
    """A hook must never disturb the load: what it cannot read is noted as a problem of the recording."""

    @functools.wraps(method)
    def hook(self: LoadingProbe, argument: object) -> None:
        try:
            method(self, argument)
        except Exception as error:
            step, reason = method.__name__.replace("_", " "), f"{type(error).__name__}: {text(str(error))}"
            self.problems.setdefault(step, f"loading ledger: {step} not observed ({reason})")

    return hook


class LoadingProbe:
    """Collects the ledger. `rows()` gives it when the recording ends."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.problems: dict[str, str] = {}
        self._clock = clock
        self._loads: list[_Load] = []
        self._running: _Load | None = None
        self._read_before: dict[str, tuple] = {}  # what was read before the load's driver began
        self._keys: dict[int, str] = {}  # id of a tensor or slice that waits for its worker, to its key
        self._local = threading.local()

    @property
    def _load(self) -> _Load:
        if self._running is None:
            raise LookupError("no load is running")
        return self._running

    # hooks: they get the frame of a call that starts, or the value of one that ends --------------------------------

    @_observed
    def load_begins(self, frame: types.FrameType) -> None:
        """_load_pretrained_model: the checkpoint's files are its argument."""
        values = frame.f_locals
        files = values.get("checkpoint_files") or values.get("resolved_archive_file") or []
        load = _Load()
        load.files = [files] if isinstance(files, str) else [str(file) for file in files]
        load.stored.update(self._read_before)
        self._read_before.clear()
        self._loads.append(load)
        self._running = load

    @_observed
    def load_ends(self, value: object) -> None:
        """Its result holds the missing, unexpected and mismatched keys: an object in 5.x, a tuple before."""
        if value is None:
            return  # an exception left it
        information = value if hasattr(value, "missing_keys") else value[0]  # 5.0; later the first of a pair
        if hasattr(information, "missing_keys"):
            groups = (information.missing_keys, information.unexpected_keys, information.mismatched_keys)
        else:
            groups = value[1:4]
        missing, unexpected, mismatched = groups
        load = self._load
        load.missing, load.unexpected = set(missing), set(unexpected)
        load.mismatched = {entry if isinstance(entry, str) else entry[0] for entry in mismatched}

    @_observed
    def file_opened(self, frame: types.FrameType) -> None:
        """load_state_dict: remember the file for when its keys are known."""
        self._local.file = str(frame.f_locals.get("checkpoint_file"))

    @_observed
    def file_read(self, state_dict: object) -> None:
        """load_state_dict gave the tensors of one file."""
        if not isinstance(state_dict, dict):
            return
        stored = self._read_before if self._running is None else self._running.stored
        for key, tensor in state_dict.items():
            stored[key] = (self._local.file, *_dtype_and_shape(tensor))

    @_observed
    def queued(self, frame: types.FrameType) -> None:
        """spawn_materialize (5.x): its caller knows the key in the file and the name in the model."""
        values, around = frame.f_locals, frame.f_back.f_locals
        key = around["original_key"]
        self._load.targets[key] = around["renamed_key"]
        self._keys[id(values["tensor"])] = key
        if isinstance(values["tensor"], torch.Tensor) and key not in self._load.stored:
            self._load.stored[key] = (None, *_dtype_and_shape(values["tensor"]))

    @_observed
    def materialize_begins(self, frame: types.FrameType) -> None:
        """_materialize_copy, in a worker thread: read, cast and move one tensor."""
        self._local.key = self._keys.pop(id(frame.f_locals["tensor"]), None)
        self._local.began = self._clock()

    @_observed
    def materialize_ends(self, value: object) -> None:
        """The tensor is in memory (or mapped)."""
        if isinstance(value, torch.Tensor) and self._local.key is not None:
            self._load.work[self._local.key] = (threading.current_thread().name, self._local.began, self._clock())

    @_observed
    def placed(self, frame: types.FrameType) -> None:
        """One tensor is put into its module: set_param_for_module, _load_parameter_into_model or accelerate's."""
        values = frame.f_locals
        name = next(values[key] for key in ("target_name", "param_name", "tensor_name") if key in values)
        self._note_placed(name)

    @_observed
    def module_filled(self, frame: types.FrameType) -> None:
        """Module._load_from_state_dict: 4.47 without device_map copies or assigns module by module."""
        values = frame.f_locals
        module, prefix = values["self"], values["prefix"]
        for name in [*module._parameters, *module._buffers]:
            if self._running and prefix + name in values["state_dict"]:
                self._note_placed(prefix + name)

    def _note_placed(self, name: str) -> None:
        if self._running:  # outside a load somebody else moves parameters
            self._running.placed[name] = (threading.current_thread().name, self._clock())

    @_observed
    def offloaded(self, frame: types.FrameType) -> None:
        """A parameter stays on disk."""
        self._load.offloaded.add(frame.f_locals["target_name"])

    @_observed
    def model_ready(self, value: object) -> None:
        """from_pretrained returned: read where each parameter ended. The load is over."""
        model = value[0] if isinstance(value, tuple) and value else value
        load, self._running = self._running, None
        self._keys.clear()
        self._read_before.clear()
        if load is None or not isinstance(model, torch.nn.Module):
            return
        first_name: dict[object, str] = {}
        tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        for name, tensor in tensors:
            known = first_name.setdefault(id(tensor), name)
            tied_to = known if known != name else None
            load.final[name] = (
                str(tensor.dtype).removeprefix("torch."),
                str(tensor.device),
                tensor.numel() * tensor.element_size(),
                tied_to,
            )

    # the ledger ----------------------------------------------------------------------------------------------------

    def rows(self) -> list[LoadRow]:
        """One row per tensor of the checkpoint, and one per parameter that the checkpoint does not hold."""
        return [row for number, load in enumerate(self._loads) for row in self._rows_of(number, load)]

    def _rows_of(self, number: int, load: _Load) -> Iterable[LoadRow]:
        stored = self._stored(load)
        filled: set[str] = set()
        for key, (file, dtype, shape, begin, end) in stored.items():
            parameter = load.targets.get(key, key if key in load.final else None)
            filled.add(parameter)
            thread, started, finished = load.work.get(key, (None, None, None))
            placing_thread, placed = load.placed.get(parameter, (None, None))
            found_dtype, device, nbytes, tied_to = load.final.get(parameter, (None, None, None, None))
            yield LoadRow(
                load=number, key=key, parameter=parameter, status=_status(load, key, parameter),
                file=Path(file).name if file else None, begin=begin, end=end, disk_dtype=dtype, disk_shape=shape,
                dtype=found_dtype, device="disk" if parameter in load.offloaded else device, nbytes=nbytes,
                thread=thread or placing_thread, started=started, finished=finished, placed=placed, tied_to=tied_to,
            )  # fmt: skip
        for parameter, (dtype, device, nbytes, tied_to) in load.final.items():
            if parameter in filled or (parameter not in load.missing and tied_to is None):
                continue  # a buffer that is computed, not loaded
            yield LoadRow(
                load=number, key=None, parameter=parameter, status="tied" if tied_to else "missing", file=None,
                begin=None, end=None, disk_dtype=None, disk_shape=None, dtype=dtype, device=device, nbytes=nbytes,
                thread=None, started=None, finished=None, placed=None, tied_to=tied_to,
            )  # fmt: skip

    def _stored(self, load: _Load) -> dict[str, tuple]:
        """Key to (file, dtype, shape, begin, end), in the order of the files; ranges where headers tell them."""
        found: dict[str, tuple] = {}
        for file in load.files:
            if file.endswith(".safetensors"):
                found.update({tensor.name: _from_header(file, tensor) for tensor in self._header(file)})
        for key, (file, dtype, shape) in load.stored.items():
            found.setdefault(key, (file or _only(load.files), dtype, shape, None, None))
        for key in load.targets:
            found.setdefault(key, (None, None, None, None, None))
        return found

    def _header(self, file: str) -> list[StoredTensor]:
        try:
            return read_header(file)
        except CheckpointError as error:
            self.problems[file] = f"loading ledger: byte ranges not observed ({text(str(error))})"
            return []


def _from_header(file: str, tensor: StoredTensor) -> tuple:
    return file, DTYPES.get(tensor.dtype, tensor.dtype), tuple(tensor.shape), tensor.begin, tensor.end


def _only(files: list[str]) -> str | None:
    return files[0] if len(files) == 1 else None


def _dtype_and_shape(tensor: object) -> tuple[str | None, tuple[int, ...] | None]:
    if not isinstance(tensor, torch.Tensor):
        return None, None
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def _status(load: _Load, key: str, parameter: str | None) -> str:
    """What became of a tensor of the checkpoint."""
    if parameter in load.mismatched or key in load.mismatched:
        return "mismatched"
    if parameter is None or key in load.unexpected or parameter in load.unexpected:
        return "unexpected"
    if parameter in load.offloaded:
        return "offloaded"
    return "loaded" if key == parameter else "renamed"
