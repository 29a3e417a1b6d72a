"""The version-dependent spellings, in the version that is installed."""

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig

from helpers import compat


def test_the_version_is_the_installed_one():
    numbers = ".".join(str(part) for part in compat.transformers_version())
    assert transformers.__version__.startswith(numbers)


def test_the_dtype_argument_loads_in_that_dtype(tiny_checkpoint):
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, **compat.dtype_argument(dtype))
        assert {parameter.dtype for parameter in model.parameters()} == {dtype}


@pytest.mark.parametrize(
    ("version", "keyword"), [((4, 47, 1), "torch_dtype"), ((4, 56, 0), "dtype"), ((5, 0, 0), "dtype")]
)
def test_the_keyword_by_version(monkeypatch, version, keyword):
    monkeypatch.setattr(compat, "transformers_version", lambda: version)
    assert compat.dtype_argument("auto") == {keyword: "auto"}


def test_the_decoder_layers_of_a_llama_run_in_their_order(tiny_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    layers = compat.decoder_layers(model)
    assert len(layers) == model.config.num_hidden_layers == 2
    ran = []
    hooks = [
        layer.register_forward_hook(lambda module, *_, place=place: ran.append(place))
        for place, layer in enumerate(layers)
    ]
    model(torch.tensor([[1]]))
    for hook in hooks:
        hook.remove()
    assert ran == [0, 1]


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(n_layer=3, n_embd=8, n_head=2, vocab_size=16, n_positions=8),
        OPTConfig(
            num_hidden_layers=3, hidden_size=8, ffn_dim=8, num_attention_heads=2, vocab_size=16,
            max_position_embeddings=8, word_embed_proj_dim=8,
        ),
    ],
    ids=lambda config: config.model_type,
)  # fmt: skip
def test_the_decoder_layers_of_other_families(config):
    assert len(compat.decoder_layers(AutoModelForCausalLM.from_config(config))) == 3


def test_a_model_without_decoder_layers_is_refused_by_name():
    with pytest.raises(TypeError, match=r"Linear keeps its decoder layers in none of model.layers"):
        compat.decoder_layers(torch.nn.Linear(1, 1))


def test_a_pipeline_is_told_the_device_unless_accelerate_dispatched_the_model():
    model = torch.nn.Linear(1, 1)
    assert compat.pipeline_device(model, "cpu") == {"device": "cpu"}
    model.hf_device_map = {"": "cpu"}
    assert compat.pipeline_device(model, "cpu") == {}


def test_rope_of_a_llama_default_and_scaled():
    from transformers import LlamaConfig

    assert compat.rope_type_and_theta(LlamaConfig(rope_theta=5000.0)) == ("default", 5000.0)
    scaled = LlamaConfig(rope_theta=5000.0, rope_scaling={"rope_type": "linear", "factor": 2.0})
    assert compat.rope_type_and_theta(scaled) == ("linear", 5000.0)


def test_cached_key_and_value_are_those_of_the_layer(tiny_checkpoint):
    import torch

    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    with torch.no_grad():
        outputs = model(input_ids=torch.tensor([[5, 6, 7]]), use_cache=True)
    config = model.config
    for layer in range(config.num_hidden_layers):
        key, value = compat.cached_key_and_value(outputs.past_key_values, layer)
        assert key.shape == value.shape == (1, config.num_key_value_heads, 3, config.head_dim)
        assert not torch.equal(key, value)
