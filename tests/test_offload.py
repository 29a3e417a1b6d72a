"""accelerate's offload hooks: where weights really lie, and module events of modules whose forward was replaced."""

import pytest
import torch
from accelerate import cpu_offload, disk_offload, dispatch_model
from transformers import AutoModelForCausalLM

from helpers import compat, record
from helpers.events import RecordingError
from helpers.probes.weights import stored_on
from helpers.recording.recording import Recording

IDS = torch.tensor([[5, 6, 7]])
HAND_WRITTEN = {
    "model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk",
    "model.norm": "cpu", "lm_head": "cpu",
}  # fmt: skip


@pytest.fixture
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint, **compat.dtype_argument(torch.float32))


def generate(model) -> torch.Tensor:
    return model.generate(
        input_ids=IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=3, min_new_tokens=3, do_sample=False
    )


def recorded(model) -> tuple[Recording, torch.Tensor]:
    with record(steps=None) as recording:
        result = generate(model)
    return recording, result


def devices(recording) -> dict[str, tuple[str, str]]:
    table = recording.weights().set_index("path")
    return {path: (row["device"], row["execution_device"]) for path, row in table.iterrows()}


def test_without_offload_weights_lie_where_they_are_used(model):
    recording, _ = recorded(model)
    assert set(devices(recording).values()) == {("cpu", "cpu")}
    table = recording.weights().set_index("path")
    weight = model.model.layers[0].mlp.up_proj.weight
    assert table.loc["model.layers.0.mlp.up_proj", "nbytes"] == weight.numel() * 4
    assert set(table["dtype"]) == {"float32"}


def test_tied_weights_count_once(tiny_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    model.lm_head.weight = model.model.embed_tokens.weight
    table = recorded(model)[0].weights().set_index("path")
    assert table.loc["lm_head", "nbytes"] == 0
    held = {id(tensor): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())}
    assert table["nbytes"].sum() == sum(held.values())


def test_disk_offload_after_the_load(model, tmp_path):
    plain = generate(model)
    modules = [(row["path"], row["outputs"]) for row in recorded(model)[0].modules(step=1).to_dict("records")]
    disk_offload(model, tmp_path, execution_device="cpu")
    assert {tensor.device.type for tensor in model.parameters()} == {"meta"}  # what a plain look would tell
    recording, result = recorded(model)
    assert torch.equal(result, plain)
    where = devices(recording)
    parameters = {path for path, module in model.named_modules() if any(True for _ in module.parameters(recurse=False))}
    assert {where[path] for path in parameters} == {("disk", "cpu")}
    assert "meta" not in {device for pair in where.values() for device in pair}
    # the same modules with the same outputs, though each forward is accelerate's now
    assert [(row["path"], row["outputs"]) for row in recording.modules(step=1).to_dict("records")] == modules
    assert set(recording.modules()["device"]) == {"cpu"}
    assert recording.warnings == []


def test_weights_kept_in_main_memory(model):
    plain = generate(model)
    cpu_offload(model, execution_device=torch.device("cpu"))
    assert {tensor.device.type for tensor in model.parameters()} == {"meta"}
    recording, result = recorded(model)
    assert torch.equal(result, plain)
    assert devices(recording)["model.layers.1.mlp.up_proj"] == ("cpu", "cpu")


def test_a_hand_written_map_after_the_load(model, tmp_path):
    plain = generate(model)
    dispatched = dispatch_model(model, HAND_WRITTEN, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    recording, result = recorded(dispatched)
    assert torch.equal(result, plain)
    where = devices(recording)
    assert where["model.layers.0.mlp.up_proj"] == ("cpu", "cpu")
    assert where["model.layers.1.mlp.up_proj"] == ("disk", "cpu")


def test_a_hand_written_map_in_from_pretrained(tiny_checkpoint, model, tmp_path):
    plain = generate(model)
    with record(steps=None) as recording:
        placed = AutoModelForCausalLM.from_pretrained(
            tiny_checkpoint, device_map=HAND_WRITTEN, offload_folder=str(tmp_path / "offload"),
            **compat.dtype_argument(torch.float32),
        )  # fmt: skip
        result = generate(placed)
    assert torch.equal(result, plain)
    ledger = recording.parameters().set_index("parameter")
    layers = {number: ledger[ledger.index.str.startswith(f"model.layers.{number}.")] for number in (0, 1)}
    assert set(layers[0]["device"]) == {"cpu"}
    assert set(layers[1]["device"]) == {"disk"}
    assert set(layers[1]["status"]) == {"offloaded"}
    where = devices(recording)
    assert where["model.layers.0.mlp.up_proj"][0] == "cpu"
    assert where["model.layers.1.mlp.up_proj"] == ("disk", "cpu")
    assert len(recording.steps()) == 3
    assert set(recording.modules(step=2)["path"]) >= {"model.layers.1.mlp.up_proj", "lm_head"}


def test_meta_weights_that_nobody_keeps_are_told_as_meta():
    with record() as recording:
        torch.nn.Linear(2, 2, device="meta")(torch.zeros(1, 2, device="meta"))
    assert devices(recording) == {"": ("meta", "meta")}


def test_without_module_calls_the_question_says_so():
    with record() as recording:
        pass
    with pytest.raises(RecordingError, match="No module with weights was called"):
        recording.weights()
    with record("landmarks") as recording:
        pass
    with pytest.raises(RecordingError, match=r'record\("modules"\)'):
        recording.weights()


def test_where_a_map_of_accelerate_has_a_tensor():
    from accelerate.utils import OffloadedWeightsLoader, PrefixedDataset

    kept = {"layers.0.weight": torch.zeros(1)}
    assert stored_on(PrefixedDataset(kept, "layers.0."), "weight") == "cpu"
    loader = OffloadedWeightsLoader(state_dict=kept, save_folder=None, index={"layers.1.weight": {"dtype": "float32"}})
    assert stored_on(PrefixedDataset(loader, "layers.1."), "weight") == "disk"
    assert stored_on(PrefixedDataset(loader, "layers.0."), "weight") == "cpu"
    assert stored_on(loader, "nobody.knows") is None
    assert stored_on(None, "weight") is None


def test_hooks_removed_during_the_recording(model, tmp_path):
    from accelerate.hooks import remove_hook_from_module

    plain = generate(model)
    cpu_offload(model, execution_device=torch.device("cpu"))
    with record(steps=None) as recording:
        first = generate(model)
        remove_hook_from_module(model, recurse=True)
        model.to_empty(device="cpu")
    assert torch.equal(first, plain)
    assert len(recording.steps()) == 3
    assert recording.warnings == []


# what is moved -------------------------------------------------------------------------------------------------------


def test_a_transfer_has_all_tensors_of_its_module_and_the_time_of_the_hook():
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU())
    cpu_offload(network, execution_device="cpu")
    with record() as recording:
        network(torch.zeros(1, 4))
    (moved,) = recording.transfers().to_dict("records")
    assert (moved["path"], moved["tensors"], moved["nbytes"]) == ("0", 2, (4 * 6 + 6) * 4)
    columns = recording.events
    took = columns["end"][moved["event"]] - columns["start"][moved["event"]]
    assert moved["milliseconds"] == pytest.approx(took / 1e6)
    with pytest.raises(RecordingError, match="no step 3"):
        recording.transfers(step=3)
