"""How a forecast splits over devices, what it advises, and what the load itself takes."""

from dataclasses import replace

import pytest
import torch
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig

from helpers import compat, devices, forecast
from helpers.devices import DeviceError
from helpers.forecasting.advice import advice
from helpers.forecasting.load import CUBLAS_WORKSPACE, allocator_reserve, load_pages
from helpers.forecasting.settings import ForecastError
from helpers.forecasting.source import StoredWeight
from helpers.tables import format_bytes

MEBIBYTE = 2**20


SMALL = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 64,
}  # fmt: skip


@pytest.fixture
def small():
    return LlamaConfig(**SMALL)


# devices ---------------------------------------------------------------------------------------------------------


def test_a_budget_decides_and_the_margin_is_exact(small):
    def on_card(size: int):
        return forecast(small, dtype="float32", device_map="cuda:0", memory={"cuda:0": size}, prompt_tokens=8)

    needed = on_card(10**9).on("cuda:0").needed
    exact, short = on_card(needed), on_card(needed - 1)
    assert (exact.fits, exact.on("cuda:0").margin) == (True, 0)
    assert (short.fits, short.on("cuda:0").margin) == (False, -1)
    assert exact.advice == ()
    assert "DOES NOT FIT" in str(short)


def test_what_would_make_it_fit_is_tried_in_figures(small):
    whole = forecast(small, dtype="float32", device_map="cuda:0", memory={"cuda:0": "1GB"}, prompt_tokens=4000)
    device = whole.on("cuda:0")
    budget = device.needed - device.phases["decode"]["kv_cache"] // 2
    found = forecast(small, dtype="float32", device_map="cuda:0", memory={"cuda:0": budget}, prompt_tokens=4000)
    advice = " ".join(map(str, found.advice))
    assert 'dtype="float16": in place of float32 (or bfloat16, which takes as much): cuda:0: needs' in advice
    assert 'device_map="cpu": cpu: needs' in advice
    assert 'device_map="auto"' not in advice  # all weights together are less than what is short
    half = forecast(small, dtype="float16", device_map="cuda:0", memory={"cuda:0": budget}, prompt_tokens=4000)
    assert half.fits is True


def test_a_few_weights_too_many_can_stay_in_main_memory():
    larger = LlamaConfig(**SMALL | {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 12})

    def on_card(size):
        return forecast(larger, dtype="float16", device_map="cuda:0", memory={"cuda:0": size}, prompt_tokens=8)

    size = on_card("1GB").on("cuda:0").needed - 3 * MEBIBYTE
    (advised,) = (one for one in on_card(size).advice if "max_memory" in one.options)
    limits = advised.options["max_memory"]
    assert str(advised).startswith(f'device_map="auto", max_memory={{0: {limits[0]}, "cpu": {limits["cpu"]}}}: ')
    with init_empty_weights():
        model = LlamaForCausalLM(larger).to(torch.float16)
    chosen = compat.automatic_device_map(model, "auto", limits, torch.float16)
    followed = forecast(larger, dtype="float16", device_map=dict(chosen), memory={"cuda:0": size}, prompt_tokens=8)
    assert set(chosen.values()) == {0, "cpu"}
    assert followed.fits is True
    assert f"{format_bytes(followed.on('cpu').parameters)} of the weights then stay in main memory" in str(advised)
    by_itself = forecast(
        larger, dtype="float16", memory={"cuda:0": size}, prompt_tokens=8, **advised.options
    )  # as from_pretrained takes it
    assert [row.phases for row in by_itself.devices] == [row.phases for row in followed.devices]
    assert by_itself.fits is True
    assert any("stay in main memory, and move to cuda:0 for each token" in note for note in by_itself.notes)


def test_a_batch_is_of_prompts_of_one_length(small):
    assert any("prompts of one length" in note for note in forecast(small, batch=2).notes)
    assert not any("prompts of one length" in note for note in forecast(small).notes)


