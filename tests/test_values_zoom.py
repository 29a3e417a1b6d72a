"""The zoom "values": minimum, maximum, mean, NaN and infinities of what each module call gave back."""

import gc
import gzip
import json
import math
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import compat, record
from helpers.events import OPEN, RETURNED, RecordingError
from helpers.probes.event_log import START_FIELDS, EventLog
from helpers.probes.values import ValuesProbe, statistics
from helpers.recording.columns import value_columns
from helpers.recording.recording import Recording


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture
def model(tiny_checkpoint):
    """A model of its own for each test: some break it."""
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint, **compat.dtype_argument(torch.float32))


def generate(model, tokenizer, **settings):
    torch.manual_seed(0)
    inputs = tokenizer("hello there", return_tensors="pt")
    return model.generate(**inputs, max_new_tokens=4, do_sample=True, temperature=0.7, **settings)


def record_module(module, *inputs) -> Recording:
    with record("values") as recording:
        module(*inputs)
    return recording


def test_the_numbers_are_those_of_the_outputs(model, tokenizer):
    seen = {}

    def keep_first(path, _module, _args, output):
        seen.setdefault(path, output)  # returns nothing: what a hook returns replaces the output

    for path, module in model.named_modules():
        module.register_forward_hook(partial(keep_first, path))
    with record("values") as recording:
        generate(model, tokenizer)
    table = recording.values(step=0)
    compared = 0
    for _, row in table.iterrows():
        output = seen[row["path"]]
        if isinstance(output, torch.Tensor):
            assert row["min"] == pytest.approx(output.min().item(), rel=1e-5)
            assert row["max"] == pytest.approx(output.max().item(), rel=1e-5)
            assert row["mean"] == pytest.approx(output.double().mean().item(), rel=1e-5, abs=1e-7)
            compared += 1
    assert compared > 20
    assert (table["nan"] == 0).all()
    assert (table["inf"] == 0).all()
    assert table["nan_in"].isna().all()
    assert set(table["observed"]) == {"yes"}


def test_every_tensor_output_of_every_module_call_of_the_steps_in_full_has_a_row(model, tokenizer):
    with record("values", steps=2) as recording:
        generate(model, tokenizer)
    modules = recording.modules()
    expected = sum(len(recording.tensors(event)[1]) for event in modules["event"])
    assert len(recording.values()) == expected
    assert set(recording.values()["step"]) == {0, 1}
    outputs = recording.values(path="model.rotary_emb", step=1)["output"]
    assert [text.split()[0] for text in outputs] == ["output.0", "output.1"]
    with pytest.raises(RecordingError, match="summary row only"):
        recording.values(step=2)


def test_the_layer_whose_weight_has_a_nan_is_found_in_one_line(model, tokenizer):
    with torch.no_grad():
        compat.decoder_layers(model)[1].mlp.up_proj.weight[3, 5] = math.nan
    with record("values") as recording:
        model(**tokenizer("hello there", return_tensors="pt"))
    found = recording.values(nan_only=True).query("nan_in == 0").head(1)
    assert list(found["path"]) == ["model.layers.1.mlp.up_proj"]
    passed_on = recording.values(nan_only=True, path="model.norm").iloc[0]
    assert passed_on["nan_in"] > 0


def test_a_nan_made_between_modules_is_found_in_the_module_around(model, tokenizer):
    """No module gives the attention's softmax: its NaN is in the input of o_proj, and made in self_attn."""

    class Inner(torch.nn.Module):
        def forward(self, hidden):
            return hidden * 1.0

    class Outer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, *, hidden):
            return self.inner((hidden - hidden) / 0.0)

    outer = Outer()
    with record("values") as recording:
        outer(hidden=torch.ones(2, 2))
    table = recording.values(nan_only=True)
    assert list(table["path"]) == ["inner", ""]
    assert list(table["nan_in"]) == [4, 0]
    with record("values") as recording:
        outer(hidden=torch.tensor([math.nan, 1.0]))
    assert list(recording.values(nan_only=True)["nan_in"]) == [2, 1], "what is given by name is an input too"


