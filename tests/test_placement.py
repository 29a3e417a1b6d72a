"""Placement and offload for real, on the CPU and the disk: where weights lie, what moves them, what it costs."""

import json
import logging
import math

import accelerate
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import compat, devices, placement, record
from helpers.checkpoint_error import CheckpointError
from helpers.events import RecordingError
from helpers.forecasting.forecast import forecast
from helpers.placement import PlacementError
from tests.half_on_disk import HALF_ON_DISK, LAYERS, NEW_TOKENS, bytes_on_disk, generate, in_memory


@pytest.fixture(scope="module")
def plain(tiny_checkpoint):
    return in_memory(tiny_checkpoint)


@pytest.fixture(scope="module")
def offloaded(tiny_checkpoint, tmp_path_factory):
    """(model, recording of its load and of a generate)."""
    with record() as recording:
        model = placement.load(
            tiny_checkpoint, device_map=HALF_ON_DISK, offload_folder=tmp_path_factory.mktemp("offload")
        )
        generate(model)
    return model, recording


@pytest.fixture
def on_disk(plain) -> dict[str, int]:
    return bytes_on_disk(plain)


# where ---------------------------------------------------------------------------------------------------------------


def test_each_parameter_is_where_the_map_says(offloaded, on_disk):
    table = placement.where(offloaded[0]).set_index("name")
    assert set(table.index[table["device"] == "disk"]) == set(on_disk)
    assert set(table[table["device"] != "disk"]["device"]) == {"cpu"}
    assert set(table["execution_device"]) == {"cpu"}
    assert {name: table["nbytes"][name] for name in on_disk} == on_disk
    assert set(table.loc[list(on_disk), "hook"]) == {"AlignDevicesHook"}
    assert all(file.endswith((".safetensors", ".dat")) for file in table.loc[list(on_disk), "file"])
    assert table[table["device"] == "cpu"]["file"].isna().all()


def test_a_model_without_a_map_has_no_hooks(plain):
    table = placement.where(plain)
    assert set(table["hook"]) == {""}
    assert list(table["device"]) == list(table["execution_device"])
    assert [math.prod(shape) * 4 for shape in table["shape"]] == list(table["nbytes"])


def test_names_are_the_model_s_own_at_its_root_too_and_buffers_have_rows():
    norm = torch.nn.BatchNorm1d(4)
    table = placement.where(norm).set_index("name")
    assert list(table.index) == [name for name, _ in (*norm.named_parameters(), *norm.named_buffers())]
    assert table["nbytes"]["running_mean"] == 4 * 4
    assert list(placement.where(torch.nn.Linear(2, 2, bias=False))["name"]) == ["weight"]


def test_what_accelerate_wrote_itself_lies_in_a_file_of_the_parameter_s_full_name(tmp_path):
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2)))
    accelerate.disk_offload(model, tmp_path, execution_device="cpu")
    files = placement.where(model).set_index("name")["file"].to_dict()
    assert files == {"0.0.weight": "0.0.weight.dat", "0.0.bias": "0.0.bias.dat"}
    assert set(files.values()) <= {path.name for path in tmp_path.iterdir()}


def test_tied_parameters_are_named_once(demo_checkpoint):
    from accelerate import init_empty_weights
    from transformers import AutoConfig

    with init_empty_weights():
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(demo_checkpoint))
    model.tie_weights()
    table = placement.where(model).set_index("name")
    assert table["tied_to"].dropna().to_dict() == {"lm_head.weight": "model.embed_tokens.weight"}


def test_the_recording_knows_where_the_weights_are(offloaded, on_disk):
    weights = offloaded[1].weights()
    modules = {name.removesuffix(".weight") for name in on_disk}
    assert set(weights[weights["device"] == "disk"]["path"]) == modules


# what it costs -------------------------------------------------------------------------------------------------------


def test_each_forward_pays_for_the_layer_on_disk(offloaded, on_disk):
    transfers = offloaded[1].transfers()
    assert transfers.groupby("step")["nbytes"].sum().to_dict() == dict.fromkeys(
        range(NEW_TOKENS), sum(on_disk.values())
    )
    first = offloaded[1].transfers(step=0)
    assert dict(zip(first["path"] + ".weight", first["nbytes"], strict=True)) == on_disk
    assert set(first["source"]) == {"disk"}
    assert set(first["to"]) == {"cpu"}
    assert (first["milliseconds"] > 0).all()


