"""Generation steps in every way of decoding, and what could not be seen, said loudly."""

import warnings

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.recording.recording import Recording
from tests.generations import NEW_TOKENS, PROMPT, recorded

IS_5 = transformers.__version__.startswith("5")


@pytest.fixture
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


# every way of decoding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"do_sample": True}, {"num_beams": 2}, {"cache_implementation": "static"}, {"use_cache": False}],
    ids=["greedy", "sampling", "beams", "static cache", "no cache"],
)
def test_one_step_per_new_token_and_no_false_alarm(model, settings):
    recording, result = recorded(model, **settings)
    steps = recording.steps()
    assert recording.warnings == []
    assert len(steps) == result.shape[1] - PROMPT.shape[1] == NEW_TOKENS
    assert list(steps["tokens"]) == [1] * NEW_TOKENS
    modules = recording.modules()
    assert {int((modules["step"] == step).sum()) for step in range(NEW_TOKENS)} == {len(modules) // NEW_TOKENS}


@pytest.mark.skipif(not hasattr(transformers, "ContinuousBatchingConfig"), reason="continuous batching is another")
@pytest.mark.parametrize("zoom", [(), ("calls", "modules")])
def test_continuous_batching_is_said_to_have_no_steps(model, zoom):
    greedy = transformers.GenerationConfig(max_new_tokens=12, do_sample=False, eos_token_id=-1, pad_token_id=0)
    small = transformers.ContinuousBatchingConfig(num_blocks=8, max_batch_tokens=32)  # else all memory that is free

    def generated() -> list[list[int]]:
        results = model.generate_batch(PROMPT.tolist(), greedy, small, progress_bar=False)
        return [result.generated_tokens for result in results.values()]

    plain = generated()
    with pytest.warns(UserWarning, match="Continuous batching .* ran 12 batches"), record(*zoom) as recording:
        assert generated() == plain
    assert [len(tokens) for tokens in plain] == [12]
    assert len(recording.warnings) == 1
    assert (recording.modules()["path"] == "lm_head").sum() == 12
    assert len(recording.steps()) == 0


def test_assisted_decoding_takes_several_tokens_in_a_step(model, tiny_checkpoint):
    model.generation_config.eos_token_id = None  # in place of min_new_tokens, which 4.57 refuses here
    assistant = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    recording, result = recorded(model, assistant_model=assistant, min_new_tokens=None)
    steps = recording.steps()
    assert recording.warnings == []
    assert steps["tokens"].sum() == result.shape[1] - PROMPT.shape[1] == NEW_TOKENS
    assert len(steps) < NEW_TOKENS  # the assistant is the same model, so its guesses are right
    assert set(steps["generation"]) == {0}
    modules = recording.modules()
    assert modules["step"].notna().all()
    for step in steps["step"]:  # first the assistant drafts, then the model verifies, in one call
        models = modules["model"][modules["step"] == step].tolist()
        assert models == sorted(models)
        assert (modules.query(f"model == 1 and step == {step}")["path"] == "").sum() == 1


def test_prompt_lookup(model):
    recording, result = recorded(model, prompt_lookup_num_tokens=3)
    assert recording.warnings == []
    assert recording.steps()["tokens"].sum() == result.shape[1] - PROMPT.shape[1]


def test_summarised_steps_are_no_gap(model):
    recording, _ = recorded(model, steps=1)
    assert recording.warnings == []
    assert list(recording.steps()["tokens"]) == [1] * NEW_TOKENS


def test_a_generation_from_embeddings(model):
    embeddings = model.get_input_embeddings()(PROMPT).detach()
    with record(steps=None) as recording:
        result = model.generate(
            inputs_embeds=embeddings, attention_mask=torch.ones_like(PROMPT), max_new_tokens=3, min_new_tokens=3
        )
    assert recording.warnings == []
    assert recording.steps()["tokens"].sum() == result.shape[1] == 3


def test_what_runs_after_a_generation_is_in_no_step_and_kept_though_its_last_steps_were_not(model):
    with record(steps=1) as recording:
        model.generate(PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=2, min_new_tokens=2)
        model(PROMPT)
    whole = recording.modules().query("path == ''")
    assert list(whole["step"].isna()) == list(whole["generation"].isna()) == [False, True]


def test_a_recording_that_ends_within_a_generation_has_the_step_that_ran(model):
    class Ends(transformers.LogitsProcessor):
        def __call__(self, input_ids, scores):
            if input_ids.shape[1] == PROMPT.shape[1] + 1:
                recorder.__exit__(None, None, None)
            return scores

    recorder = record()
    recording = recorder.__enter__()
    model.generate(
        PROMPT, attention_mask=torch.ones_like(PROMPT), max_new_tokens=3, min_new_tokens=3,
        logits_processor=transformers.LogitsProcessorList([Ends()]),
    )  # fmt: skip
    assert list(recording.steps()["step"]) == [0, 1]


# what could not be seen ----------------------------------------------------------------------------------------------


def own_loop(model, input_ids, **settings):
    """A decoding loop of the reader's own, which asks none of the functions by which steps are told."""
    for _ in range(NEW_TOKENS):
        with torch.no_grad():
            token = model(input_ids).logits[:, -1].argmax(dim=-1, keepdim=True)
        input_ids = torch.cat([input_ids, token], dim=-1)
    return input_ids


@pytest.mark.skipif(not IS_5, reason="generate(custom_generate=function) is of 5.x")
def test_a_loop_that_is_not_known_is_told_loudly(model):
    with pytest.warns(UserWarning, match=f"gave {NEW_TOKENS} new tokens, but 0 generation steps with 0 tokens"):
        recording, result = recorded(model, custom_generate=own_loop)
    assert result.shape[1] == PROMPT.shape[1] + NEW_TOKENS
    (warning,) = recording.warnings
    assert warning in recording._repr_html_()
    assert "1 warning" in repr(recording)


def test_a_warning_survives_a_round_trip(model, tmp_path):
    with record() as recording:
        pass
    recording.warnings = ["what was not seen"]
    assert Recording.load(recording.save(tmp_path / "run.json.gz")).warnings == ["what was not seen"]


def compiled(model):
    model.compile(backend="eager")
    return model


def compiled_forward(model):
    model.forward = torch.compile(model.forward, backend="eager")
    return model


@pytest.mark.slow
@pytest.mark.parametrize("compile_it", [compiled, compiled_forward])
def test_a_compiled_model_is_told_loudly(model, compile_it):
    compile_it(model)
    with pytest.warns(UserWarning, match=r"In step 0-5 of generation 0 no module inside the model.*is compiled"):
        recording, result = recorded(model)
    assert len(recording.steps()) == result.shape[1] - PROMPT.shape[1]
    assert len(recording.warnings) == 1


COARSE = pytest.mark.parametrize("zoom", [("landmarks",), ("functions",), ("calls",)], ids=lambda zoom: zoom[0])


@COARSE
def test_without_modules_nothing_is_said_of_what_is_not_compiled(model, zoom):
    recording, _ = recorded(model, zoom=zoom, cache_implementation="static")
    assert recording.warnings == []


def test_another_architecture_without_modules_is_no_alarm():
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, vocab_size=50, n_positions=32)
    settings = {"pad_token_id": 0, "eos_token_id": 1}
    recording, _ = recorded(transformers.GPT2LMHeadModel(config).eval(), zoom=("landmarks",), **settings)
    assert recording.warnings == []


