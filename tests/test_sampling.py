"""The chain of helpers.sampling is the library's: equal to generate() bit for bit, refused in its words."""

import itertools
import logging
import warnings

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from helpers import sampling
from helpers.distribution import KEPT, NEVER_POSSIBLE
from helpers.sampling import NextTokenLogits, SamplingError, SamplingSettings

PROMPTS = ("The capital of France is", "Once upon a time, there was a", "a a a a b a a a a b a a a")
SETTINGS = [
    SamplingSettings(),
    SamplingSettings(repetition_penalty=1.3, no_repeat_ngram_size=2),
    SamplingSettings(do_sample=True),
    SamplingSettings(do_sample=True, temperature=0.7, top_k=40, top_p=0.95, repetition_penalty=1.1),
    SamplingSettings(do_sample=True, temperature=1, top_p=0.0),
    *(
        SamplingSettings(do_sample=True, temperature=temperature, top_k=0, **{name: value})
        for temperature, (name, value) in itertools.product(
            (0.5, 1.0, 2.0),
            (
                ("top_p", 0.6),
                ("min_p", 0.05),
                ("typical_p", 0.8),
                ("epsilon_cutoff", 0.001),
                ("eta_cutoff", 0.002),
                ("repetition_penalty", 0.8),
                ("no_repeat_ngram_size", 3),
            ),
        )
    ),
    SamplingSettings(
        do_sample=True,
        temperature=1.5,
        top_k=30,
        top_p=0.9,
        min_p=0.02,
        typical_p=0.9,
        epsilon_cutoff=0.001,
        eta_cutoff=0.001,
        repetition_penalty=1.2,
        no_repeat_ngram_size=2,
    ),
]


def _generated(model, input_ids, settings, seed=0):
    ids = torch.tensor([list(input_ids)])
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            pad_token_id=0,
            max_new_tokens=1,
            output_scores=True,
            output_logits=True,
            return_dict_in_generate=True,
            **settings.arguments(),
        )


def _by_hand(logits, input_ids=(0,)):
    logits = np.asarray(logits, dtype=np.float32)
    return NextTokenLogits(tuple(input_ids), logits, tuple(f"t{i}" for i in range(len(logits))))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_logits_scores_and_draw_equal_generate(pair, prompt):
    model, tokenizer = pair
    logits = sampling.next_token_logits(model, tokenizer, prompt)
    assert list(logits.input_ids) == tokenizer(prompt)["input_ids"]
    assert logits.logits.dtype == np.float32
    assert logits.logits.shape == (model.config.vocab_size,)
    for seed, settings in enumerate(SETTINGS):
        library = _generated(model, logits.input_ids, settings, seed)
        ours = sampling.distribution(logits, settings, model)
        assert np.array_equal(library.logits[0][0].numpy(), logits.logits)
        assert np.array_equal(library.scores[0][0].numpy(), ours.final.scores), settings
        assert np.array_equal(torch.softmax(library.scores[0][0], -1).numpy(), ours.probabilities), settings
        assert library.sequences[0, -1].item() == ours.draw(seed)[0], settings


def test_the_forward_pass_leaves_the_random_state_and_the_checkpoints_settings_alone(tiny_pair, monkeypatch):
    model, tokenizer = tiny_pair
    plain = sampling.next_token_logits(model, tokenizer, "a b c")
    own = GenerationConfig(do_sample=True, temperature=0.6, num_beams=3, eos_token_id=[3, 4])
    monkeypatch.setattr(model, "generation_config", own)
    before, state = own.to_dict(), torch.get_rng_state()
    again = sampling.next_token_logits(model, tokenizer, "a b c")
    assert np.array_equal(again.logits, plain.logits)
    assert torch.equal(torch.get_rng_state(), state)
    assert own.to_dict() == before


def test_top_h_equals_generate_where_it_exists(tiny_pair):
    if "top_h" not in sampling.parameter_names():
        pytest.skip("the installed transformers has no top_h")
    model, tokenizer = tiny_pair
    logits = sampling.next_token_logits(model, tokenizer, PROMPTS[0])
    settings = SamplingSettings(do_sample=True, top_h=0.4)
    ours = sampling.distribution(logits, settings, model)
    assert [stage.processor for stage in ours.stages] == ["TopHLogitsWarper", "TopKLogitsWarper"]
    assert np.array_equal(_generated(model, logits.input_ids, settings).scores[0][0].numpy(), ours.final.scores)


