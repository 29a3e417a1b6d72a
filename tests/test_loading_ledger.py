"""The loading ledger: every tensor of the checkpoint, from the file to its place in the model."""

import functools
import json
import shutil
import threading

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, LlamaForCausalLM

from helpers import compat, record
from helpers.events import RecordingError
from helpers.recording.recording import Recording

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


def test_what_does_not_fit_and_what_stays_on_disk_is_no_memory_of_the_file(copy, tmp_path):
    whole = load(copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 2 * config["intermediate_size"]}))
    ledger = load(copy, ignore_mismatched_sizes=True)
    loaded = ledger.parameters().query("status == 'loaded'")
    assert ledger.shards()["memory_bytes"].sum() == loaded["nbytes"].sum() < whole.shards()["memory_bytes"].sum()
    (copy / "config.json").write_text(json.dumps(config))
    device_map = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    device_map |= {"model.rotary_emb": "cpu", "lm_head": "cpu"}
    offloaded = load(copy, device_map=device_map, offload_folder=str(tmp_path / "offload"))
    on_disk = offloaded.parameters().query("device == 'disk'")["nbytes"].sum()
    assert 0 < on_disk == whole.shards()["memory_bytes"].sum() - offloaded.shards()["memory_bytes"].sum()


@pytest.mark.skipif(not IS_5, reason="4.x finds them before it fills anything")
def test_a_load_that_fails_tells_what_did_not_fit(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 2 * config["intermediate_size"]}))
    with pytest.raises(RuntimeError), record() as recording:
        AutoModelForCausalLM.from_pretrained(copy)
    ledger = recording.parameters().set_index("key")
    assert set(ledger.index[ledger["status"] == "mismatched"]) == {key for key in ledger.index if ".mlp." in key}
    assert set(ledger["status"]) == {"mismatched", "placed"}


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


# keys that have another name in the model ----------------------------------------------------------------------------


def _statuses(recording: Recording) -> dict[str, tuple[str, str]]:
    ledger = recording.parameters()
    assert (ledger.loc[ledger["status"] == "renamed", "placed"]).notna().all()
    return {
        row["key"]: (row["parameter"], row["status"]) for _, row in ledger.iterrows() if isinstance(row["key"], str)
    }


@pytest.mark.parametrize("arguments", [{}, {"device_map": "cpu"}], ids=["plain", "device_map"])
def test_a_checkpoint_with_a_head_into_the_model_inside(tiny_checkpoint, arguments):
    with record() as recording:
        model = AutoModel.from_pretrained(tiny_checkpoint, **arguments)
    keys = weights_of(tiny_checkpoint)
    expected = {key: (key.removeprefix("model."), "renamed") for key in keys if key.startswith("model.")}
    found = _statuses(recording)
    assert {key: told for key, told in found.items() if key != "lm_head.weight"} == expected
    assert found.get("lm_head.weight", (None, "unexpected"))[1] == "unexpected"
    assert {parameter for parameter, _ in expected.values()} == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("arguments", [{}, {"device_map": "cpu"}], ids=["plain", "device_map"])
def test_a_checkpoint_of_the_model_inside_into_one_with_a_head(tiny_checkpoint, tmp_path, arguments):
    AutoModel.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path / "base")
    recording = load(tmp_path / "base", **arguments)
    keys = weights_of(tmp_path / "base")
    assert _statuses(recording) == {key: (f"model.{key}", "renamed") for key in keys}
    ledger = recording.parameters()
    assert ledger.loc[ledger["status"] == "renamed", "nbytes"].gt(0).all()


def test_old_names_of_a_layer_norm(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in load_file(tmp_path / "model.safetensors").items()
    }
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with record() as recording:
        BertModel.from_pretrained(tmp_path)
    found = _statuses(recording)
    changed = {key: told for key, told in found.items() if key.endswith(("gamma", "beta"))}
    assert changed == {
        key: (key.replace("gamma", "weight").replace("beta", "bias"), "renamed")
        for key in old
        if key.endswith(("gamma", "beta"))
    }
    assert len(changed) == 6


def test_experts_that_become_one_parameter_share_its_bytes(tmp_path):
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4,
    )  # fmt: skip
    model = MixtralForCausalLM(config)
    model.save_pretrained(tmp_path)
    recording = load(tmp_path, **compat.dtype_argument(torch.float32))
    parameters = sum(parameter.numel() * 4 for parameter in model.parameters())
    assert recording.shards()["memory_bytes"].sum() == parameters
    ledger = recording.parameters()
    experts = ledger[ledger["key"].fillna("").str.contains("experts")]
    assert len(experts) == 4 * 3  # as stored
    assert (experts["nbytes"] == 16 * 32 * 4).all()