@pytest.mark.slow
@COARSE
@pytest.mark.parametrize("compile_it", [compiled, compiled_forward])
def test_a_compiled_model_is_told_loudly_without_modules_too(model, compile_it, zoom):
    compile_it(model)
    with pytest.warns(
        UserWarning, match=r"In step 0-5 of generation 0 nothing inside the forward pass was seen.*compiled"
    ):
        recording, result = recorded(model, zoom=zoom)
    assert len(recording.steps()) == result.shape[1] - PROMPT.shape[1]
    assert len(recording.warnings) == 1


@pytest.mark.slow
def test_the_remedy_of_the_warning_works(model):
    compiled(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.compiler.set_stance("force_eager"):
            recording, _ = recorded(model)
    plain, _ = recorded(model.__class__(model.config).eval())
    # the compiled model's own name stands before those of its modules, and its modules are all there
    assert len(recording.modules(step=1)) >= len(plain.modules(step=1))


@pytest.mark.slow
def test_a_model_of_which_one_layer_is_compiled(model):
    model.model.layers[1].compile(backend="eager")
    with pytest.warns(UserWarning, match=r"calls inside 'model.layers.1' are missing"):
        recording, _ = recorded(model)
    paths = set(recording.modules(step=1)["path"])
    assert "model.layers.0.mlp" in paths
    assert "model.layers.1.mlp" not in paths


def first_layer(model):
    model.model.layers[0].compile(backend="eager")


def every_layer(model):
    for layer in model.model.layers:
        layer.compile(backend="eager")


@pytest.mark.slow
@COARSE
@pytest.mark.parametrize("compile_it", [first_layer, every_layer])
def test_layers_compiled_one_by_one_are_told_without_modules_too(model, compile_it, zoom):
    compile_it(model)
    with pytest.warns(UserWarning, match=r"calls inside 'model.layers.0'.* are missing"):
        recording, _ = recorded(model, zoom=zoom)
    assert len(recording.warnings) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.compiler.set_stance("force_eager"):
            recorded(model, zoom=zoom)


@pytest.mark.slow
@pytest.mark.skipif(not IS_5, reason="before, generate() compiles for CUDA alone")
def test_a_static_cache_that_generate_compiles_by_itself(model):
    settings = transformers.CompileConfig(backend="eager", mode=None)
    settings._compile_all_devices = True  # as on a GPU
    with pytest.warns(UserWarning, match=r"In step 1-5 of generation 0 no module inside the model"):
        recorded(model, cache_implementation="static", compile_config=settings)
    with pytest.warns(UserWarning, match=r"In step 1-5 of generation 0 nothing inside the forward pass was seen"):
        recorded(model, zoom=("landmarks",), cache_implementation="static", compile_config=settings)
    recording, _ = recorded(
        model, cache_implementation="static", compile_config=settings, disable_compile=True, steps=None
    )
    assert recording.warnings == []


@pytest.mark.slow
def test_torch_compile_of_the_whole_object_leaves_generate_eager_and_is_no_alarm(model):
    """torch.compile(model).generate is the plain model's."""
    recording, _ = recorded(torch.compile(model, backend="eager"))
    assert recording.warnings == []
    assert len(recording.modules(step=1)) > 10


@pytest.mark.skipif(
    not hasattr(transformers.GenerationConfig(), "prefill_chunk_size"), reason="this version prefills in one piece"
)
def test_a_prefill_in_chunks_adds_one_token(model):
    # 5.0 asks for a cache before it makes one of its own
    recording, result = recorded(model, prefill_chunk_size=3, past_key_values=transformers.DynamicCache())
    assert recording.warnings == []
    assert list(recording.steps()["tokens"]) == [1] * (result.shape[1] - PROMPT.shape[1])
