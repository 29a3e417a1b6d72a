"""torch.compile, torch.export, torch.jit.trace and modes of torch beside a recording: they see the reader's model
alone; what is not seen of it is said."""

import warnings
from collections import Counter

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.recording.recording import Recording

IDS = torch.tensor([[5, 6, 7]])
EVERY_ZOOM = ("calls", "functions", "modules", "memory", "sampling", "values")


@pytest.fixture
def model(tiny_checkpoint):
    torch._dynamo.reset()
    yield AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    torch._dynamo.reset()


def frames_of(work) -> tuple[dict, int]:
    """What torch.compile looked at meanwhile: frames by outcome, and graph breaks."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        work()
    counters = torch._dynamo.utils.counters
    return dict(counters["frames"]), sum(counters["graph_break"].values())


def test_the_probes_are_not_compiled(model):
    compiled = torch.compile(model, backend="eager")
    plain = frames_of(lambda: compiled(IDS))

    def recorded():
        with warnings.catch_warnings(record=True) as told, record("calls", "modules", "functions"):
            compiled(IDS)
        assert not [one for one in told if "helpers" in str(one.message)]
        assert not [one for one in told if "Dynamo" in str(one.message)]

    assert frames_of(recorded) == plain
    assert plain[0]["ok"] >= 1


def test_a_model_that_is_called_compiled_is_said_to_be_unseen(model):
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(IDS)
        with pytest.warns(UserWarning, match="The calls inside the model are missing"), record() as recording:
            compiled(IDS)
    assert recording.modules()["class"].tolist() == ["OptimizedModule", type(model).__name__]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), record() as recording:
        compiled(IDS)
    assert recording.warnings == []
    assert len(recording.modules()) > 10


def test_a_compiled_function_that_is_called_by_itself_is_said_to_be_unseen(model):
    def logits(ids):
        return model(ids, use_cache=False).logits

    forward, around = torch.compile(model.forward, backend="eager"), torch.compile(logits, backend="eager")

    def recorded() -> Recording:
        with record() as recording:
            forward(IDS, use_cache=False)
            around(IDS)
        return recording

    with torch.no_grad():
        for _ in range(2):  # compiled meanwhile, and before
            with pytest.warns(UserWarning, match=r"calls inside .*forward, .*logits are missing"):
                recording = recorded()
            assert len(recording.warnings) == 1
        with torch.compiler.set_stance("force_eager"), record() as recording:
            around(IDS)
    assert recording.warnings == []
    assert recording.modules()["path"].iloc[0] == ""


@pytest.mark.parametrize("zoom", [(), EVERY_ZOOM])
def test_an_export_keeps_its_dynamic_sizes(model, zoom):
    layer, hidden = model.model.layers[0].mlp, torch.randn(1, 3, 64)
    sizes = ({1: torch.export.Dim("length", min=2, max=64)},)

    def exported() -> list[str]:
        program = torch.export.export(layer, (hidden,), strict=False, dynamic_shapes=sizes)
        return [str(node.meta["val"].shape) for node in program.graph.nodes if "val" in node.meta]

    plain = exported()
    assert any("s" in size.removeprefix("torch.Size") for size in plain)
    with record(*zoom) as recording:
        assert exported() == plain
    projection = recording.modules().query("path == '_export_root.down_proj'")["event"].item()
    (output,) = recording.tensors(projection)[1]
    assert (output.shape, output.nbytes) == ((1, 3, 64), 3 * 64 * 4)  # of the example


@pytest.mark.parametrize("zoom", [(), EVERY_ZOOM])
def test_a_jit_trace_holds_the_model_alone(model, zoom):
    model.requires_grad_(False)
    layer = model.model.layers[0].mlp
    hidden = torch.randn(1, 3, 64)

    def traced() -> list[str]:
        with warnings.catch_warnings():
            warnings.simplefilter("error", torch.jit.TracerWarning)
            graph = torch.jit.trace(layer, (hidden,), check_trace=False).inlined_graph
        return [node.kind() for node in graph.nodes()]

    plain = traced()
    with record(*zoom) as recording:
        assert traced() == plain
        layer(hidden)
    assert "torch.jit.trace ran" in recording.warnings[0]
    assert len(recording.modules()) == 5  # those of the call after it


def test_a_jit_trace_that_fails_is_as_without_a_recording(model):
    with record() as recording, torch.no_grad(), pytest.raises(RuntimeError, match="requires grad"):
        torch.jit.trace(lambda ids: model(ids, use_cache=False, return_dict=False)[0], (IDS,), check_trace=False)
    assert "torch.jit.trace ran" in recording.warnings[0]


class FunctionCounter(TorchFunctionMode):
    def __init__(self):
        self.counts = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.counts[function] += 1
        return function(*args, **(kwargs or {}))


class OperatorCounter(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.counts[function] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("zoom", [(), EVERY_ZOOM])
@pytest.mark.parametrize("kind", [FunctionCounter, OperatorCounter])
@pytest.mark.parametrize("cache", [None, "static"])
def test_a_mode_of_the_program_sees_what_it_sees_without_a_recording(model, zoom, kind, cache):
    def counted() -> Counter:
        with kind() as mode:
            model.generate(IDS, max_new_tokens=3, do_sample=False, cache_implementation=cache, disable_compile=True)
        return mode.counts

    plain = counted()
    with record(*zoom) as recording:
        assert counted() == plain
    assert recording.steps()["tokens"].tolist() == [1, 1, 1]
    with kind() as mode, record(*zoom):
        pass
    assert not mode.counts