def test_fewer_tokens_that_the_advice_names_do_fit(small):
    def on_card(prompt_tokens, size):
        memory = {"cuda:0": size, "cpu": "1KB"}
        return forecast(
            small, dtype="float16", device_map="cuda:0", memory=memory, prompt_tokens=prompt_tokens, new_tokens=2000
        )

    whole = on_card(100, "1GB").on("cuda:0")
    found = on_card(100, whole.needed - whole.phases["decode"]["kv_cache"] // 2)
    named = next(one for one in found.advice if "new_tokens" in one.options)
    assert 900 < named.options["new_tokens"] < 1000
    assert str(named).endswith("in place of 2,000 new tokens")


def on_card(config, size, prompt_tokens, new_tokens):
    memory = {"cuda:0": size, "cpu": "1KB"}
    return forecast(
        config, dtype="float16", device_map="cuda:0", memory=memory, prompt_tokens=prompt_tokens, new_tokens=new_tokens
    )


def test_a_full_window_is_not_said_to_shrink():
    """Half of the cache is short; without a window half of the tokens would do, with one only those within it."""
    config = MistralConfig(**SMALL, sliding_window=256)
    whole = on_card(config, "1GB", 100, 2000).on("cuda:0")
    size = whole.needed - whole.phases["decode"]["kv_cache"] // 2
    found = on_card(config, size, 100, 2000)
    named = next(one for one in found.advice if "new_tokens" in one.options).options
    if compat.transformers_version() < (4, 57):  # every position is kept there
        assert 900 < named["new_tokens"] < 1000
    assert on_card(config, size, **{"prompt_tokens": 100} | named).fits is True
    if compat.transformers_version() >= (4, 57):
        assert 100 + named["new_tokens"] < 256


def test_tokens_beyond_a_window_are_not_what_does_not_fit():
    """Measured in test_forecast_activations.py: past its window a layer takes no more, however many tokens come."""
    if compat.transformers_version() < (4, 57):
        pytest.skip("every position is kept there")
    config = MistralConfig(**SMALL, sliding_window=64)
    long = on_card(config, "1GB", 64, 3000).on("cuda:0")
    assert on_card(config, long.needed, 64, 200).on("cuda:0").needed == long.needed
    assert on_card(config, long.needed, 64, 9000).fits is True


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_prompt_that_is_too_long_is_what_is_named(small, share):
    if compat.transformers_version() < (5,):
        pytest.skip("a decode step holds more than this prefill")
    whole = on_card(small, "1GB", 2000, 2000).on("cuda:0")
    assert whole.held("prefill") > whole.held("decode")
    least = on_card(small, "1GB", 1, 1).on("cuda:0").needed  # a part of the activations is there for one token too
    size = int(least + share * (whole.held("prefill") - least))
    found = on_card(small, size, 2000, 2000)
    named = next(one for one in found.advice if "prompt_tokens" in one.options)
    assert named.options["prompt_tokens"] < 2000
    assert on_card(small, size, **{"new_tokens": 2000} | named.options).fits is True
    assert "in place of 2,000 prompt" in str(named)


def test_each_means_fits_when_it_is_followed_by_all_devices_at_once(small):
    """Three devices that are short by different amounts: what helps one of them is no help."""
    given = {"dtype": "float32", "prompt_tokens": 300, "new_tokens": 300, "batch": 8}
    given["device_map"] = {"model": "cuda:0", "lm_head": "cuda:1"}

    def on_cards(first, second, **changes):
        return forecast(small, **given | {"memory": {0: first, 1: second, "cpu": "1KB"}} | changes)

    whole = on_cards("1GB", "1GB")
    caches = whole.on("cuda:0").phases["decode"]["kv_cache"]
    found = on_cards(whole.on("cuda:0").needed - caches // 2, whole.on("cuda:1").needed - 1000)
    assert found.fits is False
    assert {"new_tokens", "prompt_tokens", "batch", "dtype"} & {name for one in found.advice for name in one.options}
    sizes = [found.on(f"cuda:{number}").free for number in (0, 1)]
    for one in found.advice:
        assert not one.options or on_cards(*sizes, **one.options).fits is True, str(one)


def test_fewer_prompts_at_once_are_named_where_they_fit(small):
    whole = forecast(small, dtype="float16", device_map="cuda:0", memory={0: "1GB"}, batch=8, prompt_tokens=200)
    device = whole.on("cuda:0")
    size = device.needed - device.phases["decode"]["kv_cache"] // 2
    given = {"dtype": "float16", "device_map": "cuda:0", "memory": {0: size, "cpu": "1KB"}, "prompt_tokens": 200}
    (advised,) = (one for one in forecast(small, batch=8, **given).advice if "batch" in one.options)
    assert 1 <= advised.options["batch"] < 8
    assert str(advised).endswith("at once in place of 8")
    assert forecast(small, **advised.options, **given).fits is True


def test_a_dtype_that_is_tried_leaves_the_config_as_it_was(small):
    """A model writes its dtype into its config, and without a dtype the config's is taken."""
    alone = forecast(small, device_map="cuda:0", memory={0: "1KB"})
    assert alone.dtype == forecast(small, device_map="cuda:0", memory={0: "1KB"}).dtype == "float32"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"device_map": "cpu", "max_memory": {"cpu": "1GB"}}, "max_memory is for an automatic device_map"),
        ({"device_map": "auto", "max_memory": {"cpu": "24"}}, "max_memory: '24' is no size"),
        ({"device_map": "auto", "max_memory": {"gpu": "1GB"}}, "max_memory: 'gpu' is no device"),
        ({"device_map": "auto", "max_memory": ["1GB"]}, "max_memory=.*give sizes by device"),
        ({"memory": "24GB"}, "memory='24GB': give sizes by device"),
    ],
)
def test_max_memory_that_makes_no_sense_is_refused(small, given, says):
    with pytest.raises(ForecastError, match=says):
        forecast(small, **given)


