"""The tiny random Llama of the fast tests."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import checkpoints, safetensors_header
from helpers.checkpoints import CheckpointError


def test_its_shape_is_two_layers_grouped_queries_and_an_untied_head(tiny_checkpoint):
    config = AutoConfig.from_pretrained(tiny_checkpoint)
    assert config.num_hidden_layers == 2
    assert config.num_attention_heads == 2 * config.num_key_value_heads == 4
    assert config.tie_word_embeddings is False
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    assert not torch.equal(model.lm_head.weight, model.model.embed_tokens.weight)


def test_it_has_several_shards_and_every_weight_of_the_model_comes_from_them(tiny_checkpoint):
    assert len(safetensors_header.shard_files(tiny_checkpoint)) >= 2
    model, report = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert set(model.state_dict()) == set(safetensors_header.read_index(tiny_checkpoint))


def test_every_build_gives_the_same_bytes(tiny_checkpoint, tmp_path):
    again = checkpoints.tiny(tmp_path / "again")
    assert (again / "manifest.json").read_text() == (tiny_checkpoint / "manifest.json").read_text()


def test_its_tokenizer_gives_every_text_back_and_adds_nothing(tiny_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    text = "The capital of France is Paris; naïve 東京 🙂\n\t2024"
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert max(tokenizer.get_vocab().values()) + 1 == len(tokenizer) == 384


def test_a_pipeline_runs_on_it(tiny_checkpoint):
    generate = pipeline("text-generation", model=str(tiny_checkpoint))
    chat = [{"role": "user", "content": "where are you?"}]
    reply = generate(chat, max_new_tokens=3, do_sample=False)[0]["generated_text"]
    assert [message["role"] for message in reply] == ["user", "assistant"]


def test_what_the_tokenizer_returns_goes_into_generate(tiny_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    inputs = tokenizer("The capital", return_tensors="pt")
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert model.generate(**inputs, max_new_tokens=2, do_sample=False).shape[1] > inputs.input_ids.shape[1]


def test_without_a_folder_it_lies_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path))
    assert checkpoints.tiny() == tmp_path / "checkpoints" / "tiny-random-llama"


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"manifest.json is missing"):
        checkpoints.tiny(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_header_reader_agrees_with_the_library(tiny_checkpoint):
    from safetensors import safe_open

    for path in safetensors_header.shard_files(tiny_checkpoint):
        with safe_open(path, framework="pt") as shard:
            for tensor in safetensors_header.read_header(path):
                expected = shard.get_tensor(tensor.name)
                assert tensor.shape == tuple(expected.shape)
                assert tensor.dtype == "F32"
                assert path.read_bytes()[tensor.begin : tensor.end] == expected.numpy().tobytes()


def test_the_index_names_the_shards_that_hold_the_tensors(tiny_checkpoint):
    safetensors_header.check_shards(tiny_checkpoint)
    index = json.loads((tiny_checkpoint / "model.safetensors.index.json").read_text())
    assert safetensors_header.read_index(tiny_checkpoint) == index["weight_map"]
