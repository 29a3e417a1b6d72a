"""record(): what it sees of a real load and generation, and that it leaves nothing behind."""

import ctypes
import gc
import sys

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import checkpoints, compat, landmarks, record
from helpers.events import RecordingError
from helpers.recording.recording import Recording

LAYERS, NEW_TOKENS, PROMPT = 2, 6, "hello there"


@pytest.fixture(scope="module")
def checkpoint() -> str:
    return str(checkpoints.tiny())


@pytest.fixture(scope="module")
def tokenizer(checkpoint):
    return AutoTokenizer.from_pretrained(checkpoint)


@pytest.fixture(scope="module")
def model(checkpoint):
    return AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(torch.float32))


def generate(model, tokenizer, **settings):
    torch.manual_seed(0)
    inputs = tokenizer(PROMPT, return_tensors="pt").to(model.device)
    return model.generate(**inputs, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=True, **settings)


@pytest.fixture(scope="module")
def whole_call(checkpoint) -> Recording:
    """Load, pipeline and generation of the tiny model, all steps in full."""
    with record(steps=None) as recording:
        model = AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(torch.float32))
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        pipe = pipeline(
            "text-generation", model=model, tokenizer=tokenizer, device="cpu", max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS, do_sample=True, temperature=0.7, top_p=0.95, top_k=40, repetition_penalty=1.1,
        )  # fmt: skip
        torch.manual_seed(0)
        pipe(PROMPT)
    return recording


def calls_of(recording, landmark_id) -> int:
    table = recording.landmarks()
    return int(table.loc[table["landmark"] == landmark_id, "calls"].iloc[0])


# what is seen --------------------------------------------------------------------------------------------------------


def test_each_landmark_of_the_path_fires_with_the_expected_count(whole_call, checkpoint):
    """The rules of the table for this run: load, pipeline construction and one sampled call."""
    shards, tensors = shards_and_tensors(checkpoint)
    variables = {"L": LAYERS, "T": NEW_TOKENS, "S": shards, "P": tensors, "D": 0}
    version = landmarks.table_version(landmarks.installed_version())
    counted = whole_call.landmarks().set_index("landmark")["calls"]
    wrong = []
    for landmark in landmarks.table():
        rules = [rule_for(landmark, scenario, version) for scenario in ("load_none", "build", "call")]
        rules = [rule for rule in rules if rule is not None]
        if landmark.kind == "fact" or not rules or landmark.id not in counted.index:
            continue
        at_least = sum(int(eval(rule.removeprefix(">="), {}, variables)) for rule in rules)
        exact = len(rules) == 1 and not rules[0].startswith(">=") and landmark.id not in AROUND_THE_TOKENIZER
        observed = int(counted[landmark.id])
        if observed < at_least or (exact and observed != at_least):
            wrong.append((landmark.id, rules, observed))
    assert wrong == []


# AutoTokenizer.from_pretrained reads files too, and the load with a dtype argument sets a default dtype in 4.x.
AROUND_THE_TOKENIZER = {
    "hub.cached_file",
    "config.get_dict",
    "config.auto",
    "dtype.set_default",
    "load.generation_config",
}


def rule_for(landmark, scenario: str, version: str) -> str | None:
    rule = landmark.expect.get(scenario)
    return landmarks.pick(rule, version) if isinstance(rule, dict) else rule


def shards_and_tensors(checkpoint: str) -> tuple[int, int]:
    import json
    from pathlib import Path

    weight_map = json.loads((Path(checkpoint) / "model.safetensors.index.json").read_text())["weight_map"]
    return len(set(weight_map.values())), len(weight_map)


def test_module_shapes_follow_from_the_config(whole_call, model, tokenizer):
    config, tokens = model.config, len(tokenizer(PROMPT)["input_ids"])
    head = config.hidden_size // config.num_attention_heads
    expected = {
        "model.embed_tokens": (1, tokens, config.hidden_size),
        "model.layers.1.self_attn.q_proj": (1, tokens, config.num_attention_heads * head),
        "model.layers.1.self_attn.k_proj": (1, tokens, config.num_key_value_heads * head),
        "model.layers.1.mlp.up_proj": (1, tokens, config.intermediate_size),
        "model.norm": (1, tokens, config.hidden_size),
        "lm_head": (1, 1, config.vocab_size),
    }
    prefill = whole_call.modules(step=0).set_index("path")["event"]
    for path, shape in expected.items():
        _, outputs = whole_call.tensors(prefill[path])
        assert outputs[0].shape == shape, path
    decode = whole_call.modules(step=3).set_index("path")["event"]
    assert whole_call.tensors(decode["model.embed_tokens"])[1][0].shape == (1, 1, config.hidden_size)