def test_one_nan_in_one_of_several_outputs_is_looked_for_in_what_can_be_read_of_the_inputs():
    class Makes(torch.nn.Module):
        def forward(self, *_):
            return torch.ones(2), torch.tensor([math.nan, 1.0])

    inputs = (torch.tensor([1, 2]), torch.empty(2, device="meta"), torch.tensor([math.nan, math.nan]))
    recording = record_module(Makes(), *inputs)
    assert recording.values()["nan"].tolist() == [0, 1]
    assert recording.values()["nan_in"].tolist() == [2, 2]
    assert recording.warnings == []


@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
def test_an_infinity_in_an_output_is_counted(infinity):
    row = record_module(Gives(torch.tensor([1.0, infinity, 4.0]))).values().iloc[0]
    assert row[["min", "max", "mean", "nan", "inf"]].tolist() == [1.0, 4.0, 2.5, 0, 1]


def test_nan_and_infinities_are_counted_and_left_out_of_the_rest():
    values = torch.tensor([1.0, math.nan, -3.0, math.inf, -math.inf, math.nan, 8.0])
    assert statistics(values) == (-3.0, 8.0, 2.0, 2, 2)
    low, high, mean, nan, inf = statistics(torch.tensor([math.nan, math.inf]))
    assert all(map(math.isnan, (low, high, mean)))
    assert (nan, inf) == (1, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_mean_does_not_overflow(dtype):
    largest = torch.finfo(dtype).max
    low, high, mean, nan, inf = statistics(torch.full((300, 300), largest, dtype=dtype))
    assert low == high == largest
    assert mean == pytest.approx(largest, rel=1e-6)
    assert (nan, inf) == (0, 0)


def test_the_mean_of_float64_is_exact_and_does_not_count_an_infinity():
    assert statistics(torch.tensor([1.0, 1.0 + 2**-40], dtype=torch.float64))[2] == 1.0 + 2**-41
    largest = torch.finfo(torch.float64).max
    assert statistics(torch.tensor([largest, largest, math.inf], dtype=torch.float64))[2] == largest


def test_float8_is_read():
    values = torch.tensor([1.0, 2.0, 3.0]).to(torch.float8_e4m3fn)
    assert statistics(values) == (1.0, 3.0, 2.0, 0, 0)


def test_a_tensor_of_autograd_is_read_and_keeps_its_graph():
    linear = torch.nn.Linear(2, 2)
    with record("values"):
        output = linear(torch.ones(1, 2))
    output.sum().backward()
    assert linear.weight.grad is not None


class Gives(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self):
        return self.value


class Refusing(torch.Tensor):
    """A tensor that lets nobody look into it."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ("aminmax", "mean", "stack"):
            raise TypeError("not allowed")  # as torch does where a subclass has no such function
        return super().__torch_function__(function, types, args, kwargs or {})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.empty(2, device="meta"), "meta"),
        (FakeTensorMode().from_tensor(torch.ones(2)), "meta"),
        (torch.empty(0), "empty"),
        (torch.tensor([1, 2]), "not floating-point"),
        (torch.tensor([True]), "not floating-point"),
        (torch.tensor([1j]), "not floating-point"),
        (torch.eye(2).to_sparse(), "layout"),
        (torch.ones(2).as_subclass(Refusing), "could not be read"),
    ],
    ids=["meta", "fake", "empty", "integer", "bool", "complex", "sparse", "refusing"],
)
def test_a_tensor_that_is_not_read_has_a_reason(value, reason, tmp_path):
    recording = record_module(Gives((value, torch.ones(1))))
    table = recording.values()
    assert reason in table["observed"].iloc[0]
    assert table[["min", "max", "mean", "nan", "inf"]].iloc[0].isna().all()
    assert table["mean"].iloc[1] == 1
    alone = record_module(Gives(value)).values()
    assert list(alone["observed"]) == [table["observed"].iloc[0]]
    assert Recording.load(recording.save(tmp_path / "run.json.gz")) == recording


def test_the_run_is_bit_identical(model, tokenizer):
    arguments = {"return_dict_in_generate": True, "output_logits": True}
    plain = generate(model, tokenizer, **arguments)
    random_state = torch.random.get_rng_state()
    with record("values", "sampling", steps=None):
        traced = generate(model, tokenizer, **arguments)
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.equal(plain.sequences, traced.sequences)
    assert all(map(torch.equal, plain.logits, traced.logits))


def test_no_tensor_is_kept_alive(model, tokenizer):
    seen = []

    def note(_module, _args, output):
        if isinstance(output, torch.Tensor):
            seen.append(weakref.ref(output))

    for module in model.modules():
        module.register_forward_hook(note)
    with record("values", "sampling", steps=None) as recording:
        generate(model, tokenizer)
    del model
    gc.collect()
    assert len(recording.values()) > 0
    assert len(seen) > 80
    assert [reference for reference in seen if reference() is not None] == []


def test_paths_are_names_or_patterns(model, tokenizer):
    with record("values") as recording:
        generate(model, tokenizer)
    assert set(recording.values(path="model.norm")["path"]) == {"model.norm"}
    layers = set(recording.values(path="model.layers.*.mlp")["path"])
    assert layers == {"model.layers.0.mlp", "model.layers.1.mlp"}
    assert set(recording.values(path="")["path"]) == {""}
    with pytest.raises(RecordingError, match=r"No module of this recording is called 'norm'"):
        recording.values(path="norm")


def test_without_the_zoom_it_says_how_to_record_it():
    with record() as recording:
        torch.nn.Identity()(torch.ones(1))
    with pytest.raises(RecordingError, match=r'record\("values"\)'):
        recording.values()


def test_the_file_grows_by_what_a_step_adds(model, tokenizer, tmp_path):
    sizes, rows = [], []
    for steps in (1, 2, 3):
        with record("values", steps=steps) as recording:
            generate(model, tokenizer)
        sizes.append(recording.save(tmp_path / "run.json.gz").stat().st_size)
        rows.append(len(recording.values()))
    assert rows[2] - rows[1] == rows[1] - rows[0] > 0
    assert sizes[2] - sizes[1] < 1.5 * (sizes[1] - sizes[0])


@pytest.fixture
def file(tmp_path):
    return record_module(torch.nn.Linear(2, 2), torch.tensor([[math.nan, 1.0]])).save(tmp_path / "run.json.gz")


def test_it_survives_a_round_trip(file, tmp_path):
    loaded = Recording.load(file)
    assert loaded.values()["nan"].tolist() == [2]
    assert loaded.values()["nan_in"].tolist() == [1]
    again = Recording.load(loaded.save(tmp_path / "again.json.gz"))
    assert again == loaded
    assert again.values().equals(loaded.values())


@pytest.mark.parametrize(
    ("column", "value"),
    [("event", [9]), ("status", [9]), ("output", [3]), ("output", [-1]), ("min", ["x"]), ("nan", [])],
)
def test_damaged_files_are_refused(file, column, value):
    content = json.loads(gzip.decompress(file.read_bytes()))
    content["value_rows"][column] = value
    file.write_bytes(gzip.compress(json.dumps(content).encode()))
    with pytest.raises(RecordingError, match="damaged"):
        Recording.load(file)


def test_what_another_thread_read_after_the_end_is_no_row():
    """A call that was open when the events were taken, and one that began later."""
    log = EventLog()
    for index in range(3):
        log.starts.write(log.starts.pack(*(index if field == "index" else 0 for field in START_FIELDS)))
    probe = ValuesProbe()
    probe.rows = [(event, 0, 0, 1.0, 2.0, 1.5, 0, 0, -1) for event in range(3)]
    statuses = np.array([RETURNED, OPEN])  # of the first two: the third had not begun
    assert value_columns(probe, log, statuses)["event"].tolist() == [0]
