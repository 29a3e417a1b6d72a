"""What can only be seen on a GPU. `make test-gpu` runs it there; everywhere else each test says why it did not run.

None of these tests has been run yet: there was no GPU where they were written.
"""

import gc
import warnings

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from helpers import Recording, compat, forecast, model_shapes, placement, record
from helpers.attention_backend import attention_backends
from helpers.checkpoints import shaped_build
from helpers.tensor_parallel import record_tensor_parallel
from tests.device_waits import counted
from tests.ranked_run import NEW_TOKENS as NEW_TOKENS_OF_RANKS
from tests.ranked_run import check_run, sharded

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason=f"no CUDA device: torch {torch.__version__} "
        + ("finds none" if torch.version.cuda else "was built without CUDA"),
    ),
]
NEW_TOKENS = 6
DEVICE = "cuda:0"


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    """The article's script on the tiny checkpoint: load to the GPU in float16, pipeline, a sampled call."""
    with record(steps=None) as recording:
        model = AutoModelForCausalLM.from_pretrained(
            str(tiny_checkpoint), device_map=DEVICE, **compat.dtype_argument(torch.float16)
        )
        pipe = pipeline(
            "text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained(str(tiny_checkpoint)),
            **compat.pipeline_device(model, DEVICE),
            do_sample=True, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
        )  # fmt: skip
        pipe("hello there")
    return recording


@pytest.fixture
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(
        str(tiny_checkpoint), device_map=DEVICE, **compat.dtype_argument(torch.float16)
    )


def ids() -> torch.Tensor:
    return torch.arange(3, 20, device=DEVICE)[None]


def test_the_forward_pass_runs_on_the_gpu(recording):
    modules = recording.modules(step=0)
    assert set(modules["device"]) == {DEVICE}
    assert set(recording.weights()["device"]) == {DEVICE}


def test_the_memory_series_has_the_gpus_counters(recording):
    memory = recording.memory().dropna()
    assert len(memory) > 0
    assert (memory["cuda_reserved"] >= memory["cuda_allocated"]).all()
    assert (memory["cuda_peak"] >= memory["cuda_allocated"]).all()
    assert memory["cuda_allocated"].iloc[-1] >= memory["parameters"].iloc[-1]


def test_the_warm_up_of_the_allocator_is_a_step_of_its_own(recording):
    if compat.transformers_version() < (4, 50):
        pytest.skip("there is none before 4.50")
    phases = recording.memory_phases().set_index("phase")
    assert {"load", "allocator warm-up", "pipeline", "prefill", "decode"} <= set(phases.index)
    assert phases["cuda_peak"].notna().all()


def test_each_shard_has_the_time_of_its_copies(recording):
    if compat.transformers_version() < (5,):
        pytest.skip("before 5.0 no function of its own copies a tensor")
    shards, ledger = recording.shards(), recording.parameters()
    loaded = ledger[ledger["status"] == "loaded"]
    assert set(shards["file"]) == set(loaded["file"]) != set()
    assert (shards["copied"] > 0).all()
    assert (loaded["copied"] >= 0).all()


def test_recording_a_forward_pass_waits_for_nothing(model):
    model(ids())  # lazy initialisation
    before = torch.cuda.get_sync_debug_mode()
    try:
        torch.cuda.set_sync_debug_mode("error")
        try:
            model(ids())
        except RuntimeError as error:
            pytest.skip(f"the forward pass itself waits for the GPU here: {error}")
        with record("landmarks", "modules", "functions", "memory") as recorded:
            model(ids())
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert len(recorded.modules()) > 0


def test_the_users_peak_counter_is_left_alone(model):
    block = torch.empty(64 * 2**20, dtype=torch.uint8, device=DEVICE)
    del block
    peak = torch.cuda.max_memory_allocated(DEVICE)
    with record():
        model(ids())
    assert torch.cuda.max_memory_allocated(DEVICE) >= peak


def test_the_result_is_bit_identical_to_that_of_a_plain_run(model):
    with torch.no_grad():
        plain = model(ids()).logits
        with record(steps=None):
            recorded = model(ids()).logits
    assert torch.equal(plain, recorded)


def test_the_backend_of_attention_is_told_by_its_kernels(model):
    table = attention_backends(lambda: model(ids()))
    assert set(table["backend"]) <= {"flash", "efficient", "cudnn", "math"}
    assert table["calls"].sum() >= len(compat.decoder_layers(model))
    if set(table["backend"]) != {"math"}:
        assert all(table["kernels"])


def load_and_fill(checkpoint, nbytes: int) -> None:
    """Load, then take what is left: where the tiny model alone had room, there is none for that."""
    model = AutoModelForCausalLM.from_pretrained(str(checkpoint), device_map=DEVICE)
    torch.empty(nbytes, dtype=torch.uint8, device=model.device)


