"""The loading ledger: every tensor of the checkpoint, from the file to its place in the model."""

import functools
import json
import pickle
import threading

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from helpers import compat, record
from helpers.events import RecordingError
from helpers.recording.recording import Recording
from tests.recorded_loads import IS_5, load, weights_of


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
    assert (ledger["milliseconds"] > 0).all()
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


def test_what_stays_on_disk_is_not_cast_by_the_load(tiny_checkpoint, tmp_path):
    device_map = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.layers.0": "cpu", "model.norm": "cpu"}
    device_map |= {"model.layers.1": "disk", "lm_head": "cpu"}
    dtype = compat.dtype_argument(torch.bfloat16)
    recording = load(tiny_checkpoint, device_map=device_map, offload_folder=tmp_path, **dtype)
    ledger = recording.parameters()
    in_memory = ledger[ledger["device"] == "cpu"]
    assert 0 < len(in_memory) < len(ledger)
    assert recording.shards()["casts"].sum() == in_memory["cast"].sum() == len(in_memory)


def test_a_state_dict_in_place_of_files(tiny_checkpoint):
    weights = weights_of(tiny_checkpoint)
    config = AutoConfig.from_pretrained(tiny_checkpoint)
    with record("landmarks") as recording:
        LlamaForCausalLM.from_pretrained(
            None, config=config, state_dict=dict(weights), **compat.dtype_argument(torch.bfloat16)
        )
    ledger = recording.parameters().set_index("key")
    assert set(ledger.index) == set(weights)
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["file"].isna().all()
    assert set(ledger["disk_dtype"]) == {"float32"}
    assert set(ledger["dtype"]) == {"bfloat16"}
    assert ledger["nbytes"].sum() == sum(tensor.numel() * 2 for tensor in weights.values())


def test_a_single_file(one_file):
    ledger = load(one_file).parameters()
    assert set(ledger["file"]) == {"model.safetensors"}
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["begin"].notna().all()


def test_a_bin_file_has_no_byte_ranges(one_file):
    weights = load_file(one_file / "model.safetensors")
    (one_file / "model.safetensors").unlink()
    torch.save(weights, one_file / "pytorch_model.bin")
    ledger = load(one_file).parameters().set_index("key")
    assert set(ledger.index) == set(weights)
    assert set(ledger["file"]) == {"pytorch_model.bin"}
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["begin"].isna().all()
    assert all(row["disk_shape"] == tuple(weights[key].shape) for key, row in ledger.iterrows())


def test_a_buffer_that_the_checkpoint_holds_has_a_row_like_a_parameter(tmp_path):
    config = transformers.BartConfig(
        vocab_size=32, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=16,
    )  # fmt: skip
    transformers.BartForConditionalGeneration(config).save_pretrained(tmp_path)
    with record("landmarks") as recording:
        transformers.BartForConditionalGeneration.from_pretrained(tmp_path, **compat.dtype_argument(torch.float32))
    row = recording.parameters().set_index("key").loc["final_logits_bias"]
    assert (row["status"], row["dtype"], row["device"], row["nbytes"]) == ("loaded", "float32", "cpu", 32 * 4)
    assert row["placed"] > 0


def test_missing_and_unexpected_keys(one_file):
    weights = load_file(one_file / "model.safetensors")
    weights["model.layers.0.something.weight"] = torch.zeros(3)
    del weights["model.norm.weight"]
    save_file(weights, one_file / "model.safetensors", metadata={"format": "pt"})
    ledger = load(one_file).parameters()
    status = dict(zip(ledger["key"].fillna(ledger["parameter"]), ledger["status"], strict=True))
    assert status["model.layers.0.something.weight"] == "unexpected"
    assert status["model.norm.weight"] == "missing"
    assert set(ledger["status"]) == {"loaded", "unexpected", "missing"}


def test_mismatched_shapes(one_file):
    config = json.loads((one_file / "config.json").read_text())
    config["intermediate_size"] *= 2
    (one_file / "config.json").write_text(json.dumps(config))
    ledger = load(one_file, ignore_mismatched_sizes=True).parameters().set_index("key")
    mismatched = set(ledger.index[ledger["status"] == "mismatched"])
    assert mismatched == {key for key in ledger.index if ".mlp." in key}