@pytest.mark.skipif(not IS_5, reason="before 5.0 a checkpoint is loaded as it is")
def test_a_tensor_that_is_split_into_several_parameters_has_a_row_for_each(copy, monkeypatch):
    from transformers import conversion_mapping, core_model_loading

    config = json.loads((copy / "config.json").read_text())
    config["num_key_value_heads"] = config["num_attention_heads"]  # three equal parts
    (copy / "config.json").write_text(json.dumps(config))
    names = [f"self_attn.{name}_proj.weight" for name in "qkv"]
    weights = {key: value for key, value in weights_of(copy).items() if not key.endswith(tuple(names))}
    size, layers = config["hidden_size"], range(config["num_hidden_layers"])
    fused = {f"model.layers.{layer}.self_attn.qkv_proj.weight": torch.rand(3 * size, size) for layer in layers}
    save_file(weights | fused, copy / "model.safetensors", metadata={"format": "pt"})
    split = core_model_loading.WeightConverter(
        "self_attn.qkv_proj.weight", names, operations=[core_model_loading.Chunk(dim=0)]
    )
    conversion_mapping.get_checkpoint_conversion_mapping("llama")  # made before, so that it can be put back
    known = conversion_mapping._checkpoint_conversion_mapping_cache
    monkeypatch.setattr(conversion_mapping, "_checkpoint_conversion_mapping_cache", known | {"llama": [split]})

    with record() as recording:
        model = AutoModelForCausalLM.from_pretrained(copy, **compat.dtype_argument(torch.float32))
    for key, tensor in fused.items():
        for name, part in zip(names, tensor.chunk(3), strict=True):
            parameter = model.get_parameter(key.replace("self_attn.qkv_proj.weight", name))
            assert torch.equal(parameter, part)
    ledger = recording.parameters()
    assert set(ledger["parameter"]) == set(dict(model.named_parameters()))
    parts = ledger[ledger["key"].isin(fused)]
    assert list(parts["parameter"]) == [
        key.replace("self_attn.qkv_proj.weight", name) for key in fused for name in names
    ]
    assert set(parts["status"]) == {"renamed"}
    assert set(parts["nbytes"]) == {size * size * 4}
    assert set(parts["disk_shape"]) == {(3 * size, size)}
    assert parts["placed"].notna().all()
    assert list(parts["begin"].notna()) == [True, False, False] * len(fused)
    shards = recording.shards()
    assert list(shards["tensors"]) == [len(weights) + len(fused)]
    assert list(shards["disk_bytes"]) == [sum(one.nbytes for one in (weights | fused).values())]
    assert list(shards["memory_bytes"]) == [sum(parameter.nbytes for parameter in model.parameters())]


# several loads at a time ------------------------------------------------------------------------------------------


def test_two_threads_that_load_do_not_mix_their_rows(tiny_checkpoint, copy):
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
        second = threading.Thread(target=Second.from_pretrained, args=(copy,))
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
        assert set(rows["key"]) == set(weights_of(copy))
        assert set(rows["status"]) == {"loaded"}
        assert rows["placed"].notna().all()


def test_a_load_inside_a_load_has_rows_of_its_own(tiny_checkpoint, copy):
    inner = transformers.LlamaForCausalLM

    def outer_load(*arguments, **keywords):
        inner.from_pretrained(copy)
        return inner._load_pretrained_model(*arguments, **keywords)

    class Outer(inner):
        _load_pretrained_model = staticmethod(outer_load)

    with record() as recording:
        Outer.from_pretrained(tiny_checkpoint)
    assert recording.warnings == []
    ledger = recording.parameters()
    sizes = ledger.groupby("load").size()
    assert list(sizes) == [len(weights_of(copy))] * 2
    assert set(ledger["status"]) == {"loaded"}
    assert set(ledger.loc[ledger["load"] == 0, "file"]) == {"model.safetensors"}
    assert ledger["placed"].notna().all()


def test_every_dtype_of_safetensors_is_spelled_as_torch_spells_it():
    from safetensors.torch import _TYPES

    from helpers.probes.load_rows import DTYPES

    known = {name: str(dtype).removeprefix("torch.") for name, dtype in _TYPES.items()}
    assert {name: DTYPES.get(name) for name in known} == known


def test_bin_shards_and_the_order_of_arrival(copy):
    weights = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    halves = {"pytorch_model-00001-of-00002.bin": {}, "pytorch_model-00002-of-00002.bin": {}}
    for number, (key, value) in enumerate(weights.items()):
        list(halves.values())[number * 2 // len(weights)][key] = value
    for name, half in halves.items():
        torch.save(half, copy / name)
    weight_map = {key: name for name, half in halves.items() for key in half}
    (copy / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    ledger = load(copy).parameters().set_index("key")
    assert set(ledger["status"]) == {"loaded"}
    assert ledger["placed"].notna().all()
    assert set(ledger["file"].dropna()) <= set(halves)
    assert {key: name for key, name in ledger["file"].items() if isinstance(name, str)}.items() <= weight_map.items()


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
