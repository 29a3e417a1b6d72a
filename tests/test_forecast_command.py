"""`python -m helpers forecast`: Llama-2-7B against a card of 24 GB, and what is refused."""

import json

import pytest

from helpers import __main__ as command_line
from helpers import forecast
from helpers.model_shapes import LLAMA_2_7B


@pytest.fixture(scope="module")
def llama_2_7b(tmp_path_factory):
    file = tmp_path_factory.mktemp("llama") / "config.json"
    file.write_text(json.dumps(LLAMA_2_7B), encoding="utf-8")
    return str(file)


def run(capsys, *arguments: str):
    status = command_line.main(["forecast", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_llama_2_7b_in_float32_is_refused_on_24_gb(llama_2_7b, capsys):
    status, out, _ = run(capsys, llama_2_7b, "--dtype", "float32", "--gpu", "24GB")
    assert status == 3
    assert "6,738,415,616" in out
    assert "weights      25.1 GiB" in out
    assert "DOES NOT FIT" in out
    assert "--dtype float16: in place of float32 (or bfloat16, which takes as much): cuda:0: needs 12.9 GiB" in out


def test_llama_2_7b_in_float16_is_accepted_on_24_gb(llama_2_7b, capsys):
    status, out, _ = run(capsys, llama_2_7b, "--dtype", "float16", "--gpu", "24GB")
    assert status == 0
    assert "6,738,415,616" in out
    assert "weights      12.6 GiB" in out
    assert "512.0 KiB per token" in out
    assert "cuda:0: needs 12.9 GiB of 22.4 GiB free: fits" in out


def test_the_name_of_the_shape_says_the_same_without_a_file(llama_2_7b, capsys):
    given = [run(capsys, model, "--dtype", "float16", "--gpu", "24GB") for model in (llama_2_7b, "llama-2-7b")]
    (status, of_file, _), (same, of_name, _) = given
    assert status == same == 0
    assert of_file.splitlines()[1:6] == of_name.splitlines()[1:6]
    assert of_name.startswith("llama-2-7b (LlamaForCausalLM) in float16")


def test_two_gpus_share_and_the_figure_is_written(tiny_checkpoint, tmp_path, capsys):
    picture = tmp_path / "figure.png"
    status, out, err = run(
        capsys, str(tiny_checkpoint), "--gpu", "1GB", "--gpu", "1GB", "--prompt-tokens", "8", "--figure", str(picture)
    )
    assert status == 0
    assert "cuda:0: needs" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in err


def test_without_a_gpu_option_it_is_for_the_device_of_the_notebooks(tiny_checkpoint, capsys, monkeypatch):
    monkeypatch.setenv("TRACE_DEVICE", "cpu")
    status, out, _ = run(capsys, str(tiny_checkpoint))
    assert status == 0
    assert "cpu: needs" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--gpu", "24 parsecs"), "'24 parsecs' is no size of memory"),
        (("--gpu=-5GB",), "'-5GB' is no size of memory"),
        (("--dtype", "float4"), "--dtype 'float4' is not known"),
        (("--device-map", "cuda:99"), "--device-map 'cuda:99'"),
        (("--device-map", "cuda:99"), "--gpu 24GB, once for each GPU, forecasts for one that is not here"),
        (("--new-tokens", "0"), "--new-tokens 0: give a whole number above 0"),
        (("--cache", "quantized"), "--cache 'quantized' is not forecast"),
        (("--gpu", "24"), "--gpu: '24' is no size of memory"),
        (("--device-map", "auto", "--max-memory", "24GB"), "--max-memory 24GB: write DEVICE=SIZE"),
        (("--device-map", "auto", "--max-memory", "0=24"), "--max-memory: '24' is no size of memory"),
        (("--device-map", '{"model": "cpu"'), """--device-map: {"model": "cpu" is no JSON"""),
        (("--device-map", '{"model": [0]}'), "--device-map: [0] of 'model' is no device"),
        (("--max-memory", "cpu=24GB"), "--max-memory is for an automatic --device-map"),
        (("--figure", "bars.txt"), "--figure bars.txt: the name of a picture ends in .png"),
    ],
)
def test_bad_options_are_one_clear_error(tiny_checkpoint, capsys, arguments, says):
    status, out, err = run(capsys, str(tiny_checkpoint), *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert says in err


def test_a_map_of_modules_is_written_as_json(tiny_checkpoint, capsys):
    one = {"model.embed_tokens": "disk", "model": 0, "lm_head": "cuda:1"}
    status, out, _ = run(capsys, str(tiny_checkpoint), "--gpu=1GB", "--gpu=1GB", "--device-map", json.dumps(one))
    found = forecast(tiny_checkpoint, device_map=one, memory={"cuda:0": "1GB", "cuda:1": "1GB"})
    assert status == 0
    assert {row.device for row in found.devices} >= {"cuda:0", "cuda:1", "disk"}
    for row in found.devices:
        if row.free is None or row.device.startswith("cuda"):
            assert row.sentence() in out


def test_what_cannot_be_told_has_a_status_of_its_own(tmp_path, capsys):
    config = {
        "model_type": "bert", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100, "num_attention_heads": 2,
        "intermediate_size": 64, "max_position_embeddings": 64,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    status, out, _ = run(capsys, str(tmp_path), "--gpu", "1GB", "--dtype", "float32", "--prompt-tokens", "4")
    assert status == 4
    assert "KV cache not known" in out


def test_advice_is_in_flags_that_can_be_followed(llama_2_7b, capsys):
    given = (llama_2_7b, "--dtype", "float16", "--gpu", "10GB")
    status, out, _ = run(capsys, *given)
    assert status == 3
    flags = [line.removeprefix("  - ").partition(": ")[0].split() for line in out.splitlines() if "  - --" in line]
    assert any("--max-memory" in one for one in flags)
    for one in flags:
        assert run(capsys, *given, *one)[0] == 0, one