def test_the_demo_model_says_paris(demo_pair):
    model, tokenizer = demo_pair
    logits = sampling.next_token_logits(model, tokenizer, PROMPTS[0])
    greedy = sampling.distribution(logits, SamplingSettings(), model)
    assert logits.token(greedy.greedy_id) == "␣Paris"
    assert greedy.stages == ()


def test_installed_defaults_are_what_an_empty_call_does(tiny_pair):
    model, tokenizer = tiny_pair
    defaults = sampling.installed_defaults(model)
    assert (defaults.do_sample, defaults.temperature, defaults.top_k, defaults.top_p) == (False, 1.0, 50, 1.0)
    logits = sampling.next_token_logits(model, tokenizer, "a b c")
    sampled = sampling.distribution(logits, SamplingSettings(do_sample=True), model)
    assert [stage.label() for stage in sampled.stages] == ["TopKLogitsWarper(top_k=50)"]
    assert sampled.final.kept == 50
    assert sampled.effective.top_k == 50
    assert sampled.settings.top_k is None


def test_the_checkpoints_own_generation_config_counts(tiny_pair, monkeypatch):
    model, tokenizer = tiny_pair
    monkeypatch.setattr(model, "generation_config", GenerationConfig(do_sample=True, temperature=0.6, top_k=7))
    assert sampling.installed_defaults(model).temperature == 0.6
    logits = sampling.next_token_logits(model, tokenizer, "a b c")
    assert sampling.distribution(logits, SamplingSettings(), model).final.kept == 7


def test_stage_numbers_are_those_of_a_distribution_computed_by_hand(tiny_pair):
    model, _ = tiny_pair
    given = _by_hand(np.log([0.5, 0.25, 0.125, 0.0625, 0.0625]))
    settings = SamplingSettings(do_sample=True, top_k=4, top_p=0.7)
    result = sampling.distribution(given, settings, model)
    top_k, top_p = result.stages
    assert (result.start.kept, result.start.entropy) == (5, pytest.approx(1.875))
    assert (top_k.kept, top_k.changed, list(top_k.removed_ids)) == (
        5,
        False,
        [],
    )  # a tie with the fourth stays
    assert (top_p.kept, list(top_p.removed_ids)) == (2, [2, 3, 4])
    assert top_p.top_probability == pytest.approx(2 / 3)
    assert top_p.entropy == pytest.approx(np.log2(3) - 2 / 3)
    assert list(result.removed_by) == [KEPT, KEPT, 1, 1, 1]
    assert result.removed_by_name(4) == "TopPLogitsWarper"
    assert result.removed_by_name(0) == ""
    assert result.probabilities.sum() == pytest.approx(1)


def test_repetition_penalty_rescores_the_distinct_prompt_tokens_only(tiny_pair):
    model, _ = tiny_pair
    given = _by_hand([2.0, -2.0, 1.0, 0.0], input_ids=(0, 0, 1))
    result = sampling.distribution(given, SamplingSettings(repetition_penalty=2.0), model)
    assert list(result.final.scores) == [1.0, -4.0, 1.0, 0.0]
    assert result.stages[0].rescored == 2
    assert result.greedy_id == 0  # equal scores: the lowest id, as torch.argmax


def test_a_processor_of_ones_own_stands_where_the_library_puts_it(tiny_pair):
    from transformers import LogitsProcessor, TemperatureLogitsWarper

    class Bring(LogitsProcessor):
        """Removes every token but one, writing into what it was given."""

        def __call__(self, input_ids, scores):
            scores[:, 1:] = float("-inf")
            return scores

    model, _ = tiny_pair
    given = _by_hand([1.0, 2.0, 3.0])
    settings = SamplingSettings(do_sample=True, temperature=0.5)
    result = sampling.distribution(given, settings, model, [Bring(), TemperatureLogitsWarper(0.5)])
    names = [stage.processor for stage in result.stages]
    assert names == ["Bring", "TemperatureLogitsWarper", "TemperatureLogitsWarper", "TopKLogitsWarper"]
    assert list(result.stages[0].removed_ids) == [1, 2]
    assert result.final.scores[0] == 4.0  # divided twice
    assert list(given.logits) == [1.0, 2.0, 3.0]