def test_what_does_not_fit_and_what_stays_on_disk_is_no_memory_of_the_file(one_file, tmp_path):
    whole = load(one_file)
    config = json.loads((one_file / "config.json").read_text())
    (one_file / "config.json").write_text(json.dumps({**config, "intermediate_size": 2 * config["intermediate_size"]}))
    ledger = load(one_file, ignore_mismatched_sizes=True)
    loaded = ledger.parameters().query("status == 'loaded'")
    assert ledger.shards()["memory_bytes"].sum() == loaded["nbytes"].sum() < whole.shards()["memory_bytes"].sum()
    (one_file / "config.json").write_text(json.dumps(config))
    device_map = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    device_map |= {"model.rotary_emb": "cpu", "lm_head": "cpu"}
    offloaded = load(one_file, device_map=device_map, offload_folder=str(tmp_path / "offload"))
    on_disk = offloaded.parameters().query("device == 'disk'")["nbytes"].sum()
    assert 0 < on_disk == whole.shards()["memory_bytes"].sum() - offloaded.shards()["memory_bytes"].sum()


@pytest.mark.skipif(not IS_5, reason="4.x takes it from the checkpoint")
def test_a_buffer_that_is_computed_and_not_taken_from_the_checkpoint_is_no_memory_of_the_file(one_file):
    weights = load_file(one_file / "model.safetensors")
    computed = "model.rotary_emb.inv_freq"
    stored = weights | {computed: torch.ones(8, dtype=torch.float16)}
    save_file(stored, one_file / "model.safetensors", metadata={"format": "pt"})
    recording = load(one_file, **compat.dtype_argument(torch.float32))
    assert recording.parameters().set_index("key")["status"][computed] == "unexpected"
    (shard,) = recording.shards().to_dict("records")
    assert shard["memory_bytes"] == sum(tensor.numel() * 4 for tensor in weights.values())
    assert shard["casts"] == sum(tensor.dtype != torch.float32 for tensor in weights.values())