def test_max_memory_of_a_gpu_that_is_not_there_is_refused(small):
    with pytest.raises(DeviceError, match=r"max_memory='cuda:5'.*memory=\{.* forecasts for one"):
        forecast(small, device_map="auto", max_memory={5: "1GB"})


def test_disk_as_a_word_is_refused_as_by_a_load(small):
    with pytest.raises(DeviceError, match="takes disk in a map only"):
        forecast(small, device_map="disk")
    assert forecast(small, device_map={"": "disk"}).on("disk").parameters > 0


def test_a_load_to_a_gpu_goes_through_file_pages_of_main_memory(tmp_path, small):
    model = AutoModelForCausalLM.from_config(small).to(torch.bfloat16)
    model.save_pretrained(tmp_path)
    found = forecast(
        tmp_path, dtype="float16", device_map="cuda:0", memory={"cuda:0": "1GB"}, prompt_tokens=8, new_tokens=2
    )
    cpu = found.on("cpu")
    stored = sum(parameter.numel() * 2 for parameter in model.parameters())
    assert cpu.phases["load"] == {"weights": 0, "file_pages": stored}
    assert (cpu.needed, cpu.held("prefill"), cpu.held("decode")) == (0, 0, 0)
    assert "cpu: " in str(found)
    assert "of file pages while it loads" in str(found)
    assert "cpu" in {row.device for row in found.elsewhere}  # what it would take there whole
    alone = forecast(small, dtype="float16", device_map="cuda:0", memory={"cuda:0": "1GB"})
    assert [row.device for row in alone.devices] == ["cuda:0"]
    assert any("no stored weights were read" in note for note in alone.notes)


