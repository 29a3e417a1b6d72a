"""The zoom functions, name by name: what computes outside modules, with the shapes and flags that it was given; and the
zoom calls: the libraries of the call path."""

import pytest
import torch
import transformers
from accelerate import cpu_offload
from huggingface_hub.utils import build_hf_headers
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import compat, record
from helpers.queries.recorded_calls import calls_of
from helpers.recording.recording import Recording

PROMPT = torch.tensor([[5, 6, 7, 8]])
NEW_TOKENS, KEPT = 3, 20
SAMPLED = {"do_sample": True, "temperature": 0.7, "top_k": KEPT, "top_p": 0.9, "repetition_penalty": 1.1}
IS_4_47 = transformers.__version__.startswith("4.47")


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(
        tiny_checkpoint, attn_implementation="sdpa", **compat.dtype_argument(torch.float32)
    )


def recorded(model, *zoom: str, **settings) -> Recording:
    length = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    torch.manual_seed(0)
    with record(*zoom, steps=None) as recording:
        model.generate(input_ids=PROMPT, attention_mask=torch.ones_like(PROMPT), **length, **settings)
    return recording


@pytest.fixture(scope="module")
def recording(model) -> Recording:
    return recorded(model, "functions", "modules", **SAMPLED)


@pytest.fixture(scope="module")
def sizes(model) -> dict[str, int]:
    config = model.config
    return {
        "layers": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "pairs": config.num_key_value_heads,
        "size": config.hidden_size // config.num_attention_heads,
        "vocabulary": config.vocab_size,
    }


def rows(recording: Recording, name: str, step: int):
    """The calls of the functions of this name in a step, in order."""
    calls = recording.calls()
    own = calls["function"].str.rpartition(".")[2] if "." not in name else calls["function"]
    return calls[(own == name) & (calls["step"] == step)]


def shapes(recording: Recording, event: int, *, of: int = 0) -> dict[str, tuple[int, ...]]:
    """The tensors that went in (0) or came out (1) of an event, by name."""
    return {spec.path: spec.shape for spec in recording.tensors(int(event))[of]}


@pytest.mark.parametrize("step", range(NEW_TOKENS))
def test_the_kernel_under_the_attention_with_its_shapes_and_flags(recording, sizes, step):
    kernels = calls_of(recording, "fwd.sdpa", step=step)
    assert len(kernels) == sizes["layers"]
    queries, positions = (PROMPT.shape[1], PROMPT.shape[1]) if step == 0 else (1, PROMPT.shape[1] + step)
    for kernel in kernels:
        assert kernel.inputs["query"].shape == (1, sizes["heads"], queries, sizes["size"])
        for name in ("key", "value"):
            heads = kernel.inputs[name].shape[1]
            assert heads in (sizes["heads"], sizes["pairs"])  # repeated, or repeated by the kernel
            assert kernel.inputs[name].shape == (1, heads, positions, sizes["size"])
        assert kernel.arguments["is_causal"] is (step == 0)
        if not IS_4_47:  # there they are no locals of the caller, and builtins tell nothing themselves
            assert kernel.arguments["dropout_p"] == 0
            assert kernel.arguments["scale"] == pytest.approx(sizes["size"] ** -0.5)


@pytest.mark.skipif(IS_4_47, reason="the attention is computed inside its module there")
@pytest.mark.parametrize("step", range(NEW_TOKENS))
def test_the_attention_function_that_ran(recording, sizes, step):
    ran = rows(recording, "sdpa_attention_forward", step)
    assert len(ran) == sizes["layers"]
    assert ran["function"].nunique() == 1
    positions = PROMPT.shape[1] + step
    given = shapes(recording, ran["event"].iloc[0])
    assert given["key"] == given["value"] == (1, sizes["pairs"], positions, sizes["size"])


@pytest.mark.parametrize("step", range(NEW_TOKENS))
def test_rope_turns_queries_and_keys(recording, sizes, step):
    turned = rows(recording, "apply_rotary_pos_emb", step)
    assert len(turned) == sizes["layers"]
    new = PROMPT.shape[1] if step == 0 else 1
    given = shapes(recording, turned["event"].iloc[0])
    assert given["q"] == (1, sizes["heads"], new, sizes["size"])
    assert given["k"] == (1, sizes["pairs"], new, sizes["size"])
    assert given["cos"] == given["sin"] == (1, new, sizes["size"])
    assert list(shapes(recording, turned["event"].iloc[0], of=1).values()) == [given["q"], given["k"]]


