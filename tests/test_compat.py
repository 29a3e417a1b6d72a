"""The version-dependent spellings, in the version that is installed."""

from types import SimpleNamespace

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, MambaConfig, MptConfig, OPTConfig

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


@pytest.mark.parametrize(
    ("version", "answers"),
    [
        # name of the cache in a layer, positions of a static cache, own dtype of the checkpoint, shard by shard
        ((4, 47, 1), ("past_key_values", 15, False, True)),
        ((4, 48, 3), ("past_key_values", 15, False, True)),
        ((4, 49, 0), ("past_key_values", 14, False, True)),
        ((4, 57, 6), ("past_key_values", 14, False, True)),
        ((5, 0, 0), ("past_key_values", 14, True, False)),
        ((5, 23, 0), ("past_key_values", 14, True, False)),
        ((5, 24, 0), ("cache", 14, True, False)),
    ],
    ids=str,
)
def test_what_changed_by_version(monkeypatch, version, answers):
    monkeypatch.setattr(compat, "transformers_version", lambda: version)
    assert answers == (
        compat.kv_cache_argument(),
        compat.static_cache_positions(10, 5),
        compat.loads_in_the_checkpoint_s_dtype(),
        compat.reads_shard_by_shard(),
    )
    assert compat.loads_in_worker_threads(".".join(map(str, version))) == (version >= (5,))


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        (["input_ids", "past_key_values"], "past_key_values"),
        (["input_ids", "past_key_values", "cache"], "cache"),
        (["cache", "cache_params"], "cache_params"),  # Mamba's
        (["input_ids", "state"], "state"),  # RWKV's
        (["state", "past_key_values"], "past_key_values"),
        (["input_ids"], "past_key_values"),
    ],
    ids=str,
)
def test_the_parameter_that_takes_the_cache(parameters, name):
    assert compat.cache_name(parameters) == name


def test_what_stays_in_float32_of_a_model_that_names_whole_modules():
    """As models do before 5.0: the first list counts for float16, the strict one for bfloat16 too."""
    model = SimpleNamespace(_keep_in_fp32_modules=["wo"], _keep_in_fp32_modules_strict=None)
    kept = compat.kept_in_float32(model, torch.float16)
    assert [bool(kept.search(name)) for name in ("layer.wo.weight", "wo", "layer.wow.weight", "layer.two")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert compat.kept_in_float32(model, torch.bfloat16) is None
    assert compat.kept_in_float32(model, torch.float32) is None


def test_what_stays_in_float32_of_a_model_whose_words_fit_anywhere():
    model = SimpleNamespace(_get_dtype_plan={torch.float16: {"gate*bias": torch.float32}}.get)
    kept = compat.kept_in_float32(model, torch.float16)
    assert kept.search("layers.0.gate_proj.bias")
    assert not kept.search("layers.0.up_proj.bias")
    model = SimpleNamespace(_get_dtype_plan=lambda dtype: {})
    assert compat.kept_in_float32(model, torch.float16) is None


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
        MptConfig(n_layers=3, d_model=8, n_heads=2, vocab_size=16),
        GPTNeoXConfig(
            num_hidden_layers=3, hidden_size=8, num_attention_heads=2, intermediate_size=8, vocab_size=16,
            max_position_embeddings=8,
        ),
        MambaConfig(num_hidden_layers=3, hidden_size=8, state_size=2, vocab_size=16),
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
    old = SimpleNamespace(rope_scaling={"type": "dynamic", "factor": 2.0}, rope_theta=5000.0)  # the first spelling
    assert compat.rope_type_and_theta(old) == ("dynamic", 5000.0)


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