def test_a_token_that_comes_back_counts_as_kept(tiny_pair):
    from transformers import LogitsProcessor

    class Remove(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return scores.masked_fill(torch.tensor([[False, True]]), float("-inf"))

    class Restore(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return torch.zeros_like(scores)

    result = sampling.distribution(_by_hand([1.0, 1.0]), SamplingSettings(), tiny_pair[0], [Remove(), Restore()])
    assert list(result.removed_by) == [KEPT, KEPT]
    assert [stage.kept for stage in result.stages] == [1, 2]


REFUSED = [
    {"temperature": 0.0},
    {"temperature": 2},
    {"top_k": -1},
    {"top_p": -0.1},
    {"min_p": 2.0},
    {"typical_p": 0.0},
    {"repetition_penalty": 0.0},
    {"top_p": "0.9"},
]


@pytest.mark.parametrize("values", REFUSED, ids=str)
def test_what_generate_refuses_is_refused_in_the_same_words(tiny_pair, values):
    model, tokenizer = tiny_pair
    logits = sampling.next_token_logits(model, tokenizer, "a b c")
    settings = SamplingSettings(do_sample=True, **values)
    with pytest.raises((ValueError, TypeError)) as from_library:
        _generated(model, logits.input_ids, settings)
    with pytest.raises(SamplingError) as from_us:
        sampling.distribution(logits, settings, model)
    assert str(from_us.value) == str(from_library.value)


def test_a_parameter_unknown_to_the_library_is_refused_in_its_words(tiny_pair):
    if "top_h" in sampling.parameter_names():
        pytest.skip("the installed transformers knows every parameter of SamplingSettings")
    with pytest.raises(SamplingError, match=r"model_kwargs.*top_h"):
        sampling.distribution(_by_hand([1.0, 2.0]), SamplingSettings(top_h=0.5), tiny_pair[0])


def test_beam_search_of_the_checkpoint_is_named(tiny_pair, monkeypatch):
    monkeypatch.setattr(tiny_pair[0], "generation_config", GenerationConfig(num_beams=3))
    with pytest.raises(SamplingError, match=r"beam_search.*num_beams = 1"):
        sampling.distribution(_by_hand([1.0, 2.0]), SamplingSettings(), tiny_pair[0])


def test_without_do_sample_the_warpers_are_absent_and_the_library_says_so(tiny_pair, capfd):
    model, tokenizer = tiny_pair
    logits = sampling.next_token_logits(model, tokenizer, "a b c")
    handlers = logging.getLogger("transformers").handlers[:]
    result = sampling.distribution(logits, SamplingSettings(temperature=0.31, top_k=3, top_p=0.5), model)
    assert result.stages == ()
    assert not result.do_sample
    assert any("temperature" in message for message in result.messages)
    assert logging.getLogger("transformers").handlers == handlers
    assert "temperature" not in capfd.readouterr().err


def test_what_the_library_tells_once_in_a_process_is_told_of_each_call(tiny_pair):
    model, tokenizer = tiny_pair
    logits = sampling.next_token_logits(model, tokenizer, "a b c")
    settings = SamplingSettings(do_sample=False, temperature=0.5)
    first, *others = (sampling.distribution(logits, settings, model).messages for _ in range(3))
    assert len(first) == 1
    assert others == [first, first]


@pytest.mark.skipif(not hasattr(logging.Logger, "warning_once"), reason="this version tells nothing only once")
def test_what_was_told_to_the_block_is_still_told_afterwards(caplog):
    logger = logging.getLogger("transformers.generation.utils")
    with sampling.transformers_messages() as told:
        logger.warning_once("once in a process")
        logger.warning_once("once in a process")
    assert told == ["once in a process"]
    caplog.clear()
    logger.warning_once("once in a process")
    assert caplog.messages == ["once in a process"]


def test_logits_without_a_softmax_are_refused():
    with pytest.raises(SamplingError, match="2 of the 3 logits are NaN"):
        _by_hand([np.nan, np.inf, 0.0])
    with pytest.raises(SamplingError, match="every logit is -inf"):
        _by_hand([-np.inf, -np.inf])
    with pytest.raises(SamplingError, match="do not fit 2 tokens"):
        NextTokenLogits((0,), np.zeros((1, 2), dtype=np.float32), ("a", "b"))


def test_a_chain_that_leaves_nothing_names_the_stage(tiny_pair):
    from transformers import LogitsProcessor

    class RemoveAll(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return scores - float("inf")

    with pytest.raises(SamplingError, match="RemoveAll removed the last possible token"):
        sampling.distribution(_by_hand([1.0, 2.0]), SamplingSettings(), tiny_pair[0], [RemoveAll()])


@pytest.mark.parametrize("vocabulary", [2, 300_000])
def test_small_and_large_vocabularies_with_equal_logits(tiny_pair, vocabulary):
    result = sampling.distribution(_by_hand(np.zeros(vocabulary)), SamplingSettings(do_sample=True), tiny_pair[0])
    assert result.start.entropy == pytest.approx(np.log2(vocabulary))
    assert result.final.kept == vocabulary  # every token ties with the 50th
    assert result.greedy_id == 0
    assert len(result.table(top=5)) == min(5, vocabulary)


def test_tokens_that_the_model_rules_out(tiny_pair):
    result = sampling.distribution(_by_hand([0.0, -np.inf, 1.0]), SamplingSettings(), tiny_pair[0])
    assert list(result.removed_by) == [KEPT, NEVER_POSSIBLE, KEPT]
    assert result.removed_by_name(1) == "the model (-inf)"
    assert result.start.kept == 2


def test_draws_are_seeded_follow_the_probabilities_and_leave_the_global_state(tiny_pair):
    given = _by_hand(np.log([0.5, 0.3, 0.15, 0.05]))
    result = sampling.distribution(given, SamplingSettings(do_sample=True, top_k=3), tiny_pair[0])
    torch.manual_seed(5)
    state = torch.get_rng_state()
    drawn = result.draw(seed=1, count=20_000)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(drawn, result.draw(seed=1, count=20_000))
    assert not np.array_equal(drawn, result.draw(seed=2, count=20_000))
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    assert shares[3] == 0
    assert np.abs(shares - result.probabilities).max() < 0.02  # six standard deviations
    greedy = sampling.distribution(given, SamplingSettings(), tiny_pair[0])
    assert list(greedy.draw(seed=1, count=3)) == [0, 0, 0]
    with pytest.raises(SamplingError, match="count must be at least 1"):
        result.draw(seed=1, count=0)


def test_draws_are_counted_beside_what_is_expected_of_them(tiny_pair):
    given = _by_hand(np.log([0.05, 0.25, 0.5, 0.2]))
    result = sampling.distribution(given, SamplingSettings(do_sample=True, top_k=4), tiny_pair[0])
    ids, counts, expected, deviation = result.draw_counts(np.array([2, 2, 1, 0, 2, 2, 2, 1]), top=3)
    assert list(ids) == [2, 1, 3]  # the likeliest first; 0 is not among them
    assert list(counts) == [5, 2, 0]
    assert expected == pytest.approx([4, 2, 1.6])
    assert deviation == pytest.approx([2**0.5, 1.5**0.5, 1.28**0.5])


def test_tables(tiny_pair):
    given = _by_hand(np.log([0.1, 0.6, 0.3]))
    result = sampling.distribution(given, SamplingSettings(do_sample=True, top_k=2, min_p=0.0), tiny_pair[0])
    table = result.table(top=3)
    assert list(table["id"]) == [1, 2, 0]
    assert list(table["token"]) == ["t1", "t2", "t0"]
    assert list(table["removed_by"]) == ["", "", "TopKLogitsWarper"]
    assert list(table["probability"]) == pytest.approx([2 / 3, 1 / 3, 0])
    chain = result.chain_table()
    assert list(chain["processor"]) == [
        "raw logits",
        "TopKLogitsWarper(top_k=2)",
        "MinPLogitsWarper(min_p=0)",
    ]
    assert list(chain["kept"]) == [3, 2, 2]
    assert list(chain["removed"]) == [0, 1, 0]
    assert list(chain["changed"]) == [True, True, False]
