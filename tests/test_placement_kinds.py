"""Placement of checkpoints of every kind: encoder-decoders, models of images, quantised ones, and damaged files."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from helpers import compat, placement
from helpers.placement import PlacementError
from helpers.placing import empty
from helpers.safetensors_header import shard_files

TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 384, "max_position_embeddings": 64,
}  # fmt: skip
IMAGES = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
ENCODER_DECODER = {
    "vocab_size": 384, "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 96, "decoder_ffn_dim": 96, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2, "decoder_start_token_id": 1,
}  # fmt: skip
MODELS = {
    "LlavaForConditionalGeneration": ("llava", {"text_config": TEXT | {"model_type": "llama"}, "vision_config": IMAGES
                                                | {"model_type": "clip_vision_model"}, "image_token_index": 10}),
    "T5ForConditionalGeneration": ("t5", {"vocab_size": 384, "d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2,
                                          "num_heads": 4}),
    "BartForConditionalGeneration": ("bart", ENCODER_DECODER | {"max_position_embeddings": 64}),
    "WhisperForConditionalGeneration": (
        "whisper",
        {"max_source_positions": 64, "max_target_positions": 64, "begin_suppress_tokens": None, **ENCODER_DECODER},
    ),
    "BertForMaskedLM": ("bert", TEXT),
    "GPT2ForSequenceClassification": ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 384}),
    "ViTForImageClassification": ("vit", IMAGES),
}  # fmt: skip
"""Class to model_type and the settings that make it tiny."""


@pytest.fixture(params=MODELS)
def checkpoint(request, tmp_path):
    """(model, folder) of a random model of each class."""
    model_type, settings = MODELS[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, request.param)(AutoConfig.for_model(model_type, **settings))
    model.save_pretrained(tmp_path / "checkpoint")
    return model, tmp_path / "checkpoint"


def test_it_is_planned_and_loaded_as_the_class_that_it_was_saved_from(checkpoint, tmp_path):
    model, folder = checkpoint
    total = sum(parameter.numel() * 4 for parameter in model.parameters())
    limit = {"cpu": int(0.8 * total)}
    try:
        compat.unsplit_modules(model)
    except ValueError:  # BERT's in 4.47
        with pytest.raises(PlacementError, match="does not support `device_map='auto'`"):
            placement.plan(folder, max_memory=limit)
        return
    plan = placement.plan(folder, max_memory=limit)
    assert {"disk"} <= set(plan.values()) <= {"cpu", "disk"}
    loaded = placement.load(folder, device_map="auto", max_memory=limit, offload_folder=tmp_path / "offload")
    assert type(loaded) is type(model)
    assert getattr(loaded, "hf_device_map", plan) == plan  # 5.0 does not note a map to one device
    whole = placement.load(folder, device_map="cpu")
    assert type(whole) is type(model)
    for name, parameter in model.named_parameters():
        assert torch.equal(whole.get_parameter(name), parameter), name


def test_a_config_that_no_class_loads_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(empty, "AUTO_CLASSES", ("AutoModelForCausalLM",))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}), encoding="utf-8")
    with pytest.raises(PlacementError, match=r"^transformers has no model for this T5Config\.$"):
        placement.plan(tmp_path)


@pytest.fixture
def copy(tiny_checkpoint, tmp_path):
    return shutil.copytree(tiny_checkpoint, tmp_path / "copy")


def changed(folder, **values) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | values), encoding="utf-8")


def test_a_missing_or_damaged_shard_is_told_before_the_load(copy):
    shard = shard_files(copy)[1]
    content = shard.read_bytes()
    for change, says in (
        (lambda: shard.write_bytes(content[:-100]), "truncated or altered"),
        (lambda: shard.write_bytes(b""), "is not a safetensors file, or is truncated"),
        (shard.unlink, "cannot be read"),
    ):
        change()
        with pytest.raises(PlacementError, match=says) as told:
            placement.load(copy, device_map="cpu")
        assert str(shard) in str(told.value)
    assert placement.plan(copy)  # needs no weights


def test_a_missing_file_of_torch_s_own_is_told_before_the_load(copy):
    keys = [key for file in shard_files(copy) for key in load_file(file)]
    for file in copy.glob("model*"):
        file.unlink()
    index = {"weight_map": dict.fromkeys(keys, "pytorch_model-00001-of-00001.bin")}
    (copy / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(PlacementError, match=r"pytorch_model-00001-of-00001\.bin is missing"):
        placement.load(copy, device_map="cpu")


def test_the_sizes_of_a_quantised_checkpoint_are_not_guessed(copy, tmp_path):
    changed(copy, quantization_config={"quant_method": "gptq", "bits": 4})
    for ask in (
        lambda: placement.plan(copy, max_memory={"cpu": "1GB"}),
        lambda: placement.load(copy, device_map="auto", max_memory={"cpu": "1GB"}),
        lambda: placement.load(copy, device_map="auto", offload_folder=tmp_path),
    ):
        with pytest.raises(PlacementError, match=r"is of a quantised checkpoint \(gptq\): how large"):
            ask()


def test_what_is_no_checkpoint_s_folder_is_told_with_what_to_give(tiny_checkpoint, copy, tmp_path):
    with pytest.raises(PlacementError, match="is one of the files of a checkpoint's weights"):
        placement.plan(shard_files(tiny_checkpoint)[0])
    with pytest.raises(PlacementError, match="is a shape without files"):
        placement.load("llama-2-7b", device_map="cpu")
    changed(copy, model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})
    (copy / "own.py").write_text("", encoding="utf-8")
    with pytest.raises(PlacementError, match=r"comes with it \(trust_remote_code\), and is not run here"):
        placement.plan(copy)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "some/model"}', encoding="utf-8")
    save_file({"weight": torch.zeros(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(PlacementError, match="an adapter"):
        placement.plan(tmp_path)


@pytest.mark.parametrize("dtype", ["auto", None, {"text_config": torch.float16}, "float4", torch.int8])
def test_what_is_not_one_dtype_is_refused(tiny_checkpoint, dtype):
    for ask in (
        lambda: placement.plan(tiny_checkpoint, dtype=dtype),
        lambda: placement.load(tiny_checkpoint, device_map="cpu", dtype=dtype),
    ):
        with pytest.raises(PlacementError, match="use one of float32, float16, bfloat16, float64"):
            ask()


def test_a_dtype_may_be_spelt(tiny_checkpoint):
    assert placement.load(tiny_checkpoint, device_map="cpu", dtype="bfloat16").dtype is torch.bfloat16
