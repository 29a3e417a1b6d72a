"""forecast(), given what is no checkpoint's folder, or one whose weights it does not read: it says what to give."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig, BitsAndBytesConfig

from helpers import forecast
from helpers.checkpoint_error import CheckpointError
from helpers.devices import DeviceError
from helpers.tables import format_bytes
from tests.recorded_loads import weights_of
from tests.test_loading_gguf import gguf_file  # noqa: F401 (fixture)

SHORT = {"prompt_tokens": 4, "new_tokens": 2}


def refusal(given) -> str:
    with pytest.raises(CheckpointError) as told:
        forecast(given)
    return str(told.value)


@pytest.fixture
def config_alone(tiny_checkpoint, tmp_path):
    shutil.copyfile(tiny_checkpoint / "config.json", tmp_path / "config.json")
    return tmp_path


def test_a_file_of_weights_is_not_read_as_a_config(tiny_checkpoint):
    for name in ("model-00001-of-00004.safetensors", "model.safetensors.index.json"):
        told = refusal(tiny_checkpoint / name)
        assert told.startswith(f"{tiny_checkpoint / name} is one of the files of a checkpoint's weights")
        assert told.endswith(f"give the folder with its config.json, {tiny_checkpoint}")


def test_a_gguf_file_is_told_with_its_bytes_and_those_in_memory(gguf_file):  # noqa: F811
    told = refusal(gguf_file)
    weights = AutoConfig.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    found = forecast(weights, dtype="float32", **SHORT)
    assert f"makes {format_bytes(found.weights)} of float32" in told
    assert "(Q4_0 " in told
    assert f"forecast(AutoConfig.from_pretrained({str(gguf_file.parent)!r}, gguf_file={gguf_file.name!r}))" in told
    assert told in refusal(gguf_file.parent)


def test_an_adapter_is_told_with_the_model_that_it_is_for(tmp_path):
    values = {"peft_type": "LORA", "base_model_name_or_path": "some/model"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(values), encoding="utf-8")
    save_file({"base_model.model.lora_A.weight": torch.zeros(4, 64)}, tmp_path / "adapter_model.safetensors")
    for given in (tmp_path, tmp_path / "adapter_config.json"):
        told = refusal(given)
        assert "is no whole model, but an adapter (PEFT, LORA) for some/model: give that model" in told
        assert "adds 1.0 KiB (F32 1.0 KiB) to that model's weights" in told
    (tmp_path / "adapter_config.json").write_text("{", encoding="utf-8")
    assert "cannot be read" in refusal(tmp_path)


def test_a_folder_around_a_checkpoint_names_the_one_inside(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "0_Transformer")
    assert f"config.json is missing, and 1 of its folders have one: give {tmp_path / '0_Transformer'}" in refusal(
        tmp_path
    )


def test_torch_s_own_files_are_counted_and_must_be_there(tiny_checkpoint, config_alone):
    weights = weights_of(tiny_checkpoint)
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    for number, name in enumerate(names):
        torch.save(dict(list(weights.items())[number::2]), config_alone / name)
    index = {"weight_map": {key: names[number % 2] for number, key in enumerate(weights)}}
    (config_alone / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    size = sum((config_alone / name).stat().st_size for name in names)
    (note,) = [note for note in forecast(config_alone, **SHORT).notes if "torch's own" in note]
    assert f"2 of torch's own ({format_bytes(size)})" in note
    (config_alone / names[1]).unlink()
    assert f"{names[1]} is missing (pytorch_model.bin.index.json names it)" in refusal(config_alone)
    (config_alone / "pytorch_model.bin.index.json").write_text("[]", encoding="utf-8")
    assert "is no index of weights" in refusal(config_alone)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model.fp16.safetensors", "from_pretrained reads with variant='fp16' only"),
        ("model.fp16-00001-of-00002.safetensors", "from_pretrained reads with variant='fp16' only"),
        ("consolidated.safetensors", "not the name that from_pretrained looks for"),
    ],
)
def test_weights_that_from_pretrained_would_not_take_are_named(config_alone, name, says):
    save_file({"weight": torch.zeros(1)}, config_alone / name)
    (note,) = [note for note in forecast(config_alone, **SHORT).notes if name in note]
    assert says in note


def test_of_a_quantised_checkpoint_the_bytes_of_each_dtype_are_told(tiny_checkpoint, config_alone):
    weights = {key: tensor.to(torch.int8) if tensor.dim() == 2 else tensor for key, tensor in
               weights_of(tiny_checkpoint).items()}  # fmt: skip
    save_file(weights, config_alone / "model.safetensors")
    values = json.loads((config_alone / "config.json").read_text(encoding="utf-8"))
    for quantization, method in (({}, "by a method that it does not name"), ({"quant_method": "awq"}, "awq")):
        values["quantization_config"] = quantization
        (config_alone / "config.json").write_text(json.dumps(values), encoding="utf-8")
        told = refusal(config_alone)
        sizes = [sum(tensor.nbytes for tensor in weights.values() if (tensor.dim() == 2) == is_matrix) for is_matrix in
                 (True, False)]  # fmt: skip
        assert f"quantised checkpoint ({method})" in told
        assert f"hold {format_bytes(sum(sizes))} (I8 {format_bytes(sizes[0])}, F32 {format_bytes(sizes[1])})" in told


def test_a_dtype_of_a_checkpoint_in_which_no_model_is_made_is_told_as_its_own(tiny_checkpoint, config_alone):
    """What the load says of it: couldn't find storage object Float8_e4m3fnStorage."""
    weights = {key: tensor.to(torch.float8_e4m3fn) for key, tensor in weights_of(tiny_checkpoint).items()}
    save_file(weights, config_alone / "model.safetensors")
    values = json.loads((config_alone / "config.json").read_text(encoding="utf-8"))
    for name in ("dtype", "torch_dtype"):
        values.pop(name, None)
    (config_alone / "config.json").write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(DeviceError, match=r"the checkpoint's own dtype is float8_e4m3fn.* give dtype=float32"):
        forecast(config_alone, dtype="auto")
    assert forecast(config_alone, dtype="bfloat16", **SHORT).dtype == "bfloat16"


def test_the_config_of_a_model_that_was_quantised_is_refused_too(tiny_checkpoint):
    config = AutoConfig.from_pretrained(tiny_checkpoint)
    config.quantization_config = BitsAndBytesConfig(load_in_8bit=True)
    assert "quantised checkpoint (bitsandbytes)" in refusal(config)