def test_every_call_of_the_hooks_is_there_with_the_zoom_calls(offloaded):
    with record("modules", "calls") as recording:
        offloaded[0](torch.arange(3, 9)[None])
    default = offloaded[1].transfers(step=0)
    assert list(recording.transfers()["path"]) == list(default["path"])
    hooks = recording.find("AlignDevicesHook.pre_forward")
    assert len(hooks) > len(default)


def test_a_model_that_moves_nothing_has_no_transfers(plain):
    with record() as recording:
        plain(torch.arange(3, 9)[None])
    assert len(recording.transfers()) == 0
    with record("landmarks") as recording:
        pass
    with pytest.raises(RecordingError, match='record them with record\\("modules"\\)'):
        recording.transfers()


def test_the_result_is_that_of_the_model_in_memory(offloaded, plain):
    assert generate(offloaded[0]).tolist() == generate(plain).tolist()


def test_offload_to_the_cpu_moves_from_memory(tiny_checkpoint, on_disk):
    from accelerate import cpu_offload

    model = AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), **compat.dtype_argument(torch.float32))
    cpu_offload(model, execution_device="cpu")
    with record() as recording:
        model(torch.arange(3, 9)[None])
    transfers = recording.transfers()
    assert set(transfers["source"]) == {"cpu"}
    total = sum(parameter.numel() * 4 for parameter in model.parameters())
    assert transfers["nbytes"].sum() == total
    assert set(recording.weights().query("nbytes > 64")["device"]) == {"cpu"}


# plans ---------------------------------------------------------------------------------------------------------------


def test_a_plan_keeps_to_its_budget(tiny_checkpoint, plain):
    sizes = {name: parameter.numel() * 4 for name, parameter in plain.named_parameters()}
    limit = int(0.75 * sum(sizes.values()))
    plan = placement.plan(tiny_checkpoint, max_memory={"cpu": limit})
    assert set(plan.values()) == {"cpu", "disk"}
    in_memory = sum(size for name, size in sizes.items() if plan[_module_of(name, plan)] == "cpu")
    assert 0 < in_memory <= limit
    assert set(placement.plan(tiny_checkpoint, max_memory={"cpu": "1GiB"}).values()) == {"cpu"}


def test_a_gpu_in_a_budget_may_be_spelt_as_torch_spells_it(tiny_checkpoint, monkeypatch):
    """With a GPU that is said to be there: `auto` plans for it, though nothing could be loaded to it."""
    asked = []
    present = [devices.DeviceDescription(name, name, 2**30, 2**30) for name in ("cuda:0", "cuda:1", "cpu")]
    monkeypatch.setattr(devices, "describe_devices", lambda: present)
    monkeypatch.setattr(compat, "automatic_device_map", lambda model, how, limits, dtype: asked.append(limits) or {})
    placement.plan(tiny_checkpoint, max_memory={"cuda:1": "1GiB", "cuda": "2GiB", "cpu": 5_000_000})
    assert asked == [{1: 2**30, 0: 2**31, "cpu": 5_000_000}]


def _module_of(name: str, plan: dict) -> str:
    return next(module for module in plan if not module or name.startswith(module))


