"""The choice of device and dtype. CUDA is simulated by replacing what torch.cuda reports."""

import psutil
import pytest
import torch

from helpers import devices
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
    assert cpu.total == psutil.virtual_memory().total
    assert 0 < cpu.free < cpu.total


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_chosen_cuda_device_can_be_used():
    device = devices.chosen_device()
    assert device.type == "cuda"
    assert torch.ones(3, device=device, dtype=devices.chosen_dtype(device)).sum().item() == 3
