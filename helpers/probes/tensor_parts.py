"""The tensors that a tensor is made of: a DTensor's shard, a quantised weight's numbers and scales."""

from __future__ import annotations

import torch

PLAIN = frozenset({torch.Tensor, torch.nn.Parameter})  # hold what they are: nothing need be looked for in them


def local_part(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor: of a DTensor its own shard, of any other the tensor itself.

    The attribute and not `to_local()`, which is an operation that autograd sees.
    """
    return tensor if type(tensor) in PLAIN else getattr(tensor, "_local_tensor", tensor)


def parts_with_memory(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensors that hold what `tensor` takes in this process: itself, except where its class wraps others.

    Such a class (torchao's) has a shape and a dtype as if it were not quantised, and no memory of its own: by
    `__tensor_flatten__` torch.compile finds the tensors in it.
    """
    own = local_part(tensor)
    if type(own) in PLAIN:
        return [own]
    flatten = getattr(own, "__tensor_flatten__", None)
    if flatten is None:
        return [own]
    inner = [getattr(own, name) for name in flatten()[0]]
    return [part for one in inner if isinstance(one, torch.Tensor) for part in parts_with_memory(one)]


def bytes_in_process(tensor: torch.Tensor) -> int:
    """Bytes of the elements of all its parts."""
    return sum(part.numel() * part.element_size() for part in parts_with_memory(tensor))
