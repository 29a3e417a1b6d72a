"""The loading ledger: what became of each tensor of the checkpoint, and when.

Hooks on the landmarks of the load note keys, files, threads and times while it runs; the final state is read from the
model when `from_pretrained` returns; byte ranges come from the shards' own headers when the recording ends. A hook
that meets something it does not know says so once and leaves the load alone.
"""

from __future__ import annotations

import threading
import types
from collections.abc import Callable, Iterable

import torch

from ..recording.rows import LoadRow
from .collectives import placement_of
from .guard import noting
from .load_notes import Final, Load
from .load_rows import ledger_rows
from .tensor_names import device_name, dtype_name
from .tensor_parts import bytes_in_process, local_part
from .weights import offload_hook, place_of

_observed = noting("loading ledger")


class LoadingProbe:
    """Collects the ledger. `rows()` gives it when the recording ends."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.problems: dict[str, str] = {}
        self._clock = clock
        self._loads: list[Load] = []
        self._keys: dict[int, tuple[Load, str]] = {}  # id of a tensor or slice that waits for its worker
        self._local = threading.local()

    @property
    def _open(self) -> list[Load]:
        """The from_pretrained calls of this thread that run, innermost last."""
        try:
            return self._local.open
        except AttributeError:
            opened = self._local.open = []
            return opened

    @property
    def _running(self) -> Load | None:
        """The load that this thread works for: its own, or in a worker thread of 4.57 the only one that runs."""
        if self._open:
            return self._open[-1] if self._open[-1].begun else None
        running = [load for load in self._loads if load.begun]
        return running[0] if len(running) == 1 else None

    @property
    def _load(self) -> Load:
        running = self._running
        if running is None:
            raise LookupError("no load is running")
        return running

    # hooks: they get the frame of a call that starts, or the value of one that ends --------------------------------

    @_observed
    def load_wanted(self, _frame: types.FrameType) -> None:
        """PreTrainedModel.from_pretrained begins; another may run in this thread, and others in other threads."""
        self._open.append(Load(wanted=True))

    @_observed
    def load_begins(self, frame: types.FrameType) -> None:
        """_load_pretrained_model: the checkpoint's files are its argument, or (a GGUF file before 5.0) its tensors."""
        values = frame.f_locals
        files = next(filter(None, map(values.get, ("checkpoint_files", "resolved_archive_file", "gguf_path"))), [])
        if not self._open or self._open[-1].begun:
            self._open.append(Load())
        load = self._open[-1]
        load.begun = True
        load.files = [files] if isinstance(files, str) else [str(file) for file in files]
        for key, tensor in (values.get("state_dict") or {}).items():
            load.stored.setdefault(key, (None, *_dtype_and_shape(tensor)))
        self._loads.append(load)

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
        load.mismatched = _names(mismatched)

    @_observed
    def file_opened(self, frame: types.FrameType) -> None:
        """load_state_dict: remember the file for when its keys are known."""
        self._local.file = str(frame.f_locals.get("checkpoint_file"))

    @_observed
    def file_read(self, state_dict: object) -> None:
        """load_state_dict gave the tensors of one file."""
        if not isinstance(state_dict, dict):
            return
        load = self._open[-1] if self._open else self._running
        if load is None:
            return  # outside a load
        for key, tensor in state_dict.items():
            load.stored[key] = (self._local.file, *_dtype_and_shape(tensor))

    @_observed
    def queued(self, frame: types.FrameType) -> None:
        """spawn_materialize (5.x): its caller knows the key in the file and the name in the model."""
        values, around = frame.f_locals, frame.f_back.f_locals
        load, tensor, key, name = self._load, values["tensor"], around["original_key"], around["renamed_key"]
        load.targets[key] = name
        load.firsts.add(name)
        self._keys[id(tensor)] = load, key
        if isinstance(tensor, torch.Tensor) and key not in load.stored:
            load.stored[key] = (None, *_dtype_and_shape(tensor))

    @_observed
    def materialize_begins(self, frame: types.FrameType) -> None:
        """_materialize_copy, in a worker thread: read, cast and move one tensor."""
        self._local.load, self._local.key = self._keys.pop(id(frame.f_locals["tensor"]), (None, None))
        self._local.began = self._clock()
        if self._local.load is not None:
            self._local.load.copies.begin(frame.f_locals.get("device"))

    @_observed
    def materialize_ends(self, value: object) -> None:
        """The tensor is in memory (or mapped)."""
        if isinstance(value, torch.Tensor) and self._local.key is not None:
            self._local.load.copies.end(self._local.key)
            self._local.load.work[self._local.key] = (threading.current_thread().name, self._local.began, self._clock())

    @_observed
    def placed(self, frame: types.FrameType) -> None:
        """One tensor is put into its module: set_param_for_module, _load_parameter_into_model or accelerate's."""
        values = frame.f_locals
        name = next(values[key] for key in ("target_name", "param_name", "tensor_name") if key in values)
        self._note_placed(name)
        if (load := self._running) is None:
            return
        load.information = values.get("loading_info")
        if name in load.firsts:
            return  # the callers' locals need not be read, of which there are many
        first = _first_of_several(frame, name)
        if first != name:
            load.split[name] = first

    @_observed
    def module_filled(self, frame: types.FrameType) -> None:
        """Module._load_from_state_dict: 4.47 without device_map copies or assigns module by module."""
        values = frame.f_locals
        module, prefix = values["self"], values["prefix"]
        for name in [*module._parameters, *module._buffers]:
            if prefix + name in values["state_dict"]:
                self._note_placed(prefix + name)

    def _note_placed(self, name: str) -> None:
        load = self._running
        if load is not None:  # outside a load somebody else moves parameters
            load.placed[name] = (threading.current_thread().name, self._clock())

    @_observed
    def offloaded(self, frame: types.FrameType) -> None:
        """A parameter stays on disk."""
        self._load.offloaded.add(frame.f_locals["target_name"])

    @_observed
    def model_ready(self, value: object) -> None:
        """from_pretrained returned: read where each parameter ended. The load is over."""
        model = value[0] if isinstance(value, tuple) and value else value
        filled: set[str] = set()
        for load in self._ended():
            self._end(load, model)
            # an earlier load of the same model brought the rest, that of the base before its adapter's
            load.missing = {name for name in load.missing if _without_adapter(name) not in filled}
            filled |= load.placed.keys() | load.offloaded

    def _ended(self) -> list[Load]:
        """The loads that end with the from_pretrained that returned, in their order: an adapter's is one of its own."""
        ended: list[Load] = []
        while self._open and not (ended and ended[-1].wanted):
            ended.append(self._open.pop())
        return [load for load in reversed(ended) if load.begun]

    def _end(self, load: Load, model: object) -> None:
        load.begun = False
        for waiting, (of_load, _) in list(self._keys.items()):
            if of_load is load:
                self._keys.pop(waiting, None)
        if not isinstance(model, torch.nn.Module):
            load.ended = False
            load.mismatched |= _names(getattr(load.information, "mismatched_keys", ()))
            return
        first_name: dict[object, str] = {}
        tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        for name, tensor in tensors:
            known = first_name.setdefault(id(tensor), name)
            final = _final(model, name, tensor, known if known != name else None)
            at_load = _name_at_load(load, name)
            load.final[at_load] = final
            if final.device == "disk":
                load.offloaded.add(at_load)
        load.prefix = getattr(model, "base_model_prefix", "")

    def rows(self) -> list[LoadRow]:
        """The ledger: see `load_rows.ledger_rows`."""
        return ledger_rows(self._loads, self.problems)