def test_every_module_with_a_forward_of_its_own_is_called_once_per_step(whole_call, model):
    called = list(whole_call.modules(step=1)["path"])
    silent = {path for path, module in model.named_modules() if isinstance(module, torch.nn.ModuleList)}
    everything = {path for path, _ in model.named_modules()}
    assert len(called) == len(set(called))
    assert everything - set(called) - silent - {"model.layers.0.self_attn.rotary_emb"} <= rotary_in_layers(model)


def rotary_in_layers(model) -> set[str]:
    """4.47 keeps a rotary embedding in each layer that nothing calls."""
    return {path for path, _ in model.named_modules() if path.endswith("self_attn.rotary_emb")}


def test_steps_are_prefill_and_decode_and_the_cache_grows_by_one(whole_call, model, tokenizer):
    steps, config = whole_call.steps(), model.config
    tokens = len(tokenizer(PROMPT)["input_ids"])
    assert list(steps["step"]) == list(range(NEW_TOKENS))
    assert list(steps["kind"]) == ["prefill"] + ["decode"] * (NEW_TOKENS - 1)
    assert list(steps["kv_tokens"]) == [tokens + step for step in range(NEW_TOKENS)]
    head = config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * head * 4
    assert list(steps["kv_bytes"]) == [per_token * count for count in steps["kv_tokens"]]


def test_sdpa_is_seen_with_the_shapes_of_its_arguments(whole_call, model, tokenizer):
    config, tokens = model.config, len(tokenizer(PROMPT)["input_ids"])
    calls = whole_call.calls()
    event = int(
        calls.loc[(calls["function"] == "scaled_dot_product_attention") & (calls["step"] == 3), "event"].iloc[0]
    )
    shapes = {spec.path: spec.shape for spec in whole_call.tensors(event)[0]}
    head = config.hidden_size // config.num_attention_heads
    assert shapes["query"] == (1, config.num_attention_heads, 1, head)
    assert shapes["key"][2] == tokens + 3


def test_worker_threads_of_the_load_are_seen(whole_call):
    if transformers.__version__.startswith("4"):
        pytest.skip("4.x loads in the main thread")
    calls = whole_call.calls()
    threads = set(calls.loc[calls["function"] == "_materialize_copy", "thread"])
    assert threads
    assert all(name.startswith("ThreadPoolExecutor") for name in threads)


def test_scalar_arguments_and_results_are_kept(whole_call):
    calls = whole_call.calls()
    tried = list(calls.loc[calls["function"] == "_add_variant", "result"])
    assert tried[0] == "result='model.safetensors'"
    assert tried[1] == "result='model.safetensors.index.json'"
    mode = calls.loc[calls["function"] == "GenerationConfig.get_generation_mode", "result"]
    assert list(mode) == ["result='sample'"]


def test_the_sources_of_what_ran_travel_along(whole_call):
    source = whole_call.sources["transformers.generation.utils:GenerationMixin._sample"]
    assert "def _sample(" in source
    assert "multinomial" in source


def test_later_steps_are_summary_rows(model, tokenizer):
    with record(steps=2) as recording:
        generate(model, tokenizer)
    steps = recording.steps()
    assert list(steps["kept"]) == [True, True] + [False] * (NEW_TOKENS - 2)
    assert list(steps["events"][2:]) == [0] * (NEW_TOKENS - 2)
    assert steps["kv_tokens"].iloc[-1] == steps["kv_tokens"].iloc[0] + NEW_TOKENS - 1
    assert calls_of(recording, "gen.generate") == 1
    assert recording.calls().set_index("function").loc["GenerationMixin.generate", "status"] == "returned"


def test_after_a_summarised_generation_the_next_one_is_kept(model, tokenizer):
    with record(steps=1) as recording:
        generate(model, tokenizer)
        generate(model, tokenizer)
    steps = recording.steps()
    assert sorted(set(steps["generation"])) == [0, 1]
    assert list(steps.loc[steps["step"] == 0, "kept"]) == [True, True]
    assert len(recording.modules(generation=1, step=0)) == len(recording.modules(generation=0, step=0)) > 0


def test_memory_counts_parameters_once_and_the_cache(whole_call, model):
    series = whole_call.memory()
    unique = {p.untyped_storage().data_ptr(): p.numel() * p.element_size() for p in model.parameters()}
    buffers = sum(b.numel() * b.element_size() for b in model.buffers())
    assert series["parameters"].iloc[-1] == sum(unique.values()) + buffers
    assert series["kv_cache"].max() == whole_call.steps()["kv_bytes"].max()
    assert (series["resident"] > 0).all()


def test_a_known_allocation_is_seen_in_the_memory_series():
    if sys.platform != "linux":
        pytest.skip("anonymous memory is told on Linux only")
    gc.collect()  # what earlier tests left must not be given back meanwhile
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    with record() as recording:
        held = torch.ones(256 * 2**20, dtype=torch.uint8)
    gained = recording.memory()["anonymous"].iloc[-1] - recording.memory()["anonymous"].iloc[0]
    assert held.nbytes * 0.98 <= gained <= held.nbytes * 1.1


