"""What it takes to compute a forward pass by hand and to compare it with the library's.

A Recording holds shapes, never values. To compare values, `kept_tensors` keeps what the modules of a small model were
given and gave back, for as long as a notebook looks at it; `operators` counts the operators of torch that really ran,
below every Python function: there one sees which attention kernel was chosen.
"""

from __future__ import annotations

import contextlib
import inspect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class ForwardPassError(ValueError):
    """A model whose forward pass is another than the one that is computed by hand."""


def require_llama(model: torch.nn.Module) -> None:
    """Raises ForwardPassError unless the model is a Llama as the notebook computes it: SiLU, and no biases."""
    config = model.config
    name = type(model).__name__
    remedy = "Unset TRACE_MODEL to use the demo checkpoint, or set it to a checkpoint with the Llama architecture."
    if config.model_type != "llama":
        raise ForwardPassError(f"This computes the forward pass of a Llama by hand; {name} is another model. {remedy}")
    if getattr(config, "attention_bias", False) or getattr(config, "mlp_bias", False) or config.hidden_act != "silu":
        raise ForwardPassError(f"This computes a Llama with SiLU and without biases; this {name} has others. {remedy}")


@dataclass
class KeptTensors:
    """The tensors of the last call of each module, by the module's path in the model ("" is the model itself).

    `inputs`: for each path a dictionary, by the parameter names of the module's forward. `outputs`: the tensor, or a
    tuple where the module gave back several ("model.rotary_emb": cos and sin); what is no tensor is left out. They are
    the library's own tensors, not copies.
    """

    inputs: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    outputs: dict[str, torch.Tensor | tuple[torch.Tensor, ...]] = field(default_factory=dict)


@contextlib.contextmanager
def kept_tensors(model: torch.nn.Module) -> Iterator[KeptTensors]:
    """Keep what the model's modules are given and give back within the block. For one small forward pass.

    The hooks are removed when the block ends, also by an exception; the tensors live as long as what was returned.
    """
    kept = KeptTensors()

    def keep(path: str):
        def hook(module, arguments, keywords, output) -> None:
            given = inspect.signature(module.forward).bind_partial(*arguments, **keywords).arguments
            named = given | given.get("kwargs", {})  # Llama takes further arguments as **kwargs
            kept.inputs[path] = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
            kept.outputs[path] = _tensors_of(output)

        return hook

    handles = [
        module.register_forward_hook(keep(path), with_kwargs=True)
        for path, module in model.named_modules()
        if not isinstance(module, torch.nn.ModuleList)
    ]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _tensors_of(output: object) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """The tensors that a module gave back: one as itself, several as a tuple."""
    if isinstance(output, torch.Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    tensors = tuple(value for value in values if isinstance(value, torch.Tensor))
    return tensors[0] if len(tensors) == 1 else tensors


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.counts[operator.name()] += 1
        return operator(*args, **(kwargs or {}))


@contextlib.contextmanager
def operators() -> Iterator[Counter[str]]:
    """Count the operators of torch that run within the block, by name ("aten::mm").

    These are what a composed function came down to: `scaled_dot_product_attention` is there as the kernel that was
    chosen ("aten::_scaled_dot_product_flash_attention_for_cpu", …), or, where no fused kernel fitted, as the products
    and the softmax that it consists of.
    """
    with _Operators() as mode:
        yield mode.counts