def _names(mismatched: Iterable) -> set[str]:
    """Of the keys that did not fit; some versions tell the two shapes with each."""
    return {entry if isinstance(entry, str) else entry[0] for entry in mismatched}


def _first_of_several(frame: types.FrameType, name: str) -> str:
    """Of the parameters that one key is split into the first: its caller's, behind the decorator torch.no_grad."""
    caller = frame.f_back
    for around in filter(None, (caller, caller and caller.f_back)):
        if "first_param_name" in around.f_code.co_varnames:
            return around.f_locals["first_param_name"]
    return name


def _name_at_load(load: Load, name: str) -> str:
    """The name of a parameter when it was loaded: PEFT has put a module between, where an adapter came after."""
    before = _without_adapter(name)
    if before == name or name in load.placed or name in load.offloaded:
        return name
    return before if before in load.placed or before in load.offloaded else name


def _without_adapter(name: str) -> str:
    """The name of a parameter in a model without PEFT's modules."""
    return name.replace(".base_layer.", ".")


def _final(model: torch.nn.Module, name: str, tensor: torch.Tensor, tied_to: str | None) -> Final:
    return Final(
        dtype_name(tensor.dtype),
        _device(model, name, tensor),
        bytes_in_process(tensor),
        tied_to,
        tuple(local_part(tensor).shape),
        placement_of(tensor),
    )


def _device(model: torch.nn.Module, name: str, tensor: torch.Tensor) -> str:
    """Where a parameter lies; of one that accelerate keeps elsewhere, there and not "meta"."""
    if not tensor.is_meta:
        return device_name(tensor.device)
    owner, _, own_name = name.rpartition(".")
    return place_of(offload_hook(model.get_submodule(owner)), own_name, tensor)


def _dtype_and_shape(tensor: object) -> tuple[str | None, tuple[int, ...] | None]:
    if not isinstance(tensor, torch.Tensor):
        return None, None
    return dtype_name(tensor.dtype), tuple(tensor.shape)