def test_two_gpus_that_are_not_here_share_a_model_with_auto_and_not_with_sequential(tiny_checkpoint, plain, caplog):
    """accelerate balances over the GPUs of the budget, unless it is told to fill one after the other."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in plain.parameters())
    room = {"cuda:0": 2 * weights, 1: 2 * weights, "cpu": 2 * weights}
    level = logging.getLogger("accelerate.utils.modeling").level
    if compat.transformers_version() < (5,):
        with pytest.raises(PlacementError, match="accelerate cannot plan for devices that are not here"):
            placement.plan(tiny_checkpoint, max_memory=room, elsewhere=True)
        return
    balanced = placement.plan(tiny_checkpoint, max_memory=room, elsewhere=True)
    filled = placement.plan(tiny_checkpoint, max_memory=room, elsewhere=True, strategy="sequential")
    assert set(balanced.values()) == {0, 1}
    assert set(filled.values()) == {0}
    assert not caplog.records
    assert logging.getLogger("accelerate.utils.modeling").level == level  # silent there alone


def test_a_strategy_that_there_is_not_and_a_machine_of_which_nothing_is_told_are_refused(tiny_checkpoint):
    with pytest.raises(PlacementError, match="no strategy 'fair': there are auto, balanced"):
        placement.plan(tiny_checkpoint, strategy="fair")
    with pytest.raises(PlacementError, match="needs max_memory"):
        placement.plan(tiny_checkpoint, elsewhere=True)


def test_auto_places_what_the_plan_says(tiny_checkpoint, plain, tmp_path):
    limit = {"cpu": int(0.75 * sum(parameter.numel() * 4 for parameter in plain.parameters()))}
    model = placement.load(tiny_checkpoint, device_map="auto", max_memory=limit, offload_folder=tmp_path / "offload")
    assert placement.plan(tiny_checkpoint, max_memory=limit) == model.hf_device_map
    table = placement.where(model)
    assert {"cpu", "disk"} == set(table["device"])
    assert generate(model).tolist() == generate(plain).tolist()


# bad input -----------------------------------------------------------------------------------------------------------

BAD_MAPS = {
    "no device": ({"": "gpu7"}, "There is no device 'gpu7' here: there is .*cpu"),
    "no CUDA device": ({"": 99}, "There is no device 'cuda:99' here"),
    "one device": ("npu:0", "There is no device 'npu:0' here"),
    "disk, not in a map": ("disk", 'Write {"": "disk"}'),
    "no module": ({"": "cpu", "model.layers.77": "cpu"}, "'model.layers.77', which is no module of this Llama"),
    "one within another": ({"": "cpu", LAYERS[1]: "disk"}, "places 'model.layers.1' on disk and, as a part of ''"),
    "module left out": (
        {"model": "cpu"},
        "places 1 parameters nowhere, lm_head.weight first",
    ),
}


@pytest.mark.parametrize("bad", BAD_MAPS)
def test_a_map_that_cannot_work_is_refused_before_the_load(tiny_checkpoint, bad):
    device_map, reason = BAD_MAPS[bad]
    with record("landmarks") as recording, pytest.raises(PlacementError, match=reason):
        placement.load(tiny_checkpoint, device_map=device_map)
    assert "_load_pretrained_model" not in " ".join(recording.calls()["function"])


@pytest.mark.parametrize(
    ("max_memory", "reason"),
    [
        ({"cpu": 10_000}, r"cannot hold the largest layer: .* KiB \([\d,]+ bytes\) in float32"),
        ({"cpu": 10_000, "disk": "1GiB"}, "cannot hold the largest layer"),
        ({"cpu": "24 parsecs"}, "24 parsecs"),
        ({"cpu": 1e9}, "Write whole bytes"),
        ({"cpu": None}, "Write whole bytes"),
        ({"cuda:42": "1GiB"}, "There is no device 'cuda:42' here"),
        (["1GiB"], "write sizes by device"),
    ],
)
def test_a_budget_that_cannot_work_is_refused(tiny_checkpoint, tmp_path, max_memory, reason):
    for ask in (placement.plan, placement.load):
        arguments = {} if ask is placement.plan else {"device_map": "auto", "offload_folder": tmp_path / "offload"}
        with pytest.raises(PlacementError, match=reason):
            ask(tiny_checkpoint, max_memory=max_memory, **arguments)
    assert not (tmp_path / "offload").exists()


@pytest.mark.parametrize("device", ["xpu:0", "gpu", "0", "cuda:x", -1, True, 1.5])
def test_a_budget_for_what_is_no_device_is_refused_also_for_another_machine(tiny_checkpoint, device):
    with pytest.raises(PlacementError, match=f"max_memory: {device!r} is no device"):
        placement.plan(tiny_checkpoint, max_memory={device: "1GiB"}, elsewhere=True)


def test_a_model_in_the_place_of_its_checkpoint_is_refused(tiny_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    told = "an object of class LlamaForCausalLM was given: give a checkpoint's folder or Hub id"
    for asks, error in ((placement.plan, PlacementError), (forecast, CheckpointError)):
        with pytest.raises(error) as refused:
            asks(model)
        assert str(refused.value) == f"{told} ({tiny_checkpoint})"


def test_a_checkpoint_whose_config_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(PlacementError, match="does not exist: correct the path"):
        placement.plan(tmp_path / "nothing")
    with pytest.raises(PlacementError, match=r"config\.json is missing"):
        placement.plan(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(PlacementError, match="has no config that transformers can read"):
        placement.plan(tmp_path)


def test_a_plan_takes_no_memory_for_the_experts_of_a_layer(tmp_path):
    """As many experts as no machine has room for: what makes them first, to drop them, fails."""
    if compat.transformers_version() < (5,):
        pytest.skip("experts are modules of their own there, and one is small")
    config = {
        "model_type": "mixtral", "hidden_size": 8192, "intermediate_size": 32768, "num_hidden_layers": 1,
        "num_attention_heads": 64, "num_key_value_heads": 8, "num_local_experts": 16384, "vocab_size": 100,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(PlacementError, match=r"cannot hold the largest layer: model\.layers\.0 is"):
        placement.plan(tmp_path, max_memory={"cpu": "1GiB"})
