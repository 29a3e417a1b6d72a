"""Llama-2-7B's shapes without its weights, recorded; and that fake shapes are those of a real run."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import article, compat, model_shapes, record
from helpers.checkpoints import shaped_build
from helpers.devices import DeviceError
from helpers.forecasting.rehearsal import FakeModel


def shapes(recording) -> list[tuple]:
    """What each module call took and gave."""
    return list(recording.modules()[["path", "class", "inputs", "outputs", "dtype"]].itertuples(index=False))


@pytest.mark.slow
def test_every_shape_of_llama_2_7b_from_the_ids_to_the_logits():
    with model_shapes.fake_llama_2_7b() as model, record() as recording:
        output = model(model_shapes.prompt_ids(), use_cache=True)
        model(torch.zeros((1, 1), dtype=torch.long), past_key_values=output.past_key_values, use_cache=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 6_738_415_616
    modules = recording.modules()
    assert set(modules["dtype"]) == {"float16"}
    outputs = {path: list(rows["outputs"]) for path, rows in modules.groupby("path")}
    inputs = {path: list(rows["inputs"]) for path, rows in modules.groupby("path")}
    assert inputs["model.embed_tokens"] == ["input (1, 173)", "input (1, 1)"]
    assert outputs["model.embed_tokens"] == ["output (1, 173, 4096)", "output (1, 1, 4096)"]
    hidden, wide = ([f"output (1, 173, {size})", f"output (1, 1, {size})"] for size in (4096, 11008))
    for layer in range(32):
        name = f"model.layers.{layer}"
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            assert outputs[f"{name}.self_attn.{part}"] == hidden
        assert outputs[f"{name}.mlp.gate_proj"] == outputs[f"{name}.mlp.up_proj"] == wide
        for part in ("mlp.down_proj", "mlp", "input_layernorm", "post_attention_layernorm"):
            assert outputs[f"{name}.{part}"] == hidden
        first = [text.partition(" ")[2].split(", output")[0] for text in outputs[name]]  # 4.x gives a tuple
        assert first == ["(1, 173, 4096)", "(1, 1, 4096)"]
    assert outputs["model.norm"] == hidden
    assert ["(1, 173, 128)" in outputs["model.rotary_emb"][0], "(1, 1, 128)" in outputs["model.rotary_emb"][1]] == [
        True, True
    ]  # fmt: skip
    assert outputs["lm_head"] == ["output (1, 173, 32000)", "output (1, 1, 32000)"]
    assert recording.memory()["parameters"].max() == 0  # nothing was allocated


def test_fake_shapes_are_those_of_a_real_run(tmp_path):
    checkpoint = shaped_build.write("llama-2-7b-scaled", tmp_path / "scaled")
    real = AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(torch.float16))
    fake = FakeModel(real.config, torch.float16)
    with torch.no_grad(), record() as recorded:
        real(model_shapes.prompt_ids())
    with fake.mode, torch.no_grad(), record() as recorded_fake:
        fake.model(model_shapes.prompt_ids())
    assert shapes(recorded) == shapes(recorded_fake)
    assert len(shapes(recorded)) > 2 * 10


def test_the_config_is_the_published_one():
    config = model_shapes.llama_2_7b_config()
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (4096, 32, 32000)
    assert compat.config_dtype(config) is torch.float16


def test_the_article_s_shape_is_that_of_the_config():
    assert {name: model_shapes.LLAMA_2_7B[name] for name in article.LLAMA_2_7B} == article.LLAMA_2_7B


def test_an_unknown_dtype_is_refused():
    with pytest.raises(DeviceError, match="float4"), model_shapes.fake_llama_2_7b("float4"):
        pass
