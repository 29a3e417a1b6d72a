"""The checks of the exercises of notebook 08, on a small random model."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TopPLogitsWarper

from helpers import article, sampling
from helpers.exercises import NOT_ANSWERED, WRONG
from helpers.exercises import sampling as exercises
from helpers.sampling import SamplingSettings


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def logits(model, tiny_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(str(tiny_checkpoint))
    return sampling.next_token_logits(model, tokenizer, "The capital of France is")


def assert_explains(verdict, words):
    assert verdict.outcome == WRONG
    assert words in verdict.explanation, verdict


def test_none_is_not_answered_yet():
    assert exercises.check_kept(None, None, None).outcome == NOT_ANSWERED
    assert exercises.check_idle_arguments(None, {}, None, None).outcome == NOT_ANSWERED
    assert exercises.check_top_p(None).outcome == NOT_ANSWERED


def test_kept(logits, model):
    settings = {"top_k": 20, "min_p": 0.5}
    kept = sampling.distribution(logits, SamplingSettings(do_sample=True, **settings), model).final.kept
    assert kept < 20
    assert exercises.check_kept(kept, logits, model, **settings)
    assert_explains(exercises.check_kept(20, logits, model, **settings), "after an earlier processor")
    assert_explains(exercises.check_kept(model.config.vocab_size, logits, model, **settings), "whole vocabulary")
    assert_explains(exercises.check_kept(0, logits, model, **settings), "chain_table()")


def test_idle_arguments(logits, model):
    idle = {"temperature", "top_p", "top_k"}
    assert exercises.check_idle_arguments(idle, article.SAMPLING, logits, model)
    acting = exercises.check_idle_arguments(idle | {"repetition_penalty"}, article.SAMPLING, logits, model)
    assert_explains(acting, "repetition_penalty changes the scores")
    assert_explains(exercises.check_idle_arguments({"top_p"}, article.SAMPLING, logits, model), "2 of them still")
    assert_explains(exercises.check_idle_arguments("beams", article.SAMPLING, logits, model), "not among the arguments")


def test_idle_arguments_of_the_notebook(logits, model):
    asked = {"typical_p": 0.9, "no_repeat_ngram_size": 1, "epsilon_cutoff": 0.001, "repetition_penalty": 1.2}
    assert exercises.check_idle_arguments({"typical_p", "epsilon_cutoff"}, asked, logits, model)
    acting = exercises.check_idle_arguments({"no_repeat_ngram_size"}, asked, logits, model)
    assert_explains(acting, "no_repeat_ngram_size changes the scores")


def top_p(scores, p, least=1):
    ascending, ids = scores.sort()
    removed = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    if least:
        removed[-least:] = False
    kept = scores.clone()
    kept[ids[removed]] = -float("inf")
    return kept


def descending_top_p(scores, p):
    descending, ids = scores.sort(descending=True)
    probabilities = descending.softmax(dim=-1)
    removed = probabilities.cumsum(dim=-1) - probabilities >= p
    removed[0] = False
    kept = scores.clone()
    kept[ids[removed]] = -float("inf")
    return kept


def test_top_p_is_tried_with_every_extreme_value_that_the_library_accepts():
    for p in (0.0, 1.0):
        assert p in exercises.SHARES
        assert TopPLogitsWarper(p).top_p == p
    for p in (-1e-8, 1.00001):
        with pytest.raises(ValueError, match="top_p"):
            TopPLogitsWarper(p)
    assert_explains(exercises.check_top_p(lambda scores, p: top_p(scores, p, least=0)), "nothing is left")


def test_which_of_equal_tokens_top_p_keeps_does_not_matter():
    assert exercises.check_top_p(descending_top_p)


def first_tokens_that_hold_the_share(scores, p):
    """Top-p as its definition is read aloud, in the floats of Python."""
    probabilities, kept, share = scores.softmax(dim=-1).tolist(), torch.full_like(scores, -float("inf")), 0.0
    for token in sorted(range(len(probabilities)), key=lambda token: -probabilities[token]):
        kept[token] = scores[token]
        share += probabilities[token]
        if share >= p:
            return kept
    return kept


def without_the_token_that_crosses(scores, p):
    descending, ids = scores.sort(descending=True)
    removed = descending.softmax(dim=-1).cumsum(dim=-1) > p
    removed[0] = False
    kept = scores.clone()
    kept[ids[removed]] = -float("inf")
    return kept


def test_rounding_decides_nothing_about_top_p():
    assert exercises.check_top_p(first_tokens_that_hold_the_share)
    assert_explains(exercises.check_top_p(without_the_token_that_crosses), "too few")


def test_top_p():
    assert exercises.check_top_p(top_p)
    assert_explains(exercises.check_top_p("top_p"), "a function")
    assert_explains(exercises.check_top_p(lambda scores, p: scores), "too many")
    assert_explains(exercises.check_top_p(lambda scores, p: top_p(scores, p)[:1]), "same shape")
    assert_explains(exercises.check_top_p(lambda scores, p: torch.full_like(scores, -torch.inf)), "nothing is left")
    assert_explains(exercises.check_top_p(lambda scores, p: top_p(scores, p).flip(0)), "mind the order")
    assert_explains(exercises.check_top_p(lambda scores, p: 1 / 0), "raised ZeroDivisionError")
    assert_explains(exercises.check_top_p(lambda scores, p: top_p(scores, p / 2)), "too few")