def test_the_map_of_the_library_splits_weights_and_cache(small):
    parts = {f"model.layers.{index}": index // 2 for index in range(4)}
    rest = {"model.embed_tokens": 0, "model.rotary_emb": 0, "model.norm": 1, "lm_head": 1}
    found = forecast(
        small, dtype="float32", device_map=parts | rest, memory={"cuda:0": "1GB", "cuda:1": "1GB"}, prompt_tokens=8
    )
    first, second = found.on("cuda:0"), found.on("cuda:1")
    assert first.parameters + second.parameters == found.weights
    assert first.parameters - second.parameters == -64 * 4  # the final norm
    assert first.phases["decode"]["kv_cache"] == second.phases["decode"]["kv_cache"] == found.kv_cache // 2
    with pytest.raises(KeyError, match="not put on 'cpu', but on cuda:0, cuda:1"):
        found.on("cpu")


@pytest.mark.parametrize("device_map", ["auto", "cuda:0", 0])
def test_memory_takes_a_gpu_in_torch_s_spelling_and_in_accelerate_s(small, device_map):
    by_name, by_number = (
        forecast(small, dtype="float32", device_map=device_map, memory={name: "1GB"}, prompt_tokens=8)
        for name in ("cuda:0", 0)
    )
    assert by_number.on("cuda:0") == by_name.on("cuda:0")
    assert by_number.on("cuda:0").free == 10**9


@pytest.mark.parametrize("name", ["gpu", -1, 1.5, True])
def test_memory_of_what_is_no_device_is_refused(small, name):
    with pytest.raises(ForecastError, match=f"memory: {name!r} is no device"):
        forecast(small, memory={name: "1GB"})


def test_what_is_offloaded_computes_on_the_main_device(small):
    found = forecast(
        small, dtype="float32", device_map={"": "cuda:0", "model.layers.3": "cpu", "model.layers.2": "disk"},
        memory={"cuda:0": "1GB"}, prompt_tokens=8,
    )  # fmt: skip
    whole = forecast(small, dtype="float32", device_map="cuda:0", memory={"cuda:0": "1GB"}, prompt_tokens=8)
    gpu, cpu, disk = (found.on(name) for name in ("cuda:0", "cpu", "disk"))
    assert gpu.parameters + cpu.parameters + disk.parameters == found.weights
    assert cpu.parameters == disk.parameters > 0
    assert gpu.phases["decode"]["kv_cache"] == found.kv_cache
    assert gpu.phases["decode"]["activations"] == whole.decode_activations + 128 * 64 * 4  # its largest matrix
    assert cpu.needed == cpu.parameters + cpu.buffers
    assert disk.needed == 0
    assert "stay in files" in disk.sentence()


@pytest.mark.parametrize("strategy", ["auto", "sequential"])
def test_the_automatic_map_is_the_one_that_a_load_makes(tiny_checkpoint, tmp_path, strategy):
    memory = {"cpu": 300_000}
    model = AutoModelForCausalLM.from_pretrained(
        str(tiny_checkpoint), device_map=strategy, max_memory=memory, offload_folder=str(tmp_path),
        **compat.dtype_argument(torch.float32),
    )  # fmt: skip
    found = forecast(tiny_checkpoint, dtype="float32", device_map=strategy, memory=memory)
    placed = {"cpu": 0, "disk": 0}
    for name, parameter in model.named_parameters():
        owner = max((module for module in model.hf_device_map if name.startswith(module)), key=len)
        placed[str(model.hf_device_map[owner])] += parameter.numel() * 4
    assert placed["disk"] > 0
    assert placed == {row.device: row.parameters for row in found.devices}


@pytest.mark.parametrize(
    ("device_map", "says"),
    [
        ("cuda:7", "device_map='cuda:7'"),
        ("gpu", "device_map='gpu' is no device name"),
        ({"": "mps:9"}, "device_map='mps:9'"),
        ({"model.layers.0": "cpu"}, "device_map leaves model.embed_tokens.weight without a device"),
    ],
)
def test_a_device_that_does_not_exist_is_refused(small, device_map, says):
    with pytest.raises(DeviceError, match=says):
        forecast(small, device_map=device_map)


def test_memory_that_holds_no_layer_does_not_fit(small):
    """All weights stay in files then, and the largest of them still has to be moved in for its computation."""
    found = forecast(small, dtype="float32", device_map="auto", memory={"cpu": 10_000}, prompt_tokens=8, new_tokens=2)
    assert found.fits is False
    assert found.on("disk").parameters == found.weights
    assert found.on("cpu").needed >= 128 * 64 * 4 > 10_000
    assert "cpu: needs" in str(found)
    assert "DOES NOT FIT" in str(found)


# the load --------------------------------------------------------------------------------------------------------


def test_file_pages_of_a_load_that_casts(monkeypatch):
    stored = [StoredWeight(name, "bfloat16", (1,), 100, file) for name, file in (("a", "1"), ("b", "1"), ("c", "2"))]
    in_memory = dict.fromkeys("abc", 200)
    monkeypatch.setattr(compat, "reads_shard_by_shard", lambda: False)
    assert load_pages(stored, in_memory, {"a", "b", "c"}) == 300
    assert load_pages(stored, in_memory, {"c"}) == 100
    assert load_pages(stored, in_memory, set()) == 0
    monkeypatch.setattr(compat, "reads_shard_by_shard", lambda: True)
    # after shard 1: 400 + 200 of its pages; at the end of shard 2: 600 + 100
    assert load_pages(stored, in_memory, {"a", "b", "c"}) == 100


def test_what_a_gpu_s_counter_shows_is_the_tensors_without_the_segments(small):
    device = forecast(small, dtype="float16", device_map="cuda:0", memory={"cuda:0": "1GB"}).on("cuda:0")
    decode = device.phases["decode"]
    tensors = [sum(phase.get(name, 0) for name in ("weights", "kv_cache", "activations", "logits")) for phase in
               device.phases.values()]  # fmt: skip
    assert device.allocated == max(tensors) == device.peak - decode["reserve"]
    assert decode["reserve"] > CUBLAS_WORKSPACE


def test_every_other_device_that_is_here_is_told_with_the_whole_model(small):
    memory = {"cuda:0": "1MB", "cuda:1": "1GB"}
    found = forecast(small, dtype="float32", device_map="cuda:0", memory=memory)
    others = {row.device: row for row in found.elsewhere}
    assert set(others) == {row.device for row in devices.describe_devices()} | {"cuda:1"} - {"cuda:0"}
    assert all(row.parameters == found.weights for row in others.values())
    assert (others["cuda:1"].fits, others["cuda:1"].free) == (True, 10**9)
    for row in others.values():
        assert f"Put whole on {row.sentence()}" in str(found)


def test_the_caching_allocator_asks_for_whole_segments():
    assert allocator_reserve([]) == CUBLAS_WORKSPACE
    assert allocator_reserve([100]) == 2 * MEBIBYTE - 100 + CUBLAS_WORKSPACE
    assert allocator_reserve([5 * MEBIBYTE]) == 15 * MEBIBYTE + CUBLAS_WORKSPACE
    assert allocator_reserve([32 * MEBIBYTE]) == CUBLAS_WORKSPACE
    assert allocator_reserve([33 * MEBIBYTE + 1]) == MEBIBYTE - 1 + CUBLAS_WORKSPACE


def test_a_gpu_that_does_not_answer_beside_one_that_is_short(small):
    memory = {"cuda:0": 1_000, "cuda:1": 10**9}
    found = forecast(small, dtype="float32", device_map={"model": "cuda:0", "lm_head": "cuda:1"}, memory=memory)
    rows = tuple(replace(row, free=None) if row.device == "cuda:1" else row for row in found.devices)

    def tried(changes):
        assert "max_memory" not in changes
        return found

    told = advice(replace(found, devices=rows), lambda device, positions: 0, tried)
    assert told
    assert not any("max_memory" in one.options for one in told)
