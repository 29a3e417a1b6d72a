"""Recordings of training steps: forward with labels, backward, optimizer, with and without gradient checkpointing."""

from collections import Counter

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import compat, record

IDS = torch.arange(3, 19).reshape(2, 8)
STEPS = 2
EVERYTHING = ("calls", "modules", "functions", "memory", "sampling", "values")


def training_model(checkpoint, checkpointing=None):
    model = AutoModelForCausalLM.from_pretrained(str(checkpoint), **compat.dtype_argument(torch.float32))
    if checkpointing is not None:
        model.gradient_checkpointing_enable({"use_reentrant": checkpointing == "reentrant"})
    return model.train()


def trained(model, autocast=False):
    """The losses of a few steps, and the gradients of the last."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("checkpointing", [None, "reentrant", "not reentrant"])
def test_training_is_bit_identical_and_every_module_call_is_there(tiny_checkpoint, checkpointing, autocast):
    plain = training_model(tiny_checkpoint, checkpointing)
    losses, gradients = trained(plain, autocast)
    model = training_model(tiny_checkpoint, checkpointing)
    called = Counter()
    for path, module in model.named_modules():
        module.register_forward_pre_hook(lambda *_, path=path: called.update([path]))
    with record(*EVERYTHING) as recording:
        recorded_losses, recorded_gradients = trained(model, autocast)
    assert recorded_losses == losses
    assert all(map(torch.equal, recorded_gradients, gradients))
    assert all(map(torch.equal, model.state_dict().values(), plain.state_dict().values()))
    modules = recording.modules()
    assert Counter(modules["path"]) == called
    assert called["model.layers.0.self_attn"] == STEPS * (1 if checkpointing is None else 2)
    assert "open" not in set(modules["status"])
    assert recording.steps().empty
    assert recording.warnings == []


def test_a_nan_of_the_optimizer_is_found_in_the_module_whose_weights_it_spoiled(tiny_checkpoint):
    model = training_model(tiny_checkpoint)
    spoiled = model.model.layers[1].mlp.up_proj
    spoiled.register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * float("nan"),))
    optimizer = torch.optim.SGD([model.model.layers[0].mlp.down_proj.weight], lr=0.1)
    with record("values") as recording:
        for _ in range(2):
            model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
            optimizer.step()
    found = recording.values(nan_only=True)
    first = found[found["nan_in"] == 0].iloc[0]
    assert first["path"] == "model.layers.0.mlp.down_proj"
    second_forward = recording.modules().query("path == ''")["event"].iloc[1]
    assert (found["event"] >= second_forward).all()


class WithAScriptedPart(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scripted = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU()))
        self.plain = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.plain(self.scripted(x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_module_is_a_module_call():
    with record("values") as recording:
        WithAScriptedPart()(torch.ones(3, 4)).sum().backward()
    modules = recording.modules()
    assert modules["path"].tolist() == ["", "scripted", "plain"]
    assert modules["outputs"].tolist() == ["output (3, 2)", "output (3, 4)", "output (3, 2)"]
    assert recording.values()["path"].tolist() == ["scripted", "plain", ""]
    assert recording.warnings == []
