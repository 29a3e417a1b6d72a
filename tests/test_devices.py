"""The choice of device and dtype. CUDA is simulated by replacing what torch.cuda reports."""

import json
import shutil

import psutil
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, pipeline

from helpers import compat, devices
from helpers.devices import DeviceError


@pytest.fixture
def cuda_free_memory(monkeypatch):
    """Gives a function that makes torch report CUDA devices with these free bytes, of 100 each."""

    def report(*free: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(free))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(free))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free[index], 100))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    return report


def test_without_an_accelerator_the_cpu_in_float32(cuda_free_memory):
    cuda_free_memory()
    assert devices.chosen_device() == torch.device("cpu")
    assert devices.chosen_dtype(torch.device("cpu")) is torch.float32


@pytest.mark.parametrize("wanted", [None, "cuda"])
def test_the_cuda_device_with_the_most_free_memory(cuda_free_memory, monkeypatch, wanted):
    cuda_free_memory(10, 90, 50)
    if wanted:
        monkeypatch.setenv("TRACE_DEVICE", wanted)
    assert devices.chosen_device() == torch.device("cuda:1")
    assert devices.chosen_dtype(devices.chosen_device()) is torch.float16


def test_the_reader_s_own_device_wins(cuda_free_memory, monkeypatch):
    cuda_free_memory(10, 90)
    for wanted, expected in (("cuda:0", "cuda:0"), ("cpu", "cpu"), (" cpu:0 ", "cpu")):
        monkeypatch.setenv("TRACE_DEVICE", wanted)
        assert devices.chosen_device() == torch.device(expected)


def test_mps_comes_before_the_cpu(cuda_free_memory, monkeypatch):
    cuda_free_memory()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert devices.chosen_device() == torch.device("mps")
    assert devices.chosen_dtype("mps") is torch.float32
    monkeypatch.setenv("TRACE_DTYPE", "float64")
    with pytest.raises(DeviceError, match="float64 does not exist on mps"):
        devices.chosen_dtype("mps")
    monkeypatch.setenv("TRACE_DTYPE", "bfloat16")
    assert devices.chosen_dtype("mps") is torch.bfloat16


