"""The loading ledger of checkpoints whose keys have another name in the model, or are merged or split."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM

from helpers import compat, record
from helpers.recording.recording import Recording
from tests.recorded_loads import IS_5, load, weights_of


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
    renamed = ledger[ledger["status"] == "renamed"]
    assert renamed["thread"].notna().all()
    assert renamed["milliseconds"].notna().all() or not IS_5  # 4.x has no function of its own for it
    assert renamed["nbytes"].gt(0).all()


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
def test_a_tensor_that_is_split_into_several_parameters_has_a_row_for_each(one_file, monkeypatch):
    from transformers import conversion_mapping, core_model_loading

    config = json.loads((one_file / "config.json").read_text())
    config["num_key_value_heads"] = config["num_attention_heads"]  # three equal parts
    (one_file / "config.json").write_text(json.dumps(config))
    names = [f"self_attn.{name}_proj.weight" for name in "qkv"]
    weights = {key: value for key, value in weights_of(one_file).items() if not key.endswith(tuple(names))}
    size, layers = config["hidden_size"], range(config["num_hidden_layers"])
    fused = {f"model.layers.{layer}.self_attn.qkv_proj.weight": torch.rand(3 * size, size) for layer in layers}
    save_file(weights | fused, one_file / "model.safetensors", metadata={"format": "pt"})
    split = core_model_loading.WeightConverter(
        "self_attn.qkv_proj.weight", names, operations=[core_model_loading.Chunk(dim=0)]
    )
    conversion_mapping.get_checkpoint_conversion_mapping("llama")  # made before, so that it can be put back
    known = conversion_mapping._checkpoint_conversion_mapping_cache
    monkeypatch.setattr(conversion_mapping, "_checkpoint_conversion_mapping_cache", known | {"llama": [split]})

    with record() as recording:
        model = AutoModelForCausalLM.from_pretrained(one_file, **compat.dtype_argument(torch.float32))
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