def test_the_forecast_of_the_peak_is_within_a_tenth(tmp_path):
    """A model of a gigabyte: beside it cuBLAS's workspace, which the counter counts too, is small."""
    checkpoint = shaped_build.write("llama-2-7b-middle", tmp_path / "middle")
    prompt = model_shapes.prompt_ids().to(DEVICE)
    gc.collect()
    before = torch.cuda.memory_allocated(DEVICE)
    torch.cuda.reset_peak_memory_stats(DEVICE)
    with record() as recorded:
        model = AutoModelForCausalLM.from_pretrained(
            str(checkpoint), device_map=DEVICE, **compat.dtype_argument(torch.float16)
        )
        model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
            max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
        )  # fmt: skip
    peak = torch.cuda.max_memory_allocated(DEVICE) - before
    found = forecast(
        checkpoint, dtype="float16", device_map=DEVICE, prompt_tokens=prompt.shape[1], new_tokens=NEW_TOKENS
    )
    assert found.weights > 10**9
    assert found.weights == recorded.parameters()["nbytes"].sum()
    assert found.kv_cache == recorded.steps()["kv_bytes"].iloc[-1]
    assert found.on(DEVICE).allocated == pytest.approx(peak, rel=0.1)


def test_an_out_of_memory_error_is_kept_with_the_ledger(tiny_checkpoint):
    free, total = torch.cuda.mem_get_info(DEVICE)
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2**20 / total), DEVICE)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError), record() as failed:
            load_and_fill(tiny_checkpoint, free)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    assert failed.environment["ended_by"] == "OutOfMemoryError"
    assert "out of memory" in failed.environment["out_of_memory"]
    assert len(failed.parameters()) > 0
    assert failed.memory()["cuda_allocated"].notna().any()


def test_offload_to_the_cpu_moves_weights_to_the_gpu(tiny_checkpoint):
    device_map = {"model.embed_tokens": 0, "model.rotary_emb": 0, "model.layers.0": 0, "model.norm": 0, "lm_head": 0}
    model = placement.load(tiny_checkpoint, device_map=device_map | {"model.layers.1": "cpu"}, dtype=torch.float16)
    with record() as recorded:
        model(ids())
    transfers = recorded.transfers()
    assert set(transfers["source"]) == {"cpu"}
    assert set(transfers["to"]) == {DEVICE}
    assert all(path.startswith("model.layers.1") for path in transfers["path"])


def test_compiled_decoding_with_a_static_cache_is_said(model):
    """On a GPU generate() compiles the decode steps for a static cache: what it then does not see, it says."""
    with warnings.catch_warnings(), record(steps=None) as recorded:
        warnings.simplefilter("ignore")
        model.generate(
            ids(), attention_mask=torch.ones_like(ids()), do_sample=False, cache_implementation="static",
            max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
        )  # fmt: skip
    steps = recorded.steps()
    assert len(steps) == NEW_TOKENS
    cache = recorded.kv_cache()
    assert cache["capacity"].nunique() == cache["nbytes"].nunique() == 1  # static: all of its room from the prefill on
    seen = set(recorded.find("model.layers.0.self_attn.q_proj")["step"])
    assert 0 in seen  # the prefill is not compiled
    unseen = sorted(set(range(NEW_TOKENS)) - seen)
    said = [warning for warning in recorded.warnings if "no module inside the model" in warning]
    assert len(said) == bool(unseen)
    if unseen:
        assert f"In step {unseen[0]}-{unseen[-1]} of generation 0" in said[0]


def test_a_recorded_load_waits_for_the_gpu_no_more_than_a_plain_one(tiny_checkpoint, monkeypatch):
    def load() -> None:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), device_map=DEVICE)

    load()  # lazy initialisation
    waits = counted(monkeypatch)
    load()
    plain = list(waits)
    waits.clear()
    with record() as recorded:
        load()
        inside = list(waits)
    assert inside == plain
    if compat.transformers_version() >= (5,):
        copied = recorded.shards()["copied"]
        assert len(copied)
        assert copied.notna().all()
        assert len(waits) > len(inside)  # the times of the copies, when the recording ended


@sharded
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices: no two ranks over nccl")
def test_a_model_over_two_gpus(tiny_checkpoint):
    run = record_tensor_parallel(tiny_checkpoint, 2, new_tokens=NEW_TOKENS_OF_RANKS)
    check_run(run, tiny_checkpoint, 2, DEVICE)
    where = run.recording.weights().groupby("rank")["device"].unique()
    assert {rank: set(devices) for rank, devices in where.items()} == {0: {"cuda:0"}, 1: {"cuda:1"}}