@pytest.mark.parametrize(
    ("free", "wanted", "says"),
    [
        ((), "cuda", "finds no CUDA device or driver|was built without CUDA"),
        ((), "cuda:7", "finds no CUDA device or driver|was built without CUDA"),
        ((10, 90), "cuda:7", "does not exist.*cuda:0, cuda:1, cpu"),
        ((10,), "cpu:3", "does not exist.*cuda:0, cpu"),
        ((), "mps", "is not available.*here there is cpu"),
        ((), "meta", "is not available"),
        ((), "gpu", "is no device name"),
        ((), "cuda:x", "is no device name"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_what_is(cuda_free_memory, monkeypatch, free, wanted, says):
    cuda_free_memory(*free)
    monkeypatch.setenv("TRACE_DEVICE", wanted)
    with pytest.raises(DeviceError, match=says) as error:
        devices.chosen_device()
    assert f"TRACE_DEVICE={wanted!r}" in str(error.value)
    assert "unset it" in str(error.value)


@pytest.mark.parametrize("spelling", ["bfloat16", "torch.bfloat16", " bfloat16 "])
def test_the_reader_s_own_dtype_wins(monkeypatch, spelling):
    monkeypatch.setenv("TRACE_DTYPE", spelling)
    assert devices.chosen_dtype("cpu") is torch.bfloat16


@pytest.mark.parametrize("wanted", ["fp16", "int8", "Tensor"])
def test_an_unknown_dtype_is_refused_with_the_accepted_ones(monkeypatch, wanted):
    monkeypatch.setenv("TRACE_DTYPE", wanted)
    with pytest.raises(DeviceError, match="float32, float16, bfloat16, float64"):
        devices.chosen_dtype("cpu")


def test_the_description_lists_every_device_with_its_bytes(cuda_free_memory):
    cuda_free_memory(10, 90)
    first, second, cpu = devices.describe_devices()
    assert (first.device, first.name, first.total, first.free) == ("cuda:0", "GPU 0", 100, 10)
    assert (second.device, second.free) == ("cuda:1", 90)
    assert cpu.device == "cpu"
    assert 0 < cpu.free < cpu.total <= psutil.virtual_memory().total


def test_mps_has_what_metal_recommends(cuda_free_memory, monkeypatch):
    cuda_free_memory()
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 3000, raising=False)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 1000)
    mps = devices.describe_devices()[0]
    assert (mps.device, mps.total, mps.free) == ("mps", 3000, 2000)


FROM_5 = compat.transformers_version() >= (5,)


@pytest.mark.parametrize(
    ("asked", "named", "stored", "expected"),
    [
        (torch.float16, "bfloat16", ["float32"], "float16"),
        ("torch.bfloat16", None, [], "bfloat16"),
        (None, "bfloat16", ["float16"], "bfloat16" if FROM_5 else "float32"),
        ("auto", "bfloat16", ["float16"], "bfloat16"),
        ("auto", None, ["int64", "float16", "float32"], "float16"),
        ("auto", None, [], "float32"),
    ],
)
def test_the_dtype_of_a_load_by_the_rules_of_the_installed_version(asked, named, stored, expected):
    config = transformers.LlamaConfig(**(compat.dtype_argument(getattr(torch, named)) if named else {}))
    assert devices.loaded_dtype(asked, config, stored) is getattr(torch, expected)


@pytest.mark.parametrize("asked", [None, "auto"])
@pytest.mark.parametrize("in_config", [True, False])
def test_the_rules_are_those_of_a_real_load(tiny_checkpoint, tmp_path, asked, in_config):
    shutil.copytree(tiny_checkpoint, tmp_path, dirs_exist_ok=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_checkpoint).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    if not in_config:
        config = {name: value for name, value in config.items() if "dtype" not in name}
        (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    arguments = {} if asked is None else compat.dtype_argument(asked)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, **arguments)
    read = transformers.AutoConfig.from_pretrained(tmp_path)
    assert loaded.dtype is devices.loaded_dtype(asked, read, ["bfloat16"])


@pytest.mark.skipif(not FROM_5, reason="before 5.0 a load without a dtype is in float32")
def test_without_a_dtype_a_load_takes_the_checkpoint_s_own_as_with_auto(tiny_checkpoint, tmp_path):
    load = transformers.AutoModelForCausalLM.from_pretrained
    load(tiny_checkpoint).to(torch.float16).save_pretrained(tmp_path)
    assert load(tmp_path).dtype is load(tmp_path, dtype="auto").dtype is torch.float16


def test_a_dtype_of_a_load_that_there_is_not_is_refused():
    with pytest.raises(DeviceError, match=r"float4.*use one of float32.*or auto"):
        devices.loaded_dtype("float4")


def pipeline_s_device(checkpoint, **told) -> torch.device:
    model = AutoModelForCausalLM.from_pretrained(str(checkpoint), device_map="cpu")
    tokenizer = AutoTokenizer.from_pretrained(str(checkpoint))
    return pipeline("text-generation", model=model, tokenizer=tokenizer, **told).model.device


def check_where_a_pipeline_goes(checkpoint, seen) -> None:
    """`seen(made)`: the type of the device on which a pipeline's model ends, or to which it was moved."""
    moves = FROM_5  # before, a device map of one device is one that binds
    assert seen(lambda: pipeline_s_device(checkpoint)) == ("cuda" if moves else "cpu")
    model = AutoModelForCausalLM.from_pretrained(str(checkpoint), device_map="cpu")
    told = compat.pipeline_device(model, "cpu")
    assert bool(told) == moves
    assert seen(lambda: pipeline_s_device(checkpoint, **told)) == "cpu"


def test_a_pipeline_moves_a_model_that_was_put_on_the_cpu_unless_told(tiny_checkpoint, monkeypatch):
    """With a GPU that is said to be there: the pipeline's own decision, and the call that would move the model."""
    moved = []
    monkeypatch.setattr("transformers.pipelines.base.is_torch_cuda_available", lambda: True)
    monkeypatch.setattr(PreTrainedModel, "to", lambda model, device: moved.append(torch.device(device)) or model)

    def seen(make) -> str:
        moved.clear()
        make()
        return moved[-1].type if moved else "cpu"

    check_where_a_pipeline_goes(tiny_checkpoint, seen)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_pipeline_really_moves_a_model_that_was_put_on_the_cpu_unless_told(tiny_checkpoint):
    check_where_a_pipeline_goes(tiny_checkpoint, lambda make: make().type)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_chosen_cuda_device_can_be_used():
    device = devices.chosen_device()
    assert device.type == "cuda"
    assert torch.ones(3, device=device, dtype=devices.chosen_dtype(device)).sum().item() == 3


def test_what_the_allocator_keeps_in_reserve_is_free_to_this_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (10, 100))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 60)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 20)
    assert devices._cuda_memory(0) == (50, 100)


def test_a_gpu_that_does_not_answer_is_left_out(monkeypatch):
    def told(index):
        if index == 0:
            raise RuntimeError("CUDA error: out of memory")
        return 10, 100

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
    monkeypatch.setattr(torch.cuda, "mem_get_info", told)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 0)
    monkeypatch.delenv("TRACE_DEVICE", raising=False)
    assert devices.chosen_device() == torch.device("cuda:1")
    assert devices.checked_device("cpu") == torch.device("cpu")
    assert devices.describe_devices()[0].free is None
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(devices.DeviceError, match="none of the 1 CUDA devices answers"):
        devices.chosen_device()