# refusals ------------------------------------------------------------------------------------------------------------


def test_unknown_zoom_and_steps_are_refused():
    with pytest.raises(RecordingError, match=r"no zoom 'everything'.*landmarks"):
        record("everything")
    for steps in (0, -1, 2.5, True):
        with pytest.raises(RecordingError, match="number of steps"):
            record(steps=steps)


def test_a_recorder_is_used_once():
    recorder = record()
    with recorder:
        pass
    with pytest.raises(RecordingError, match="used already"), recorder:
        pass


def test_questions_that_were_not_recorded_say_how_to_record_them(model, tokenizer):
    with record("landmarks", steps=1) as recording:
        generate(model, tokenizer)
    with pytest.raises(RecordingError, match=r'record\("modules"\)'):
        recording.modules()
    with pytest.raises(RecordingError, match=r'record\("memory"\)'):
        recording.memory()
    assert calls_of(recording, "fwd.layer") == LAYERS  # forward functions are seen as calls then
    with record(steps=1) as recording:
        generate(model, tokenizer)
    with pytest.raises(RecordingError, match=r"record\(steps=3\)"):
        recording.modules(step=2)
    with pytest.raises(RecordingError, match="no step 99"):
        recording.modules(step=99)


def test_while_it_runs_a_recording_says_so(tmp_path):
    with record() as recording:
        assert "still running" in repr(recording)
        with pytest.raises(RecordingError, match="still running"):
            recording.landmarks()
        with pytest.raises(RecordingError, match="still running"):
            recording.save(tmp_path / "run.json.gz")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_recording_answers():
    with record() as recording:
        pass
    assert len(recording) == 0
    assert (recording.landmarks()["calls"] == 0).all()
    assert recording.steps().empty
    assert len(recording.stages()) == 10
    assert recording.to_frame().empty


def test_a_plain_forward_belongs_to_no_step(model, tokenizer):
    with record() as recording, torch.no_grad():
        model(**tokenizer(PROMPT, return_tensors="pt"))
    modules = recording.modules()
    assert modules["step"].isna().all()
    assert modules["path"].iloc[0] == ""


def test_the_zoom_calls_sees_every_function_of_the_libraries(checkpoint, tokenizer):
    with record("calls", "modules", steps=1) as recording:
        model = AutoModelForCausalLM.from_pretrained(checkpoint)
        generate(model, tokenizer)
    calls = recording.calls()
    files = {location.split("/")[0] for location in calls["location"] if "/" in location}
    assert {"transformers", "torch"} <= files  # torch only where a landmark lies there
    if not transformers.__version__.startswith("4"):  # 4.x asks huggingface_hub nothing for a local folder
        assert "huggingface_hub" in files
    landmark_functions = {status.function for status in recording.landmark_statuses}
    found = {index for index in recording.events["function"] if index not in landmark_functions}
    assert len(found) > 100
    assert not {"__getattribute__", "<module>"} & {recording.functions[index].qualname for index in found}
    assert calls_of(recording, "fwd.layer") == LAYERS  # told once, by the module event
    assert set(recording.steps()["kept"]) == {True, False}
    assert {"returned", "yielded"} <= set(calls["status"]) <= {"returned", "yielded", "raised"}


def test_the_zoom_calls_gives_the_same_landmarks(checkpoint, tokenizer, model):
    def counts(*zoom):
        with record(*zoom, steps=None) as recording:
            generate(model, tokenizer)
        table = recording.landmarks()
        return dict(zip(table["landmark"], table["calls"], strict=True))

    assert counts("calls", "modules") == counts("modules")


@pytest.mark.parametrize("version", ["6.1.0", "4.30.2"])
def test_a_version_outside_the_tested_range_is_warned_of_and_recorded_all_the_same(
    model, tokenizer, monkeypatch, version
):
    monkeypatch.setattr(landmarks, "installed_version", lambda: version)
    with pytest.warns(UserWarning, match=f"{version} is outside the tested range"), record(steps=1) as recording:
        generate(model, tokenizer)
    assert version in recording.warnings[0]
    assert calls_of(recording, "gen.generate") == 1
    observed = recording.landmarks().set_index("landmark")["observed"]
    assert observed["gen.generate"] == "yes"


def test_what_one_recording_left_out_the_next_one_sees(model, tokenizer):
    """With modules and calls the forwards of the landmarks are module calls, and no calls: switched off, in 3.12."""
    ids = tokenizer("a b", return_tensors="pt")["input_ids"]
    counts = []
    for zoom in (("landmarks",), ("calls", "modules"), ("landmarks",)):
        with record(*zoom) as recording:
            model(ids)
        counts.append(recording.landmarks().set_index("landmark")["calls"])
    assert counts[0]["fwd.layer"] > 0
    assert list(counts[2]) == list(counts[0])
