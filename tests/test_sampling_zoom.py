"""The zoom "sampling": the chain of logits processors as it ran inside generate(), stage by stage."""

import math
from functools import partial

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor, LogitsProcessorList

from helpers import compat, record, sampling
from helpers.distribution import SamplingSettings
from helpers.events import RecordingError
from helpers.recording.recording import Recording

NEW_TOKENS, PROMPT = 6, "hello there"
SETTINGS = {"do_sample": True, "temperature": 0.7, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1}


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint, **compat.dtype_argument(torch.float32))


def generate(model, tokenizer, prompts=PROMPT, **settings):
    torch.manual_seed(0)
    inputs = tokenizer(prompts, return_tensors="pt")
    return model.generate(**inputs, max_new_tokens=NEW_TOKENS, **(settings or SETTINGS))


@pytest.fixture(scope="module")
def sampled(model, tokenizer) -> tuple[Recording, torch.Tensor]:
    with record("sampling", steps=2) as recording:
        tokens = generate(model, tokenizer)
    return recording, tokens


def new_tokens(tokens: torch.Tensor, tokenizer) -> list[int]:
    return tokens[0, len(tokenizer(PROMPT)["input_ids"]) :].tolist()


def test_each_stage_equals_the_distribution_of_the_same_prompt_and_settings(sampled, model, tokenizer):
    recording, tokens = sampled
    length = len(tokenizer(PROMPT)["input_ids"])
    for step in range(NEW_TOKENS):
        logits = sampling.next_token_logits(model, tokenizer, tokens[0, : length + step].tolist())
        expected = sampling.distribution(logits, SamplingSettings(**SETTINGS), model)
        stages = (expected.start, *expected.stages)
        table = recording.sampling(step)
        assert list(table["processor"]) == [stage.processor for stage in stages]
        assert list(table["kept"]) == [stage.kept for stage in stages]
        assert list(table["entropy_bits"]) == pytest.approx([stage.entropy for stage in stages], rel=1e-4)
        assert list(table["p_top"]) == pytest.approx([stage.top_probability for stage in stages], rel=1e-4)
        for after, stage in zip(table["after"], stages, strict=True):
            ids, probabilities = zip(*after, strict=True)
            assert len(ids) == min(8, stage.kept)
            assert ids[0] == stage.top_id
            assert list(probabilities) == pytest.approx(stage.probabilities[list(ids)].tolist(), rel=1e-4)
            assert list(probabilities) == sorted(probabilities, reverse=True)


def test_the_token_is_the_one_that_generate_gave_also_in_summarised_steps(sampled, tokenizer):
    recording, tokens = sampled
    table = recording.sampling()
    last = table.groupby("step").tail(1)
    assert list(last["token"]) == new_tokens(tokens, tokenizer)
    assert set(last["chosen_by"]) == {"multinomial"}
    assert table["token"].notna().sum() == NEW_TOKENS
    assert list(recording.steps()["kept"]) == [True] * 2 + [False] * (NEW_TOKENS - 2)


def test_before_is_what_the_stage_before_gave(sampled):
    table = sampled[0].sampling(3)
    assert table["before"].iloc[0] == ()
    assert list(table["before"].iloc[1:]) == list(table["after"].iloc[:-1])
    assert list(table["position"]) == list(range(len(table)))


def test_parameters_are_the_numbers_of_the_processor(sampled):
    parameters = {row.processor: dict(row.parameters) for row in sampled[0].samples}
    assert parameters["raw logits"] == {}
    assert parameters["TemperatureLogitsWarper"] == {"temperature": 0.7}
    top_k = parameters["TopKLogitsWarper"]
    assert top_k["top_k"] == 40
    assert top_k["filter_value"] == "-inf"  # JSON has no infinity


def test_greedy(model, tokenizer):
    with record("sampling") as recording:
        tokens = generate(model, tokenizer, do_sample=False)
    table = recording.sampling()
    assert list(table["processor"]) == ["raw logits"] * NEW_TOKENS
    assert list(table["token"]) == new_tokens(tokens, tokenizer) == [after[0][0] for after in table["after"]]
    assert set(table["chosen_by"]) == {"argmax"}


class OnlyEven(LogitsProcessor):
    """Removes the odd ids, in the scores that it is given: a stage must have been read before the next one writes."""

    def __init__(self):
        self.divisor = 2
        self.token = 17  # named as a secret is, and never shown
        self._hidden = 3

    @torch.no_grad()
    def __call__(self, input_ids, scores):
        scores[:, 1 :: self.divisor] = -math.inf
        return scores


def plain_function(input_ids, scores):
    return scores / 2


