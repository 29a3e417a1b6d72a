"""Memory by phase, with a GPU's counters made up: peaks are told as what they are, since they are never reset."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from helpers import Recording, compat, record
from helpers.events import NOT_OBSERVED, RecordingError
from tests.recorded_call import recorded_call


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint)


def test_the_phases_of_a_call_come_in_order(recording):
    table = recording.memory_phases()
    assert list(table["phase"]) == ["load", "pipeline", "prefill", "decode"]
    assert (table["resident"] > 0).all()
    assert table["cuda_allocated"].isna().all()
    assert set(table["peak_is"]) == {"not observed: no GPU was in use"}


def test_the_bytes_are_those_of_the_last_sample_of_a_phase(recording):
    table = recording.memory_phases().set_index("phase")
    steps = recording.step_rows
    for phase, row in (("prefill", 0), ("decode", -1)):
        assert table["resident"][phase] == recording.memory_series["resident"][steps["memory"][row]]


def test_a_peak_that_did_not_rise_is_no_peak_of_its_phase(recording):
    assert len(recording.memory_phases()) == 4
    table = _on_gpu(recording, load=900, decode=950).memory_phases().set_index("phase")
    assert table["cuda_peak"].to_dict() == {"load": 900, "pipeline": 900, "prefill": 900, "decode": 950}
    told = {phase: text.partition(":")[0] for phase, text in table["peak_is"].items()}
    earlier = "of an earlier phase"
    assert told == {"load": "of this phase", "pipeline": earlier, "prefill": earlier, "decode": "of this phase"}


def test_activations_are_what_parameters_and_cache_leave_of_a_peak_that_rose(recording):
    """Of the decode steps here; the prefill, which did not raise the peak, keeps what its module calls say."""
    table = _on_gpu(recording, load=900, decode=10**9).memory_phases().set_index("phase")
    decode = table.loc["decode"]
    assert decode["activations"] == 10**9 - decode["parameters"] - decode["kv_cache"]
    assert decode["parameters"] > decode["kv_cache"] > 0
    assert decode["activations_are"] == "the peak less parameters and KV cache"
    on_cpu = recording.memory_phases().set_index("phase")
    for column in ("activations", "activations_are"):
        assert table[column]["prefill"] == on_cpu[column]["prefill"]
    small = _on_gpu(recording, load=900, decode=950).memory_phases().set_index("phase")
    assert small["activations"]["decode"] == 0, "not below, where parameters lie elsewhere"


def _on_gpu(recording: Recording, *, load: int, decode: int) -> Recording:
    """As on a GPU where the load has a peak, the pipeline and the prefill no higher one, and the decode steps have."""
    on_gpu = copy.copy(recording)
    on_gpu.memory_series = dict(recording.memory_series)
    peak = torch.full((len(recording.memory_series["time"]),), NOT_OBSERVED).numpy()
    prefill, last = recording.step_rows["memory"][[0, -1]]
    assert prefill < last
    peak[_last_sample(recording, "model.from_pretrained") :] = load
    peak[last:] = decode
    for name in ("cuda_allocated", "cuda_reserved"):
        on_gpu.memory_series[name] = peak - 100 * (peak > 0)
    on_gpu.memory_series["cuda_peak"] = peak
    return on_gpu


def _last_sample(recording: Recording, landmark: str) -> int:
    function = next(status.function for status in recording.landmark_statuses if status.id == landmark)
    return int(recording.events["memory_after"][recording.events["function"] == function][0])


def test_the_warm_up_of_the_allocator_is_a_phase_within_the_load(tiny_checkpoint):
    if compat.transformers_version() < (4, 50):
        pytest.skip("there is none before 4.50")
    with record() as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), device_map="cpu")
    assert list(recording.memory_phases()["phase"]) == ["load", "allocator warm-up"]


def test_without_the_series_it_says_how_to_record_it():
    with record("landmarks") as recording:
        pass
    with pytest.raises(RecordingError, match='record\\("memory"\\)'):
        recording.memory_phases()


def test_parameters_cache_and_activations_of_a_phase(recording):
    table = recording.memory_phases().set_index("phase")
    series, steps = recording.memory_series, recording.step_rows
    assert table["parameters"]["load"] == series["parameters"].max() > 0
    assert table["kv_cache"]["prefill"] == steps["kv_bytes"][0]
    assert table["kv_cache"]["decode"] == steps["kv_bytes"][-1]
    assert table["activations"][["load", "pipeline"]].isna().all()
    assert table["activations_are"]["load"].startswith("not observed: no module call")
    mlp = recording.find("down_proj", step=0)["event"].iloc[0]
    (given,), (result,) = recording.tensors(int(mlp))
    assert table["activations"]["prefill"] >= max(given.nbytes, result.nbytes) > table["activations"]["decode"] > 0


def test_activations_need_modules(tiny_checkpoint):
    with record("landmarks", "memory") as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))
    table = recording.memory_phases()
    assert list(table["phase"])[:1] == ["load"]
    assert table["activations"].isna().all()
    assert table["activations_are"].str.contains("modules").all()


class NamesItsOwn(LlamaForCausalLM):
    """Keeps the KV cache between two steps under a name of its own."""

    def _update_model_kwargs_for_generation(self, *args, **kwargs):
        held = super()._update_model_kwargs_for_generation(*args, **kwargs)
        return held | {"history": held.pop(CACHE, None)}

    def prepare_inputs_for_generation(self, input_ids, history=None, **kwargs):
        return super().prepare_inputs_for_generation(input_ids, **kwargs | ({CACHE: history} if history else {}))

    def _validate_model_kwargs(self, model_kwargs):
        pass


CACHE = "past_key_values"


def test_a_cache_under_an_unknown_name_is_not_observed_in_place_of_nothing(tiny_checkpoint):
    with record() as recording:
        model = NamesItsOwn.from_pretrained(str(tiny_checkpoint))
        model.generate(torch.arange(5)[None], attention_mask=torch.ones(1, 5), max_new_tokens=3, do_sample=False)
    assert len(recording.steps()) == 3
    assert recording.steps()["kv_bytes"].isna().all()
    phases = recording.memory_phases().set_index("phase")["kv_cache"]
    assert phases[["prefill", "decode"]].isna().all()
    at_end = _on_gpu(recording, load=0, decode=10**9).memory_phases().set_index("phase").loc["decode"]
    assert at_end["activations_are"] == "the peak less parameters"
    assert recording.memory()["kv_cache"].iloc[[0, -1]].tolist() == [0, 0], "before and after the generation"