@pytest.mark.parametrize("step", range(NEW_TOKENS))
def test_the_cache_is_updated_in_each_layer(recording, sizes, step):
    updates = rows(recording, "update", step)
    assert len(updates) >= sizes["layers"]  # of the cache; since 4.54 of its layers too
    assert len(updates) % sizes["layers"] == 0
    new = PROMPT.shape[1] if step == 0 else 1
    for event in updates["event"]:
        assert shapes(recording, event)["key_states"] == (1, sizes["pairs"], new, sizes["size"])
        grown = (1, sizes["pairs"], PROMPT.shape[1] + step, sizes["size"])
        assert list(shapes(recording, event, of=1).values()) == [grown, grown]


@pytest.mark.parametrize("step", range(NEW_TOKENS))
def test_every_logits_processor_then_softmax_and_the_draw(recording, sizes, step):
    calls = recording.calls()
    own = calls[calls["step"] == step]
    ran = own["function"].str.removesuffix(".__call__")
    processors = [name for name in ran if name.endswith(("LogitsProcessor", "LogitsWarper"))]
    assert [name for name in processors if "MinNewTokens" not in name and "MinLength" not in name] == [
        "RepetitionPenaltyLogitsProcessor", "TemperatureLogitsWarper", "TopKLogitsWarper", "TopPLogitsWarper",
    ]  # fmt: skip
    scores = (1, sizes["vocabulary"])
    for event in own.loc[own["function"].str.contains("Logits"), "event"]:
        assert shapes(recording, event)["scores"] == scores
        assert list(shapes(recording, event, of=1).values()) == [scores]
    softmax = calls_of(recording, "smp.softmax", step=step)
    assert [call.inputs["input"].shape for call in softmax] == [scores]
    assert softmax[0].arguments["dim"] == -1
    draw = calls_of(recording, "smp.multinomial", step=step)
    assert [call.inputs["input"].shape for call in draw] == [scores]
    assert calls_of(recording, "smp.argmax", step=step) == []


def attention_of_the_readers_own(module, query, key, value, attention_mask, scaling=None, **_):
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, attention_mask, scale=scaling)
    return mixed.transpose(1, 2).contiguous(), None


@pytest.mark.skipif(
    not hasattr(getattr(transformers, "AttentionInterface", None), "get_interface"),
    reason="before 5.1 no function gives a model its attention function",
)
@pytest.mark.parametrize("zoom", ["functions", "calls"])
def test_an_attention_function_of_the_readers_own_is_seen(tiny_checkpoint, sizes, zoom):
    transformers.AttentionInterface.register("readers_own", attention_of_the_readers_own)
    transformers.AttentionMaskInterface.register("readers_own", transformers.masking_utils.sdpa_mask)
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, attn_implementation="readers_own")
    recording = recorded(model, zoom, "modules", do_sample=False)
    for step in range(NEW_TOKENS):
        own = rows(recording, "attention_of_the_readers_own", step)
        assert len(own) == sizes["layers"]
        new, seen = (PROMPT.shape[1], PROMPT.shape[1]) if step == 0 else (1, PROMPT.shape[1] + step)
        for event in own["event"]:
            given = shapes(recording, event)
            assert given["query"] == (1, sizes["heads"], new, sizes["size"])
            assert given["key"] == (1, sizes["pairs"], seen, sizes["size"])


def test_greedy_takes_the_argmax_and_draws_nothing(model, sizes):
    recording = recorded(model, "functions", do_sample=False)
    for step in range(NEW_TOKENS):
        (taken,) = calls_of(recording, "smp.argmax", step=step)
        assert [spec.shape for spec in taken.inputs.values()] == [(1, sizes["vocabulary"])]
        assert calls_of(recording, "smp.multinomial", step=step) == calls_of(recording, "smp.softmax", step=step) == []


def test_the_zoom_calls_sees_every_library_of_the_call_path(tiny_checkpoint, tmp_path):
    """Their Python side: what the call path itself calls in them, and what a program asks of them."""
    with record("calls") as recording:
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
        AutoTokenizer.from_pretrained(tiny_checkpoint)
        cpu_offload(model)
        save_file({"weight": torch.zeros(2)}, tmp_path / "one.safetensors")
        load_file(tmp_path / "one.safetensors")
        ByteLevelBPETokenizer()
        build_hf_headers(token=False)
    calls = recording.calls()
    ran = calls.groupby(calls["location"].str.partition("/")[0])["function"].agg(set)
    assert "from_pretrained" in " ".join(ran["transformers"])
    assert {"cpu_offload", "add_hook_to_module"} <= ran["accelerate"]
    assert {"save_file", "load_file"} <= ran["safetensors"]
    assert "ByteLevelBPETokenizer.__init__" in ran["tokenizers"]
    assert "build_hf_headers" in ran["huggingface_hub"]