class InnerList(LogitsProcessorList):
    """The library calls processors with two arguments, its own list class takes more."""

    def __call__(self, input_ids, scores):
        return super().__call__(input_ids, scores)


def own_processors(*processors):
    return LogitsProcessorList(processors)


def rows_of(recording, step):
    return [row for row in recording.samples if row.step == step]


def test_processors_of_the_readers_own_are_seen(model, tokenizer):
    own = own_processors(OnlyEven(), plain_function, OnlyEven())
    with record("sampling") as recording:
        generate(model, tokenizer, do_sample=False, logits_processor=own)
    rows = rows_of(recording, 4)
    assert [row.processor for row in rows] == ["raw logits", "OnlyEven", "plain_function", "OnlyEven"]
    vocabulary = model.config.vocab_size
    assert [row.kept for row in rows] == [vocabulary, vocabulary // 2, vocabulary // 2, vocabulary // 2]
    assert rows[1].parameters == (("divisor", 2),)
    assert rows[2].entropy > rows[1].entropy
    assert rows[3].top == rows[2].top
    assert rows[3].token % 2 == 0
    assert recording.warnings == []


def test_a_processor_that_is_no_python_code_is_seen_by_what_the_next_one_gets(model, tokenizer):
    own = own_processors(partial(plain_function), partial(plain_function), OnlyEven(), partial(plain_function))
    with record("sampling") as recording:
        generate(model, tokenizer, do_sample=False, logits_processor=own)
    table = recording.sampling(1)
    assert list(table["processor"]) == ["raw logits", "partial", "partial", "OnlyEven", "partial"]
    assert list(table["kept"].isna()) == [False, True, False, True, False]
    assert table["entropy_bits"].iloc[2] > table["entropy_bits"].iloc[0]
    assert table["kept"].iloc[4] == model.config.vocab_size // 2
    assert table["token"].notna().iloc[4]


def test_a_processor_that_calls_another_one_is_a_stage_of_its_own(model, tokenizer):
    def twice(input_ids, scores):
        return plain_function(input_ids, plain_function(input_ids, scores))

    with record("sampling") as recording:
        generate(model, tokenizer, do_sample=False, logits_processor=own_processors(twice, plain_function))
    raw, quarter, eighth = (math.log(row.top[0][1] / row.top[-1][1]) for row in rows_of(recording, 1))
    assert quarter == pytest.approx(raw / 4, rel=1e-3)
    assert eighth == pytest.approx(raw / 8, rel=1e-3)
    assert recording.warnings == []


def test_a_list_that_is_called_outside_generate_is_no_chain_of_a_step():
    with record("sampling") as recording:
        own_processors(plain_function)(torch.tensor([[1]]), torch.zeros(1, 4))
    assert recording.samples == []


def test_a_list_inside_a_list_is_a_stage(model, tokenizer):
    own = own_processors(OnlyEven(), InnerList([plain_function, plain_function]))
    with record("sampling") as recording:
        generate(model, tokenizer, do_sample=False, logits_processor=own)
    table = recording.sampling(2)
    assert list(table["processor"]) == ["raw logits", "OnlyEven", "InnerList"]
    assert table["entropy_bits"].iloc[2] > table["entropy_bits"].iloc[1]
    assert table["token"].notna().iloc[2]


def test_scores_without_a_softmax_have_no_entropy(model, tokenizer):
    def broken(input_ids, scores):
        return scores.index_fill(1, torch.tensor([3]), math.nan)

    with record("sampling") as recording:
        generate(model, tokenizer, do_sample=False, logits_processor=own_processors(broken))
    last = recording.sampling(0).iloc[-1]
    assert last["kept"] == model.config.vocab_size - 1
    assert last[["entropy_bits", "p_top"]].isna().all()
    assert last["after"] == ()


def test_what_ran_before_an_exception_is_kept(model, tokenizer):
    def fails(input_ids, scores):
        raise ValueError("no")

    with record("sampling") as recording, pytest.raises(ValueError, match="no"):
        generate(model, tokenizer, do_sample=False, logits_processor=own_processors(OnlyEven(), fails))
    assert [row.processor for row in recording.samples] == ["raw logits", "OnlyEven"]
    assert {row.token for row in recording.samples} == {None}
    with record("sampling") as first, pytest.raises(ValueError, match="no"):
        generate(model, tokenizer, do_sample=False, logits_processor=own_processors(partial(fails)))
    assert [row.processor for row in first.samples] == ["raw logits"]
    with record("sampling") as again:
        generate(model, tokenizer)
    assert len(again.sampling(0)) > 1


def test_of_a_batch_the_first_sequence_is_measured(model, tokenizer):
    ids = tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    both = torch.cat([ids, ids.flip(1)])
    with record("sampling") as recording:
        tokens = model.generate(
            both, attention_mask=torch.ones_like(both), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
            do_sample=False,
        )  # fmt: skip
    last = recording.sampling().groupby("step").tail(1)
    assert set(last["sequences"]) == {2}
    assert list(last["token"]) == tokens[0, ids.shape[1] :].tolist()
    assert list(last["token"]) != tokens[1, ids.shape[1] :].tolist()


def test_beam_search_has_scores_but_not_one_token_per_chain(model, tokenizer):
    def fails(input_ids, scores):
        raise ValueError("no")

    with record("sampling") as recording:
        with pytest.raises(ValueError, match="no"):  # what waited for its token does not wait in the next generation
            generate(model, tokenizer, do_sample=False, logits_processor=own_processors(fails))
        generate(model, tokenizer, do_sample=False, num_beams=3)
    table = recording.sampling(generation=1)
    assert set(table["sequences"]) == {3}
    assert table["token"].isna().all()
    assert table["chosen_by"].isna().all()


def test_scores_of_an_unknown_form_are_a_warning_and_leave_the_run_alone(model, tokenizer):
    def with_secret(input_ids, scores):
        return Unreadable(scores)

    class Unreadable(torch.Tensor):
        @property
        def ndim(self):
            raise RuntimeError("hf_abcdefghijklmnop")

    with record("sampling") as recording:
        tokens = generate(model, tokenizer, do_sample=False, logits_processor=own_processors(with_secret))
    assert torch.equal(tokens.as_subclass(torch.Tensor), generate(model, tokenizer, do_sample=False))
    assert "sampling: chain ends not observed (RuntimeError: <redacted>)" in recording.warnings
    assert all(warning.endswith("not observed (RuntimeError: <redacted>)") for warning in recording.warnings)


def test_two_generations_are_told_apart(model, tokenizer):
    with record("sampling") as recording:
        generate(model, tokenizer, do_sample=False)
        generate(model, tokenizer)
    assert set(recording.sampling(generation=0)["chosen_by"].dropna()) == {"argmax"}
    assert set(recording.sampling(0, generation=1)["chosen_by"].dropna()) == {"multinomial"}
    with pytest.raises(RecordingError, match="no generation 2: give one of 0, 1"):
        recording.sampling(generation=2)


@pytest.mark.parametrize("zoom", [("sampling",), ("sampling", "calls"), ("sampling", "functions", "modules")])
def test_the_run_is_bit_identical_and_the_zooms_do_not_disturb_each_other(model, tokenizer, zoom, sampled):
    arguments = {**SETTINGS, "return_dict_in_generate": True, "output_logits": True, "output_scores": True}
    plain = generate(model, tokenizer, **arguments)
    after_plain = torch.random.get_rng_state()
    with record(*zoom, steps=2) as recording:
        traced = generate(model, tokenizer, **arguments)
    assert torch.equal(torch.random.get_rng_state(), after_plain)
    assert torch.equal(plain.sequences, traced.sequences)
    for kind in ("logits", "scores"):
        assert all(map(torch.equal, getattr(plain, kind), getattr(traced, kind)))
    assert recording.samples == sampled[0].samples
    if zoom != ("sampling",):
        assert "TopPLogitsWarper.__call__" in set(recording.calls()["function"])


def test_without_the_zoom_it_says_how_to_record_it(model, tokenizer):
    with record() as recording:
        generate(model, tokenizer)
    assert recording.samples == []
    with pytest.raises(RecordingError, match=r'record\("sampling"\)'):
        recording.sampling(0)


def test_steps_that_there_are_not(sampled):
    with pytest.raises(RecordingError, match="in the steps 0 to 5"):
        sampled[0].sampling(6)
    with record("sampling") as empty:
        pass
    with pytest.raises(RecordingError, match=r"put generate\(\) inside"):
        empty.sampling(0)


def test_it_survives_a_round_trip(sampled, tmp_path):
    loaded = Recording.load(sampled[0].save(tmp_path / "run.json.gz"))
    assert loaded.samples == sampled[0].samples
    assert loaded == sampled[0]
    assert loaded.sampling(2).equals(sampled[0].sampling(2))


def test_padding_after_the_end_of_a_sequence_was_not_chosen(model, tokenizer):
    ids = torch.tensor([[5, 6], [7, 8]])
    first = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=1)
    end = int(first[0, -1])
    with record("sampling", steps=None) as recording:
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=3, eos_token_id=end,
            pad_token_id=0, repetition_penalty=1.1,
        )  # fmt: skip
    tokens = recording.sampling().groupby("step")["token"].max()
    assert len(tokens) > 1, "the second sequence went on"
    assert tokens.iloc[0] == end
    assert tokens.iloc[1:].isna().all()
