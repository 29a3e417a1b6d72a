"""Checkpoints with a published shape and random weights: written, read back, run; and what is refused."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import __main__ as command_line
from helpers import article, forecast, safetensors_header
from helpers.checkpoints import CheckpointError, shaped_build
from helpers.model_shapes import llama_2_7b_config

SCALED = "llama-2-7b-scaled"


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    return shaped_build.write(SCALED, tmp_path_factory.mktemp("shaped") / "scaled")


def test_two_whole_shards_that_the_library_of_the_format_reads(scaled):
    files = safetensors_header.shard_files(scaled)
    assert [file.name for file in files] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    safetensors_header.check_shards(scaled)
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    assert sum(tensor.nbytes for tensor in tensors.values()) == shaped_build.checkpoint_bytes(SCALED)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert torch.all(tensors["model.norm.weight"] == 1)
    embedding = tensors["model.embed_tokens.weight"].float()
    assert embedding.std() == pytest.approx(shaped_build.DEVIATION, rel=0.01)
    assert embedding.isfinite().all()


def test_it_loads_whole_and_runs_the_article_s_script(scaled):
    model, report = AutoModelForCausalLM.from_pretrained(scaled, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokenizer = AutoTokenizer.from_pretrained(scaled)
    prompt = article.prompt(tokenizer)
    ids = tokenizer(prompt)["input_ids"]
    assert len(ids) == 173
    assert ids[0] == tokenizer.bos_token_id == 1
    assert len(tokenizer) == 32000
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == prompt
    run = pipeline("text-generation", model=model, tokenizer=tokenizer, device="cpu", **article.SAMPLING)
    written = run(prompt, max_new_tokens=3, min_new_tokens=3, return_full_text=False)[0]["generated_text"]
    assert "<reserved_" in written


def test_the_full_shape_is_llama_2_7b_to_the_byte():
    tensors = list(shaped_build._tensors(shaped_build.SHAPES["llama-2-7b"]))
    assert len(tensors) == 291
    assert shaped_build.checkpoint_bytes("llama-2-7b") == 6_738_415_616 * 2
    assert forecast(llama_2_7b_config(), dtype="float16", prompt_tokens=1, new_tokens=1).weights == 6_738_415_616 * 2
    first, second = (sum(2 * shaped_build._count(size) for _, size in shard) for shard in shaped_build._shards(tensors))
    assert first > second > 3e9


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=2 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(CheckpointError, match=r"needs 13\.6 GB in .*, and 2\.0 GB are free"):
        shaped_build.write("llama-2-7b", tmp_path / "big")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shaped_build, "_random_parts", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        shaped_build.write(SCALED, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds something already"):
        shaped_build.write(SCALED, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_command_writes_it_and_names_the_shapes(tmp_path, capsys):
    assert command_line.main(["checkpoint", "--shape", SCALED, str(tmp_path / "model")]) == 0
    assert str(tmp_path / "model") in capsys.readouterr().out
    assert (tmp_path / "model" / "config.json").is_file()
    assert command_line.main(["checkpoint", "--shape", "llama-9", str(tmp_path / "other")]) == 1
    assert "there is no shape 'llama-9': give one of llama-2-7b, llama-2-7b-scaled" in capsys.readouterr().err
