"""The loading ledger: every tensor of the checkpoint, from the file to its place in the model."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from helpers import compat, record
from helpers.events import RecordingError
from helpers.recording import Recording

IS_5 = transformers.__version__.startswith("5")


def load(checkpoint, **arguments) -> Recording:
    with record() as recording:
        AutoModelForCausalLM.from_pretrained(checkpoint, **arguments)
    return recording


def weights_of(checkpoint) -> dict[str, torch.Tensor]:
    return {key: value for file in checkpoint.glob("*.safetensors") for key, value in load_file(file).items()}


@pytest.fixture
def copy(tiny_checkpoint, tmp_path):
    """A copy to be changed, with its weights in one file."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny_checkpoint, folder)
    weights = weights_of(folder)
    for file in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        file.unlink()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("arguments", [{}, {"device_map": "cpu"}], ids=["plain", "device_map"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_a_sharded_checkpoint(tiny_checkpoint, arguments, dtype):
    ledger = load(tiny_checkpoint, **arguments, **compat.dtype_argument(dtype)).parameters().set_index("key")
    weight_map = json.loads((tiny_checkpoint / "model.safetensors.index.json").read_text())["weight_map"]
    assert dict(ledger["file"]) == weight_map
    assert set(ledger["status"]) == {"loaded"}
    assert set(ledger["dtype"]) == {str(dtype).removeprefix("torch.")}
    assert set(ledger["device"]) == {"cpu"}
    assert ledger["placed"].notna().all()
    for key, row in ledger.iterrows():
        with safe_open(tiny_checkpoint / row["file"], "pt") as file:
            tensor = file.get_tensor(key)
        assert tuple(tensor.shape) == row["disk_shape"]
        assert str(tensor.dtype) == f"torch.{row['disk_dtype']}"
        assert row["cast"] == (tensor.dtype != dtype)
        raw = (tiny_checkpoint / row["file"]).read_bytes()[row["begin"] : row["end"]]
        assert raw == tensor.contiguous().view(torch.uint8).numpy().tobytes()
        assert row["nbytes"] == tensor.numel() * dtype.itemsize


def test_worker_threads_are_named(tiny_checkpoint, monkeypatch):
    if not IS_5:
        pytest.skip("4.x loads in the main thread")
    ledger = load(tiny_checkpoint).parameters()
    assert ledger["thread"].str.startswith("ThreadPoolExecutor").all()
    assert (ledger["milliseconds"] >= 0).all()
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")
    recording = load(tiny_checkpoint)
    assert set(recording.parameters()["thread"]) == {"MainThread"}
    assert recording.environment["async_load"] is False


def test_shards_add_up(tiny_checkpoint):
    recording = load(tiny_checkpoint, **compat.dtype_argument(torch.float32))
    shards = recording.shards()
    weights = weights_of(tiny_checkpoint)
    assert list(shards["file"]) == sorted(file.name for file in tiny_checkpoint.glob("*.safetensors"))
    assert shards["tensors"].sum() == len(weights)
    assert shards["disk_bytes"].sum() == sum(tensor.nbytes for tensor in weights.values())
    assert shards["memory_bytes"].sum() == sum(tensor.numel() * 4 for tensor in weights.values())
    assert shards["casts"].sum() == sum(tensor.dtype != torch.float32 for tensor in weights.values())
    assert (shards["first"] <= shards["last"]).all()


def test_a_single_file(copy):
    ledger = load(copy).parameters()
    assert set(ledger["file"]) == {"model.safetensors"}
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["begin"].notna().all()


def test_a_bin_file_has_no_byte_ranges(copy):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    torch.save(weights, copy / "pytorch_model.bin")
    ledger = load(copy).parameters().set_index("key")
    assert set(ledger.index) == set(weights)
    assert set(ledger["file"]) == {"pytorch_model.bin"}
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["begin"].isna().all()
    assert all(row["disk_shape"] == tuple(weights[key].shape) for key, row in ledger.iterrows())


def test_missing_and_unexpected_keys(copy):
    weights = load_file(copy / "model.safetensors")
    weights["model.layers.0.something.weight"] = torch.zeros(3)
    del weights["model.norm.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    ledger = load(copy).parameters()
    status = dict(zip(ledger["key"].fillna(ledger["parameter"]), ledger["status"], strict=True))
    assert status["model.layers.0.something.weight"] == "unexpected"
    assert status["model.norm.weight"] == "missing"
    assert set(ledger["status"]) == {"loaded", "unexpected", "missing"}


def test_mismatched_shapes(copy):
    config = json.loads((copy / "config.json").read_text())
    config["intermediate_size"] *= 2
    (copy / "config.json").write_text(json.dumps(config))
    ledger = load(copy, ignore_mismatched_sizes=True).parameters().set_index("key")
    mismatched = set(ledger.index[ledger["status"] == "mismatched"])
    assert mismatched == {key for key in ledger.index if ".mlp." in key}


def test_tied_weights_are_further_names(demo_checkpoint):
    ledger = load(demo_checkpoint).parameters()
    tied = ledger[ledger["status"] == "tied"]
    assert list(tied["parameter"]) == ["lm_head.weight"]
    assert list(tied["tied_to"]) == ["model.embed_tokens.weight"]
    assert (ledger["status"] == "loaded").sum() == 272


def test_two_loads_are_told_apart(tiny_checkpoint):
    with record() as recording:
        for _ in range(2):
            AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    counts = recording.parameters().groupby("load").size()
    assert list(counts.index) == [0, 1]
    assert counts[0] == counts[1]


def test_a_recording_without_a_load_says_so():
    with record() as recording:
        pass
    with pytest.raises(RecordingError, match="put from_pretrained inside"):
        recording.parameters()


def test_the_ledger_survives_a_round_trip(tiny_checkpoint, tmp_path):
    recording = load(tiny_checkpoint)
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    assert loaded.loads == recording.loads
    assert loaded == recording


def test_nothing_went_unobserved(tiny_checkpoint):
    assert load(tiny_checkpoint).warnings == []
