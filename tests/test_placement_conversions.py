"""Offload to disk of what a load merges or splits: it has to be written again, and where it lies is known."""

import shutil

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from helpers import compat, forecast, placement, record
from helpers.checkpoints.tiny_build import VOCABULARY
from helpers.forecasting import source as forecast_source
from helpers.placement import PlacementError
from helpers.placing.empty import empty_model
from helpers.placing.offload_folder import bytes_written
from helpers.safetensors_header import read_header
from tests.tiny_architectures import TOKEN_IDS

pytestmark = pytest.mark.skipif(compat.transformers_version() < (5,), reason="before 5.0 a load converts nothing")
SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64,
}  # fmt: skip
MODELS = {
    "merged": ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),  # an expert's matrices, stacked
    "split": ("hrm_text", {}),  # queries, keys, values and gate from one matrix
}
IDS = torch.arange(3, 12)[None]


@pytest.fixture(params=MODELS)
def model(request):
    model_type, settings = MODELS[request.param]
    if model_type not in transformers.CONFIG_MAPPING:
        pytest.skip(f"transformers {transformers.__version__} has no {model_type}")
    config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **TOKEN_IDS, **SIZES, **settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


def last_layers_on_disk(model) -> dict[str, str]:
    layers = [name for name, _ in model.named_modules() if name.endswith("layers.1")]
    rest = [name for name, _ in model.named_parameters() if not name.startswith(tuple(f"{one}." for one in layers))]
    return dict.fromkeys([*rest, "model.rotary_emb"], "cpu") | dict.fromkeys(layers, "disk")


def test_what_is_converted_is_written_again_and_gives_the_same(model, tmp_path):
    checkpoint, folder = tmp_path / "checkpoint", tmp_path / "offload"
    model.save_pretrained(checkpoint)
    own = {name for name, _ in model.named_parameters()}
    assert {weight.name for weight in forecast_source.read(checkpoint).stored} - own  # it is stored otherwise
    device_map = last_layers_on_disk(model)
    expected = bytes_written(empty_model(checkpoint, torch.float32), checkpoint, device_map)
    offloaded = placement.load(checkpoint, device_map=device_map, offload_folder=folder)
    written = {tensor.name: tensor.nbytes for file in folder.iterdir() for tensor in read_header(file)}
    assert expected == sum(written.values()) > 0
    assert set(written) < own
    with torch.no_grad():
        assert torch.equal(offloaded(IDS).logits, model(IDS).logits)
    where = placement.where(offloaded).set_index("name")
    for name, nbytes in written.items():
        assert (where["device"][name], where["nbytes"][name]) == ("disk", nbytes)
        assert where["file"][name] == f"{name}.safetensors"
    in_place = where[(where["device"] == "disk") & ~where.index.isin(written)]
    assert set(in_place["file"]) == {"model.safetensors"}


def test_the_ledger_of_a_load_that_converts_has_the_bytes_of_the_forecast(model, tmp_path):
    model.save_pretrained(tmp_path)
    with record("landmarks") as recording:
        AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ledger = recording.parameters()
    found = forecast(tmp_path, dtype="float32", prompt_tokens=9, new_tokens=2)
    assert found.weights == ledger["nbytes"].sum() == sum(one.nbytes for one in model.parameters())
    assert set(ledger["parameter"]) == {name for name, _ in model.named_parameters()}


def test_without_room_for_what_is_converted_nothing_begins(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "checkpoint")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(PlacementError, match=r"the load writes [\d,]+ bytes there, and 1,000 are free"):
        placement.load(
            tmp_path / "checkpoint", device_map=last_layers_on_disk(model), offload_folder=tmp_path / "offload"
        )
    assert not (tmp_path / "offload").exists()