@pytest.mark.parametrize("stored", [("model.embed_tokens.weight", "lm_head.weight"), ("lm_head.weight",)], ids=len)
def test_tied_weights_that_the_checkpoint_holds_count_once(one_file, stored):
    config = json.loads((one_file / "config.json").read_text())
    (one_file / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    weights = load_file(one_file / "model.safetensors")
    tied = weights.pop("lm_head.weight")
    del weights["model.embed_tokens.weight"]
    weights |= {name: tied.clone() for name in stored}
    save_file(weights, one_file / "model.safetensors", metadata={"format": "pt"})
    with record() as recording:
        model = AutoModelForCausalLM.from_pretrained(one_file, **compat.dtype_argument(torch.float32))
    assert recording.parameters()["parameter"].is_unique
    assert recording.shards()["memory_bytes"].sum() == sum(parameter.nbytes for parameter in model.parameters())


@pytest.mark.skipif(not IS_5, reason="4.x finds them before it fills anything")
def test_a_load_that_fails_tells_what_did_not_fit(one_file):
    config = json.loads((one_file / "config.json").read_text())
    (one_file / "config.json").write_text(json.dumps({**config, "intermediate_size": 2 * config["intermediate_size"]}))
    with pytest.raises(RuntimeError), record() as recording:
        AutoModelForCausalLM.from_pretrained(one_file)
    ledger = recording.parameters().set_index("key")
    assert set(ledger.index[ledger["status"] == "mismatched"]) == {key for key in ledger.index if ".mlp." in key}
    assert set(ledger["status"]) == {"mismatched", "placed"}
    assert recording.warnings == []


def test_a_file_that_cannot_be_read_is_no_problem_of_the_recording(one_file):
    (one_file / "model.safetensors").unlink()
    (one_file / "pytorch_model.bin").write_bytes(b"no weights")
    with pytest.raises((OSError, pickle.UnpicklingError)), record() as recording:
        AutoModelForCausalLM.from_pretrained(one_file)
    assert recording.warnings == []


def test_what_is_read_and_moved_outside_a_load_is_no_problem_of_the_recording(tmp_path):
    layer = torch.nn.Linear(2, 2)
    torch.save(layer.state_dict(), tmp_path / "pytorch_model.bin")
    with record() as recording:
        layer.load_state_dict(transformers.modeling_utils.load_state_dict(str(tmp_path / "pytorch_model.bin")))
    assert recording.warnings == []
    assert recording.loads == []


def test_a_shard_that_is_gone_when_the_recording_ends_leaves_the_rows_without_its_bytes(one_file):
    with record() as recording:
        AutoModelForCausalLM.from_pretrained(one_file)
        (one_file / "model.safetensors").rename(one_file / "moved")
    ledger = recording.parameters()
    assert set(ledger["key"]) == set(load_file(one_file / "moved"))
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["begin"].isna().all()
    (warning,) = recording.warnings
    assert "loading ledger: byte ranges not observed" in warning


def test_a_load_that_gives_its_information_too_has_the_same_ledger(one_file):
    ledger = load(one_file, output_loading_info=True).parameters()
    assert set(ledger["status"]) == {"loaded"}
    assert set(ledger["device"]) == {"cpu"}


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


# several loads at a time ------------------------------------------------------------------------------------------


def test_two_threads_that_load_do_not_mix_their_rows(tiny_checkpoint, one_file):
    """The models are made one after the other, the weights are loaded at the same time.

    transformers patches its classes and torch's functions while it makes a model; where two threads do so at a time,
    the later one leaves the earlier one's patch behind (`initialization.no_tie_weights`, for good).
    """
    if compat.transformers_version() < (5,):
        pytest.skip("before 5.0 two loads at a time undo each other's patches of torch, and later models stay on meta")
    first_is_made, second_is_made = threading.Event(), threading.Event()

    def load(made, other, *arguments, **keywords):
        made.set()
        assert other.wait(timeout=60)
        return transformers.LlamaForCausalLM._load_pretrained_model(*arguments, **keywords)

    class First(transformers.LlamaForCausalLM):
        _load_pretrained_model = staticmethod(functools.partial(load, first_is_made, second_is_made))

    class Second(transformers.LlamaForCausalLM):
        _load_pretrained_model = staticmethod(functools.partial(load, second_is_made, first_is_made))

    with record() as recording:
        first = threading.Thread(target=First.from_pretrained, args=(tiny_checkpoint,))
        first.start()
        assert first_is_made.wait(timeout=60)
        second = threading.Thread(target=Second.from_pretrained, args=(one_file,))
        second.start()
        for thread in (first, second):
            thread.join()
    assert transformers.PreTrainedModel.tie_weights.__qualname__ == "PreTrainedModel.tie_weights"
    assert recording.warnings == []
    by_load = dict(iter(recording.parameters().groupby("load")))
    assert len(by_load) == 2
    files = [set(rows["file"]) for rows in by_load.values()]
    assert sorted(files, key=len)[0] == {"model.safetensors"}
    for rows in by_load.values():
        assert set(rows["key"]) == set(weights_of(one_file))
        assert set(rows["status"]) == {"loaded"}
        assert rows["placed"].notna().all()


def test_a_load_inside_a_load_has_rows_of_its_own(tiny_checkpoint, one_file):
    inner = transformers.LlamaForCausalLM

    def outer_load(*arguments, **keywords):
        inner.from_pretrained(one_file)
        return inner._load_pretrained_model(*arguments, **keywords)

    class Outer(inner):
        _load_pretrained_model = staticmethod(outer_load)

    with record() as recording:
        Outer.from_pretrained(tiny_checkpoint)
    assert recording.warnings == []
    ledger = recording.parameters()
    sizes = ledger.groupby("load").size()
    assert list(sizes) == [len(weights_of(one_file))] * 2
    assert set(ledger["status"]) == {"loaded"}
    assert set(ledger.loc[ledger["load"] == 0, "file"]) == {"model.safetensors"}
    assert ledger["placed"].notna().all()


def test_every_dtype_of_safetensors_is_spelled_as_torch_spells_it():
    from safetensors.torch import _TYPES

    from helpers.probes.load_rows import DTYPES

    known = {name: str(dtype).removeprefix("torch.") for name, dtype in _TYPES.items()}
    assert {name: DTYPES.get(name) for name in known} == known


def test_bin_shards_and_the_order_of_arrival(one_file):
    weights = load_file(one_file / "model.safetensors")
    (one_file / "model.safetensors").unlink()
    halves = {"pytorch_model-00001-of-00002.bin": {}, "pytorch_model-00002-of-00002.bin": {}}
    for number, (key, value) in enumerate(weights.items()):
        list(halves.values())[number * 2 // len(weights)][key] = value
    for name, half in halves.items():
        torch.save(half, one_file / name)
    weight_map = {key: name for name, half in halves.items() for key in half}
    (one_file / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    ledger = load(one_file).parameters().set_index("key")
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["placed"].notna().all()
    assert ledger["file"].to_dict() == weight_map


def test_placed_is_the_order_in_which_the_parameters_arrive(tiny_checkpoint):
    """As counted by the library's own function, which is wrapped here."""
    if not IS_5:
        pytest.skip("the function that places a parameter is another one in each 4.x")
    from transformers import core_model_loading

    arrived = []
    original = core_model_loading.set_param_for_module

    def noting(model, target_name, *arguments, **keywords):
        arrived.append(target_name)
        return original(model, target_name, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_model_loading, "set_param_for_module", noting)
        ledger = load(tiny_checkpoint).parameters()
    assert list(ledger.sort_values("placed", kind="stable")["parameter"]) == arrived
