"""The forecast: what it reads, how it splits over devices, what it refuses, and what it says that it does not know."""

import json
import shutil

import pytest
import torch
import transformers
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig

from helpers import compat, forecast
from helpers.checkpoint_error import CheckpointError
from helpers.devices import DeviceError
from helpers.forecasting.settings import ForecastError
from helpers.safetensors_header import read_header, shard_files
from helpers.tables import format_bytes

SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 64,
}  # fmt: skip
HEAD = 16


@pytest.fixture
def small():
    return LlamaConfig(**SMALL)


# what it counts --------------------------------------------------------------------------------------------------


def test_ties_count_once():
    free, tied = (forecast(LlamaConfig(**SMALL, tie_word_embeddings=tie), dtype="float32") for tie in (False, True))
    assert free.tied == {}
    assert tied.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert free.parameters - tied.parameters == 100 * 64
    assert free.weights - tied.weights == 100 * 64 * 4


def test_grouped_query_cache_by_the_formula(small):
    found = forecast(small, dtype="float16", prompt_tokens=10, new_tokens=5, batch=3)
    assert (
        found.kv_cache_per_token == 3 * 2 * 4 * 2 * HEAD * 2
    )  # sequences, keys and values, layers, heads, size, bytes
    assert found.kv_cache == found.kv_cache_per_token * (10 + 5 - 1)  # the last token is never cached
    cpu = found.on("cpu")
    assert cpu.phases["prefill"]["kv_cache"] == found.kv_cache_per_token * 10
    assert cpu.phases["load"] == {"weights": found.weights + found.buffers, "file_pages": 0}


def test_a_static_cache_is_there_whole_from_the_prefill_on(small):
    cpu = forecast(small, dtype="float32", prompt_tokens=10, new_tokens=5, cache="static").on("cpu")
    positions = compat.static_cache_positions(10, 5)
    assert cpu.phases["prefill"]["kv_cache"] == cpu.phases["decode"]["kv_cache"] == positions * 2 * 4 * 2 * HEAD * 4


def test_a_sliding_window_caps_the_cache_where_the_version_slides():
    config = MistralConfig(**SMALL, sliding_window=8)
    found = forecast(config, dtype="float32", prompt_tokens=20, new_tokens=5)
    slides = compat.transformers_version() >= (4, 57)  # measured: 4.47.1 keeps every position
    assert found.kv_cache == found.kv_cache_per_token * (8 - 1 if slides else 20 + 5 - 1)


def test_activations_grow_with_the_prompt_and_the_batch_and_hold_the_mlp(small):
    one, long, many = (
        forecast(small, dtype="float32", prompt_tokens=tokens, batch=batch, new_tokens=2)
        for tokens, batch in ((16, 1), (32, 1), (16, 2))
    )
    assert one.prefill_activations > 16 * (2 * 128 + 64) * 4  # gate, up and the residual, at least
    assert 1.8 < long.prefill_activations / one.prefill_activations < 2.2
    assert 1.8 < many.prefill_activations / one.prefill_activations < 2.2
    assert one.decode_activations < one.prefill_activations
    assert (one.logits, one.all_logits, many.logits) == (100 * (4 + 4), 16 * 100 * 4, 2 * 100 * (4 + 4))


def test_one_new_token_has_no_decode_step(small):
    found = forecast(small, dtype="float32", prompt_tokens=10, new_tokens=1)
    assert found.decode_activations is None
    assert found.kv_cache == found.kv_cache_per_token * 10
    assert found.fits is True


# where it reads from ---------------------------------------------------------------------------------------------


def test_a_folder_a_file_and_a_config_object_agree(tiny_checkpoint):
    folder = forecast(tiny_checkpoint, dtype="float16")
    file = forecast(str(tiny_checkpoint / "config.json"), dtype="float16")
    config = forecast(transformers.AutoConfig.from_pretrained(tiny_checkpoint), dtype="float16")
    assert folder.weights == file.weights == config.weights
    assert folder.on("cpu").phases["load"]["file_pages"] > 0  # it is stored in float32: a cast
    assert not any("stored" in note for note in folder.notes)
    assert all(any("no stored weights were read" in note for note in one.notes) for one in (file, config))


