"""Activations as forecast, apart from weights and cache: beside those a wrong figure would hide in any tolerance.

Against torch's own allocator, as its profiler tells of it, and against the tensors that live in each forward pass of a
real generate().
"""

import functools
import os

import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForCausalLM

from helpers import compat, forecast
from helpers.checkpoints.tiny_build import VOCABULARY
from helpers.forecasting.live_memory import LiveMemory, layer_bytes
from helpers.forecasting.rehearsal import LAST_LOGITS_ONLY, _forward_parameters
from tests.tiny_architectures import ARCHITECTURES, TOKEN_IDS

PROMPT_TOKENS = 173
SHAPE_TENSORS = 256
"""Bytes: counters of positions, which generate() makes before; in 4.47 the mask of one row for a sliding window."""


def token_ids(count: int) -> torch.Tensor:
    return torch.arange(3, 3 + count).remainder(VOCABULARY)[None]


def allocated(work) -> int:
    """Bytes that torch's CPU allocator holds at most while `work` runs, beyond what it held before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler, torch.no_grad():
        kept = work()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    assert kept.past_key_values is not None  # the cache was alive to the end
    return most


@pytest.mark.parametrize("checkpoint", ["tiny_checkpoint", pytest.param("demo_checkpoint", marks=pytest.mark.slow)])
def test_the_prefill_takes_what_torch_s_allocator_says(checkpoint, request):
    checkpoint = request.getfixturevalue(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(torch.float32))
    last_only = {name: 1 for name in LAST_LOGITS_ONLY if name in _forward_parameters(model)}
    ids = token_ids(PROMPT_TOKENS)
    most = allocated(lambda: model(ids, use_cache=True, **last_only))
    found = forecast(checkpoint, dtype="float32", prompt_tokens=PROMPT_TOKENS, new_tokens=2)
    assert found.prefill_activations > 0
    cache = found.on("cpu").phases["prefill"]["kv_cache"]
    assert most - cache == pytest.approx(found.prefill_activations, rel=0.02)


# step by step --------------------------------------------------------------------------------------------------------

WINDOW = 8
MODELS = {
    "llama": ("llama", {**ARCHITECTURES["mistral"]}),
    "a window in every layer": ("mistral", {**ARCHITECTURES["mistral"], "sliding_window": WINDOW}),
    "a window in the last layer": (
        "qwen2",
        {**ARCHITECTURES["qwen2"], "use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
}


def lived(model: torch.nn.Module, prompt_tokens: int, new_tokens: int) -> list[dict[str, int]]:
    """Bytes that live in each forward pass of a real generate(): `most` beside the weights, `cache` at its end."""
    passes, forward, name = [], model.forward, compat.kv_cache_argument()

    @functools.wraps(forward)  # generate() looks at the signature
    def counted(*arguments, **keywords):
        with LiveMemory(model, keywords.get(name)) as live:
            output = forward(*arguments, **keywords)
        passes.append({"most": live.most, "cache": sum(layer_bytes(output[name]))})
        return output

    ids = token_ids(prompt_tokens)
    model.forward = counted
    model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False,
        max_new_tokens=new_tokens, min_new_tokens=new_tokens,
    )  # fmt: skip
    return passes


@pytest.mark.parametrize(("prompt_tokens", "new_tokens"), [(48, 2), (48, 3), (48, 6), (5, 20)])
@pytest.mark.parametrize("name", MODELS)
def test_each_phase_is_that_of_a_real_generation(name, prompt_tokens, new_tokens):
    """After the prefill a layer with a window keeps a view of all of its positions' storage; after a step it does not.

    So its first decode step may take more than all that follow, and a long generation no more than a short one.
    """
    model_type, settings = MODELS[name]
    config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **TOKEN_IDS, **settings)
    model = AutoModelForCausalLM.from_config(config).eval()
    prefill, *steps = lived(model, prompt_tokens, new_tokens)
    found = forecast(config, dtype="float32", prompt_tokens=prompt_tokens, new_tokens=new_tokens)
    assert found.kv_cache == steps[-1]["cache"]
    assert found.prefill_activations == pytest.approx(prefill["most"] - prefill["cache"], rel=0.02, abs=SHAPE_TENSORS)
    most = max(step["most"] for step in steps)
    assert found.decode_activations == pytest.approx(most - steps[-1]["cache"], rel=0.02, abs=SHAPE_TENSORS)


def test_a_long_generation_within_a_window_takes_no_more_than_a_short_one():
    if compat.transformers_version() < (4, 57):
        pytest.skip("every position is kept there")
    model_type, settings = MODELS["a window in every layer"]
    config = AutoConfig.for_model(model_type, vocab_size=VOCABULARY, **TOKEN_IDS, **settings)
    short, long = (
        forecast(config, dtype="float32", prompt_tokens=WINDOW, new_tokens=count).on("cpu").held("decode")
        for count in (20, 400)
    )
    assert long == short
