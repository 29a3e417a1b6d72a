"""The forecast of a model of one's own: registered classes, buffers that are stored, tensors kept in float32."""

from typing import ClassVar

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from helpers import compat, forecast
from helpers.checkpoint_error import CheckpointError
from helpers.forecasting.settings import ForecastError

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 64,
}  # fmt: skip


class OwnConfig(LlamaConfig):
    model_type = "own_llama_of_the_forecast"


class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
    _keep_in_fp32_modules: ClassVar = ["norm"]
    _keep_in_fp32_modules_strict: ClassVar = ["post_attention_layernorm"]

    def __init__(self, config):
        super().__init__(config)
        self.register_buffer("norm_scale", torch.ones(5))
        self.register_buffer("seen", torch.zeros(6, dtype=torch.long))
        self.register_buffer("never_stored", torch.ones(7), persistent=False)
        self.post_init()


@pytest.fixture(scope="module")
def own_checkpoint(tmp_path_factory):
    AutoConfig.register(OwnConfig.model_type, OwnConfig, exist_ok=True)
    AutoModelForCausalLM.register(OwnConfig, OwnModel, exist_ok=True)
    folder = tmp_path_factory.mktemp("own")
    OwnModel(OwnConfig(**SIZES)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_what_the_model_keeps_in_float32_counts_as_such(own_checkpoint, dtype):
    """From transformers 5.0 on "norm" keeps input_layernorm and norm_scale in float32 too."""
    model = AutoModelForCausalLM.from_pretrained(own_checkpoint, **compat.dtype_argument(dtype))
    found = forecast(own_checkpoint, dtype=dtype, prompt_tokens=3, new_tokens=2)
    assert found.weights == sum(parameter.nbytes for parameter in model.parameters())
    assert found.buffers == sum({buffer.data_ptr(): buffer.nbytes for buffer in model.buffers()}.values())
    norm = model.get_parameter("model.norm.weight")
    assert norm.dtype is torch.float32 or dtype is torch.bfloat16
    assert model.get_parameter("lm_head.weight").dtype is dtype


def test_a_stored_buffer_is_a_tensor_of_the_model(own_checkpoint):
    notes = forecast(own_checkpoint, dtype="float32", prompt_tokens=3, new_tokens=2).notes
    assert not any("stored tensors are none of the model's" in note for note in notes)


def test_the_summary_names_no_home_folder(own_checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(own_checkpoint.parent))
    found = forecast(own_checkpoint, dtype="float32", prompt_tokens=3, new_tokens=2)
    assert str(found).startswith("~/")
    assert str(own_checkpoint.parent) not in found._repr_html_()


class OnlyItsConfig(LlamaConfig):
    model_type = "own_llama_without_a_model"


def test_it_says_how_classes_of_ones_own_are_made_known(tmp_path):
    OnlyItsConfig(**SIZES).save_pretrained(tmp_path)
    unknown = r"AutoConfig\.register\('own_llama_without_a_model', YourConfig\) and AutoModelForCausalLM\.register"
    with pytest.raises(CheckpointError, match=unknown):
        forecast(tmp_path)
    without_model = r"AutoModelForCausalLM\.register\(OnlyItsConfig, YourModel\) before this"
    with pytest.raises(ForecastError, match=without_model):
        forecast(OnlyItsConfig(**SIZES))
