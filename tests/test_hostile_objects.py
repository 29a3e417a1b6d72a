"""Objects that break when they are looked at, tensors of every kind, and models that change while they are recorded."""

import gc
import sys
import warnings
import weakref

import pytest
import torch
import transformers
from torch._subclasses import FakeTensorMode
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.recording.recording import Recording

IDS = torch.tensor([[5, 6, 7]])
EVERY_ZOOM = ("landmarks", "modules", "memory", "functions", "values")


class Hostile:
    """Raises whatever is done to it, but for being passed on."""

    def _fail(self, *arguments):
        raise RuntimeError("do not touch")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = __getitem__ = __contains__ = _fail
    __fspath__ = __float__ = __int__ = __index__ = __format__ = _fail

    @property
    def __class__(self):
        raise RuntimeError("do not touch")

    @property
    def shape(self):
        raise RuntimeError("do not touch")

    def __getattr__(self, name):
        raise RuntimeError("do not touch")


class HostileList(list):
    def __len__(self):
        raise RuntimeError("do not touch")

    __iter__ = __getitem__ = __len__


class HostileDict(dict):
    def items(self):
        raise RuntimeError("do not touch")

    __len__ = __iter__ = items


class HostileText(str):
    def __str__(self):
        raise RuntimeError("do not touch")

    __getitem__ = encode = replace = __len__ = __str__


class HostileTensor(torch.Tensor):
    """A subclass that gives nothing of itself."""

    @property
    def shape(self):
        raise RuntimeError("do not touch")

    dtype = device = shape

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        raise RuntimeError("do not touch")


class MakesWhenAsked(dict):
    """As transformers' lazy mappings and accelerate's offloaded weights do: asked, it imports or reads."""

    asked = 0

    def _make(self):
        type(self).asked += 1
        return []

    items = __len__ = __iter__ = keys = values = _make


