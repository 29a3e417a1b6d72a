"""Where the weights of each module lie when its model is first called.

accelerate's offload hooks leave meta tensors in the modules and keep the weights elsewhere, in memory or on disk: read
from the hook, not from the parameter.
"""

from __future__ import annotations

import itertools
import types
import weakref
from collections import Counter

import torch
from torch.nn.parameter import is_lazy

from ..landmarks import code_of
from ..recording.rows import WeightRow
from .guard import noting
from .kv_cache import is_cache
from .tensor_names import device_name, dtype_name
from .tensor_parts import bytes_in_process


class WeightsProbe:
    """Collects one row per module with parameters or buffers of its own, and the names of compiled modules."""

    def __init__(self) -> None:
        self.rows: list[WeightRow] = []
        self._counted: dict[int, weakref.ref] = {}  # by id, the tensors that have a row
        self._number = itertools.count().__next__
        self.compiled: list[str] = []
        # without module events: of each compiled module the forwards inside it, and how many modules of its model
        # have each of them
        self.forwards_inside: dict[str, dict[types.CodeType, int]] = {}
        self.models: list[str] = []  # class and attention implementation of each model that was called
        self.problems: dict[str, str] = {}

    @noting("weights")
    def model_called(self, model: torch.nn.Module) -> None:
        """A model is called for the first time; called before its hooks move anything."""
        attention = getattr(getattr(model, "config", None), "_attn_implementation", None)
        if isinstance(attention, str):
            self.models.append(f"{type(model).__name__} with {attention} attention")
        number = self._number()
        for path, module in model.named_modules():
            if is_compiled(module):
                self.compiled.append(path)
            row = self._row(path, module, number)
            if row is not None:
                self.rows.append(row)

    def _row(self, path: str, module: torch.nn.Module, model: int) -> WeightRow | None:
        named = (*module._parameters.items(), *module._buffers.items())
        own = [(name, tensor) for name, tensor in named if tensor is not None and not is_lazy(tensor)]
        if not own or is_cache(module):
            return None
        hook = offload_hook(module)
        moved_to = getattr(hook, "execution_device", None)
        devices = dict.fromkeys(place_of(hook, name, tensor) for name, tensor in own)
        return WeightRow(
            path=path,
            dtype=", ".join(dict.fromkeys(dtype_name(tensor.dtype) for _, tensor in own)),
            nbytes=sum(self._bytes_once(tensor) for _, tensor in own),
            device=", ".join(devices),
            execution_device=", ".join(devices) if moved_to is None else str(as_device(moved_to)),
            model=model,
        )

    def _bytes_once(self, tensor: torch.Tensor) -> int:
        """Bytes of this process's part; 0 where an earlier row, of this model or another, has them."""
        known = self._counted.get(id(tensor), lambda: None)()
        self._counted[id(tensor)] = weakref.ref(tensor)
        return 0 if known is tensor else bytes_in_process(tensor)

    @noting("compiled modules")
    def generation_begins(self, frame: types.FrameType) -> None:
        """generate() is called, in a recording without module events: which modules of its model are compiled."""
        model = frame.f_locals["self"]
        compiled = {path: module for path, module in model.named_modules() if is_compiled(module)}
        if compiled:
            everywhere = _forwards(model)
            for path, module in compiled.items():
                self.forwards_inside[path] = {code: everywhere[code] for code in _forwards(module)}


def _forwards(model: torch.nn.Module) -> Counter[types.CodeType]:
    """How many modules, this one included, have each code of a forward."""
    codes = (code_of(getattr(type(module), "forward", None)) for module in model.modules())
    return Counter(code for code in codes if code is not None)


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether torch.compile stands before the module's own forward, so that calls inside it are not observed."""
    return (
        getattr(module, "_compiled_call_impl", None) is not None
        or type(module).__name__ == "OptimizedModule"
        or hasattr(module.__dict__.get("forward"), "_torchdynamo_orig_callable")
    )


def as_device(device: object) -> torch.device:
    """accelerate writes a GPU as its number."""
    return torch.device("cuda", device) if isinstance(device, int) else torch.device(device)


def offload_hook(module: torch.nn.Module) -> object | None:
    """The hook that moves this module's weights for a call; of several in a row the first that does."""
    hook = module.__dict__.get("_hf_hook")
    hooks = getattr(hook, "hooks", (hook,))
    return next((one for one in hooks if getattr(one, "execution_device", None) is not None), None)


def place_of(hook: object | None, name: str, tensor: torch.Tensor) -> str:
    if tensor.device.type != "meta":
        return device_name(tensor.device)
    return stored_on(getattr(hook, "weights_map", None), name) or "meta"


def stored_on(weights: object, key: str) -> str | None:
    """Where a map of accelerate's has a tensor: "disk", or the device of what it holds in memory."""
    while hasattr(weights, "dataset") and hasattr(weights, "prefix"):  # PrefixedDataset
        weights, key = weights.dataset, weights.prefix + key
    in_memory = getattr(weights, "state_dict", weights)  # OffloadedWeightsLoader, or a plain dictionary
    if isinstance(in_memory, dict) and key in in_memory:
        return str(in_memory[key].device)
    return "disk" if key in (getattr(weights, "index", None) or {}) else None
