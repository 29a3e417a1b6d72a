"""Collectives of torch.distributed: the calls in which the ranks of a group exchange tensors.

They are watched where the process is a rank of a group. `torch.distributed` wraps each public function in one shared
logging function, so the code behind it is matched. A DTensor that changes its placement does not call the public
functions but those of `_functional_collectives`; an all_reduce of those is queued and `wait_tensor` waits for it.
"""

from __future__ import annotations

import types
from collections.abc import Callable

import torch.distributed

from ..landmarks import code_of
from .describe import Describer
from .tensor_parts import PLAIN
from .watch import Watch, call_reader

NAMES = (
    "all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all", "all_to_all_single",
    "barrier", "broadcast", "broadcast_object_list", "gather", "recv", "reduce", "reduce_scatter",
    "reduce_scatter_tensor", "scatter", "send",
)  # fmt: skip
FUNCTIONAL_NAMES = (
    "all_gather_single", "all_gather_tensor", "all_reduce", "all_to_all_single", "broadcast",
    "reduce_scatter_single", "reduce_scatter_tensor", "wait_tensor",
)  # fmt: skip


def collective_watches(describer: Describer, function_of: Callable[[types.CodeType], int]) -> dict[int, Watch]:
    """A watch on each collective that the installed torch has, by the id of its code; none without distributed."""
    if not torch.distributed.is_available():
        return {}
    from torch.distributed import _functional_collectives, distributed_c10d

    watches = {}
    for module, names in ((distributed_c10d, NAMES), (_functional_collectives, FUNCTIONAL_NAMES)):
        for name in names:
            code = code_of(getattr(module, name, None))
            if code is not None:
                reader = call_reader(code, function_of(code), describer)
                watches[id(code)] = Watch(code, reader)
    return watches


def placement_of(tensor: torch.Tensor) -> str | None:
    """How a DTensor lies over its ranks: "Shard(dim=0) of 3", "Replicate() of 2"; None for any other tensor."""
    placements = None if type(tensor) in PLAIN else getattr(tensor, "placements", None)
    if placements is None:
        return None
    sizes = zip(placements, tensor.device_mesh.shape, strict=True)
    return ", ".join(f"{_placement_name(placement)} of {size}" for placement, size in sizes)


def _placement_name(placement: object) -> str:
    name = type(placement).__name__.lstrip("_")
    dimension = getattr(placement, "dim", None)
    return f"{name}()" if dimension is None else f"{name}(dim={dimension})"