class PassesOn(torch.nn.Module):
    """Gives back what it was given, after a module that computes."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 2)

    def forward(self, *objects, **named):
        self.inner(torch.ones(1, 2))
        return (*objects, *named.values())


def recorded(*objects, **named) -> tuple[Recording, tuple]:
    module = PassesOn()
    with warnings.catch_warnings(), record(*EVERY_ZOOM) as recording:
        warnings.simplefilter("error")
        given = module(*objects, **named)
    return recording, given


@pytest.mark.parametrize(
    "make",
    [
        Hostile,
        lambda: HostileList([1]),
        lambda: HostileDict(a=1),
        lambda: HostileText("x"),
        lambda: torch.zeros(2).as_subclass(HostileTensor),
    ],
    ids=["object", "list", "dict", "text", "tensor"],
)
def test_objects_that_raise_when_they_are_looked_at(make, tmp_path):
    thing = make()
    recording, (one, two) = recorded(thing, named=thing)
    same = (one is thing, two is thing)  # pytest would show them
    assert same == (True, True)
    assert list(recording.modules()["path"]) == ["", "inner"]
    assert Recording.load(recording.save(tmp_path / "run.json.gz")) == recording
    recording.landmarks()
    recording.to_frame()
    recording.values()


def test_a_mapping_that_makes_what_it_holds_is_named_and_not_asked():
    from accelerate.utils import PrefixedDataset
    from transformers import CONFIG_MAPPING

    class Asked(dict):
        def __getitem__(self, key):
            raise AssertionError("a weight was read")

        __iter__ = __len__ = __getitem__

    modules = set(sys.modules)
    recording, _ = recorded(MakesWhenAsked(a=1), PrefixedDataset(Asked(), ""), CONFIG_MAPPING)
    assert MakesWhenAsked.asked == 0
    assert not {name for name in set(sys.modules) - modules if name.startswith("transformers.models.")}
    arguments = recording.to_frame()["arguments"].iloc[0]
    for kind in (MakesWhenAsked, PrefixedDataset, type(CONFIG_MAPPING)):
        assert f"<{kind.__name__}>" in arguments


def test_a_module_that_raises_when_it_is_looked_at():
    class Odd(torch.nn.Module):
        @property
        def __class__(self):
            raise RuntimeError("do not touch")

        def named_modules(self, *arguments, **named):
            raise RuntimeError("do not touch")

        def __repr__(self):
            raise RuntimeError("do not touch")

        def forward(self, x):
            return x + 1

    odd = Odd()
    with record(*EVERY_ZOOM) as recording:
        result = odd(torch.zeros(2))
        torch.nn.ReLU()(torch.zeros(2))
    assert torch.equal(result, torch.ones(2))
    assert "do not touch" in " ".join(recording.warnings)
    assert "ReLU" in set(recording.modules()["class"])


def fake():
    with FakeTensorMode():
        return torch.zeros(2, 3)


def nested():
    return torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])


def jagged():
    return torch.nested.nested_tensor([torch.zeros(2, 4), torch.zeros(3, 4)], layout=torch.jagged)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: torch.eye(3).to_sparse(), "(3, 3)"),
        (lambda: torch.eye(3).to_sparse_csr(), "(3, 3)"),
        (lambda: torch.empty(2, 3, device="meta"), "(2, 3)"),
        (lambda: torch.zeros(0, 3), "(0, 3)"),
        (lambda: torch.tensor(1.0), "()"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8), "(3)"),
        (lambda: torch.zeros(2, 3, dtype=torch.float8_e4m3fn), "(2, 3)"),
        (lambda: torch.zeros(2, 3, dtype=torch.complex64), "(2, 3)"),
        (lambda: torch.zeros(4, 4).t()[:, :1], "(4, 1)"),
        (lambda: torch.zeros(1).expand(5, 5), "(5, 5)"),
        (lambda: torch.nn.Parameter(torch.zeros(2)), "(2)"),
        (fake, "(2, 3)"),
        (nested, "(2, -1)"),
        (jagged, "(2, -1, 4)"),
    ],
    ids=[
        "coo", "csr", "meta", "empty", "scalar", "quantised", "float8", "complex", "view", "expanded", "parameter",
        "fake", "nested", "jagged",
    ],
)  # fmt: skip
def test_tensors_of_every_kind(make, shape, tmp_path):
    thing = make()
    module = PassesOn()
    with record(*EVERY_ZOOM) as recording:
        (given,) = module(thing)
    assert given is thing
    outputs = recording.modules()["outputs"].iloc[0]
    assert outputs == f"output.0 {shape}"
    assert len(recording.values()) == 2
    assert recording.warnings == []
    assert Recording.load(recording.save(tmp_path / "run.json.gz")) == recording


def test_a_forward_under_fake_tensors():
    with FakeTensorMode():
        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
        with record(*EVERY_ZOOM) as recording:
            model(torch.zeros(2, 3))
    assert list(recording.modules()["outputs"]) == ["output (2, 4)"] * 3
    assert recording.warnings == []


def test_functorch_and_autograd_go_on():
    model = torch.nn.Linear(3, 1)
    inputs = torch.ones(4, 3, requires_grad=True)
    with record(*EVERY_ZOOM) as recording:
        model(inputs).sum().backward()
        batched = torch.func.vmap(model)(torch.ones(4, 3))
    assert inputs.grad is not None
    assert batched.shape == (4, 1)
    assert len(recording.modules()) == 2


# models that change --------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


def paths(recording) -> list[str]:
    return list(recording.modules()["path"])


def test_a_model_deleted_during_the_recording_is_not_kept(tiny_checkpoint):
    with record() as recording:
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
        with torch.no_grad():
            model(IDS)
        gone, weight = weakref.ref(model), weakref.ref(model.lm_head.weight)
        del model
        gc.collect()
        assert gone() is None
        assert weight() is None
        other = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
        with torch.no_grad():
            other(IDS)
    assert paths(recording).count("model.layers.1.mlp") == 2


def test_a_model_moved_to_another_dtype_and_device_during_the_recording(model):
    with record() as recording, torch.no_grad():
        model(IDS)
        model.to(torch.bfloat16)
        model(IDS)
        model.to("meta")
        model.lm_head(torch.zeros(1, 1, model.config.hidden_size, dtype=torch.bfloat16, device="meta"))
    heads = recording.modules().query("path == 'lm_head'")
    assert list(heads["dtype"]) == ["float32", "bfloat16", "bfloat16"]
    assert list(heads["device"]) == ["cpu", "cpu", "meta"]


def test_modules_added_and_replaced_during_the_recording():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    with record() as recording:
        model(torch.zeros(1, 2))
        model.append(torch.nn.ReLU())
        model(torch.zeros(1, 2))
        model[0] = torch.nn.Identity()
        model(torch.zeros(1, 2))
    modules = recording.modules()
    first, second, third = ["Linear"], ["Linear", "ReLU"], ["Identity", "ReLU"]
    assert list(modules["class"]) == ["Sequential", *first, "Sequential", *second, "Sequential", *third]
    assert set(modules["path"]) == {"", "0", "(not in the model)"}


def test_hooks_added_and_removed_during_the_recording(model):
    seen = []
    with record() as recording, torch.no_grad():
        handle = model.lm_head.register_forward_hook(lambda module, args, output: seen.append(output.shape))
        model(IDS)
        handle.remove()
        model(IDS)
    assert len(seen) == 1
    assert paths(recording).count("lm_head") == 2
    assert not model.lm_head._forward_hooks


def test_a_hook_of_the_reader_that_replaces_the_output_is_seen(model):
    handle = model.lm_head.register_forward_hook(lambda module, args, output: output[..., :7])
    with record() as recording, torch.no_grad():
        model(IDS)
    handle.remove()
    head = recording.modules().set_index("path").loc["lm_head", "outputs"]
    assert head.endswith("7)")


def test_the_same_module_called_twice_and_shared_under_two_names():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(2, 2)
            self.second = self.first
            self.layers = torch.nn.ModuleList([torch.nn.ReLU()])

        def forward(self, x):
            return self.layers[0](self.second(self.first(x)))

    with record() as recording:
        Twice()(torch.zeros(1, 2))
    assert paths(recording) == ["", "first", "first", "layers.0"]  # one module has one name; a ModuleList never fires


def test_outputs_of_every_kind(model):
    from transformers.modeling_outputs import BaseModelOutput

    class Gives(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self):
            return self.value

    one = torch.zeros(1)
    given = {
        "tensor": one, "tuple": (one, (one, one)), "dict": {"a": one, "b": [one]}, "nothing": None,
        "model output": BaseModelOutput(last_hidden_state=one), "number": 3,
    }  # fmt: skip
    seen = {}
    for name, value in given.items():
        with record() as recording:
            Gives(value)()
        seen[name] = recording.modules()["outputs"].iloc[0]
    assert seen == {
        "tensor": "output (1)", "tuple": "output.0 (1), output.1.0 (1), output.1.1 (1)",
        "dict": "output.a (1), output.b.0 (1)", "nothing": "", "model output": "output.last_hidden_state (1)",
        "number": "",
    }  # fmt: skip
    with record() as recording, torch.no_grad():
        model(IDS, use_cache=True)
    result = recording.to_frame()["result"].iloc[0]
    if transformers.__version__.startswith("4.47"):
        return  # there it is turned into tuples of tensors
    assert "output.past_key_values='<DynamicCache>'" in result  # a Cache is named, never held


@pytest.mark.parametrize(("layers", "told"), [(31, 31), (81, 81), (300, 0)])
def test_hidden_states_are_told_one_by_one_and_longer_containers_by_their_length(layers, told):
    class Deep(torch.nn.Module):
        def forward(self, x):
            return {"hidden_states": tuple(x + layer for layer in range(layers)), "ids": list(range(layers))}

    model = Deep()
    with record(*EVERY_ZOOM) as recording:
        for _ in range(2):  # the second is found by its key
            model(torch.zeros(2, 3))
    assert len(recording) == 2
    for index in range(2):
        _, outputs = recording.tensors(index)
        assert [spec.path for spec in outputs] == [f"output.hidden_states.{layer}" for layer in range(told)]
        assert all(spec.shape == (2, 3) for spec in outputs)
        values = dict(recording.value_lists[recording.events["result"][index]])
        assert values.get("output.hidden_states") == (None if told else f"<tuple of {layers}>")
        assert values["output.ids"] == f"<list of {layers}>"