def test_no_weight_is_loaded(tiny_checkpoint, monkeypatch):
    def loads(*arguments, **keywords):
        raise AssertionError("a weight was loaded")

    monkeypatch.setattr("safetensors.safe_open", loads)
    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", loads)
    assert forecast(tiny_checkpoint).parameters > 0


def test_stored_tensors_that_are_not_the_model_s_are_told(tiny_checkpoint, tmp_path):
    config = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    for file in tiny_checkpoint.glob("model*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}), encoding="utf-8")
    notes = forecast(tmp_path).notes
    assert any(note.startswith("9 of the 21 stored tensors are none of the model's") for note in notes)


def test_a_checkpoint_of_another_class_is_told():
    from transformers import BertConfig

    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, is_decoder=True
    )
    assert not any("the checkpoint is of" in note for note in forecast(config).notes)
    config.architectures = ["BertForSequenceClassification"]
    (note,) = [note for note in forecast(config).notes if "the checkpoint is of" in note]
    assert note.startswith("the checkpoint is of BertForSequenceClassification; this is a forecast for BertLMHeadModel")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden_size": None}, "does not say hidden_size"),
        ({"num_hidden_layers": None}, "does not say num_hidden_layers"),
        ({"intermediate_size": None}, "does not say intermediate_size"),
        ({"model_type": "mistral", "num_key_value_heads": None}, "does not say num_key_value_heads"),
        ({"model_type": "gemma", "head_dim": None}, "does not say head_dim"),
        ({"model_type": "mixtral"}, "does not say num_local_experts"),
        ({"intermediate_size": 0}, "intermediate_size=0, which is no size"),
        ({"vocab_size": -5}, "vocab_size=-5, which is no size"),
        ({"vocab_size": "many"}, "vocab_size='many', which is no size"),
        ({"model_type": None}, "does not say its model_type"),
        ({"model_type": "frobnicate"}, "'frobnicate', which the installed transformers does not know"),
        (
            {"quantization_config": {"quant_method": "gptq"}},
            r"quantised checkpoint \(gptq\), of .* give another model",
        ),
        ({"model_type": "own", "auto_map": {"AutoConfig": "c.C"}}, "whose code comes with the checkpoint"),
    ],
)
def test_a_config_that_does_not_say_enough_is_refused(tiny_checkpoint, tmp_path, change, says):
    values = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8")) | change
    values = {name: value for name, value in values.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(CheckpointError, match=says) as error:
        forecast(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_quantised_checkpoint_is_told_with_what_its_files_hold(tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "quantised")
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    values["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    stored = sum(tensor.nbytes for file in shard_files(folder) for tensor in read_header(file))
    with pytest.raises(CheckpointError) as told:
        forecast(folder)
    assert "(fp8), of which neither weights nor activations in memory are forecast" in str(told.value)
    assert f"Its files hold {format_bytes(stored)} (F32 {format_bytes(stored)}) of tensors" in str(told.value)


def test_no_model_at_all_is_told():
    with pytest.raises(CheckpointError, match="no model is named"):
        forecast(" ")


def test_a_size_that_follows_from_the_others_is_not_asked_for(tiny_checkpoint, tmp_path):
    values = json.loads((tiny_checkpoint / "config.json").read_text(encoding="utf-8"))
    heads = values["num_attention_heads"]
    for left_out in ("num_key_value_heads", "head_dim"):
        values.pop(left_out, None)
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    found = forecast(tmp_path, dtype="float32", prompt_tokens=4, new_tokens=2)
    head_dim = values["hidden_size"] // heads
    assert found.kv_cache_per_token == 2 * values["num_hidden_layers"] * heads * head_dim * 4


def test_missing_and_damaged_files_are_named(tiny_checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist: correct the path"):
        forecast(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        forecast(tmp_path)
    (tmp_path / "config.json").write_text("[1", encoding="utf-8")
    with pytest.raises(CheckpointError, match="is no model configuration"):
        forecast(tmp_path)
    (tmp_path / "config.json").write_bytes((tiny_checkpoint / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="not a safetensors file, or is truncated"):
        forecast(tmp_path)
    with pytest.raises(CheckpointError, match="neither a folder of this machine nor a Hub id"):
        forecast("not an id")


def test_a_config_that_the_library_cannot_build_is_an_error():
    with pytest.raises(ForecastError, match=r"has no causal language model for model_type 't5' \(an encoder-decoder"):
        forecast(transformers.T5Config())


@pytest.mark.parametrize("name", ["prompt_tokens", "new_tokens", "batch"])
@pytest.mark.parametrize("count", [0, -3, 2.5, True])
def test_counts_below_one_are_refused(small, name, count):
    with pytest.raises(ForecastError, match=f"{name}=.*whole number above 0"):
        forecast(small, **{name: count})


def test_other_bad_options_are_refused(small):
    with pytest.raises(ForecastError, match="cache='quantized' is not forecast: give one of dynamic, static"):
        forecast(small, cache="quantized")
    with pytest.raises(ForecastError, match="no size of memory"):
        forecast(small, memory={"cuda:0": "24 parsecs"})
    with pytest.raises(DeviceError, match="dtype='float4' is not known"):
        forecast(small, dtype="float4")


# what it does not know -------------------------------------------------------------------------------------------


@pytest.mark.skipif(compat.transformers_version() < (5, 0), reason="its code reads values there: nothing is known")
def test_an_architecture_without_a_cache_of_known_layout_is_told_as_not_known():
    found = forecast(transformers.BertConfig(**SMALL | {"num_hidden_layers": 2}), prompt_tokens=8)
    assert found.kv_cache is None
    assert "KV cache not known: it gives no KV cache" in found.notes
    assert found.fits is None
    assert "KV cache     not known" in str(found)
    assert "at least" in found.on("cpu").sentence()
    assert found.weights > 0


STATES = {
    "MambaConfig": {},
    "JambaConfig": {"attn_layer_offset": 1, "attn_layer_period": 2, "use_mamba_kernels": False},
    "Qwen3NextConfig": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16},
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_in_place_of_keys_and_values_is_counted_as_a_real_run_has_it(name):
    if compat.transformers_version() < (5, 23):
        pytest.skip("its cache has another layout there")
    config = getattr(transformers, name)(**SMALL | STATES[name])
    found = forecast(config, dtype="bfloat16", prompt_tokens=9, new_tokens=4)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    key, cache = "cache_params" if name == "MambaConfig" else "past_key_values", None
    with torch.no_grad():
        for tokens in (9, 1, 1, 1):  # the last token is chosen, and never goes through the model
            output = model(torch.ones((1, tokens), dtype=torch.long), use_cache=True, **({key: cache} if cache else {}))
            cache = output[key]
    held = [getattr(layer, part, None) for layer in cache.layers for part in ("keys", "values")]
    for layer in cache.layers:
        for part in ("conv_states", "recurrent_states"):
            held += getattr(layer, part, {}).values()
    assert found.kv_cache == sum(tensor.nbytes for tensor in held if tensor is not None) > 0
    assert any("keep one in place of keys and values" in note for note in found.notes)
    assert found.fits is True


@pytest.mark.skipif(compat.transformers_version() < (5, 23), reason="its cache has another layout there")
def test_a_state_of_a_rehearsal_in_another_dtype_is_told_to_be_at_most():
    """It is in float32 in part, also where the model is not."""
    config = transformers.JambaConfig(**SMALL | STATES["JambaConfig"])
    found = forecast(config, dtype="float32", prompt_tokens=9, new_tokens=4)
    scaled = [note for note in found.notes if "scaled from bfloat16" in note]
    if scaled:  # a torch whose fake tensors know float32 does not
        assert scaled[0].startswith("activations, logits and the state of layers without keys and values at most: ")


@pytest.mark.skipif(compat.transformers_version() < (4, 57), reason="its code reads values there: no cache is known")
def test_a_model_that_reads_images_is_forecast_whole_and_said_to_be_run_on_text():
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    text = transformers.LlamaConfig(**SMALL)
    config = transformers.LlavaConfig(vision_config=transformers.CLIPVisionConfig(**vision), text_config=text)
    found = forecast(config, dtype="float32", prompt_tokens=9, new_tokens=4)
    with torch.device("meta"):
        model = transformers.LlavaForConditionalGeneration(config)
    assert found.weights == sum(parameter.numel() * 4 for parameter in model.parameters())
    assert found.kv_cache == forecast(text, dtype="float32", prompt_tokens=9, new_tokens=4).kv_cache
    assert any("LlavaForConditionalGeneration reads images too" in note for note in found.notes)


@pytest.mark.skipif(compat.transformers_version() < (4, 57), reason="its class, or its tie, is not there")
def test_a_model_that_reads_values_while_it_is_built_is_forecast():
    """Gemma 3's part for images does; from_pretrained builds it on the meta device."""
    config = transformers.Gemma3Config(
        text_config=SMALL | {"head_dim": 16, "vocab_size": 100, "sliding_window": 8},
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                       "image_size": 28, "patch_size": 14}, mm_tokens_per_image=4,
    )  # fmt: skip
    found = forecast(config, dtype="float32", prompt_tokens=9, new_tokens=4)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    assert found.weights == sum(parameter.numel() * 4 for parameter in model.parameters())
    assert found.tied == {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    assert found.fits is True


def test_why_a_rehearsal_ended_is_told_before_the_error_of_the_library(small, monkeypatch):
    def stops(self, *given, **named):
        raise IndexError("list index out of range")

    monkeypatch.setattr(LlamaForCausalLM, "forward", stops)
    notes = forecast(small).notes
    assert any(
        note.startswith(
            "activations not known: the library's code for this model does not run on tensors without memory"
        )
        and "IndexError: list index out of range" in note
        for note in notes
    )


@pytest.mark.skipif(compat.transformers_version() < (5,), reason="before 5.0 experts are chosen by values")
def test_a_mixture_of_experts_that_runs_in_bfloat16_only_is_scaled_and_told():
    config = transformers.MixtralConfig(**SMALL)
    half, single = (forecast(config, dtype=dtype, prompt_tokens=8, new_tokens=4) for dtype in ("bfloat16", "float32"))
    assert single.kv_cache == 2 * half.kv_cache == (8 + 4 - 1) * 2 * 4 * 2 * HEAD * 4
    if any("scaled from bfloat16" in note for note in single.notes):  # a torch whose fake tensors know float32 does not
        assert single.prefill_activations == 2 * half.prefill_activations
    assert single.fits is True


def test_what_is_short_already_does_not_fit_whatever_else_is_not_known():
    config = transformers.MambaConfig(hidden_size=64, num_hidden_layers=2, vocab_size=100)
    found = forecast(config, dtype="float32", device_map="cuda:0", memory={"cuda:0": "10KB"})
    assert found.fits is False


def test_more_tokens_than_positions_are_told(small):
    notes = forecast(small, prompt_tokens=60, new_tokens=5).notes
    assert "65 tokens are more than the 64 positions that the model was made for" in notes


# how it is shown -------------------------------------------------------------------------------------------------


def test_the_table_has_a_row_per_device_and_phase_and_sums(small):
    found = forecast(small, dtype="float32", prompt_tokens=8)
    table = found.table()
    assert table["phase"].tolist() == ["load", "prefill", "decode"]
    parts = table[["weights", "kv_cache", "activations", "logits", "file_pages", "reserve"]].sum(axis=1)
    assert parts.tolist() == table["total"].tolist()
    assert table["total"].max() == found.on("cpu").peak
    shown = str(table).splitlines()[1].split()[2:]
    assert len(shown) == 2 * 7, "each of the seven sizes has its unit"
    assert "<pre>" in found._repr_html_()


def test_the_shapes_are_those_of_accelerate_s_empty_model(small):
    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(small)
    assert forecast(small).parameters == sum(parameter.numel() for parameter in model.parameters())
