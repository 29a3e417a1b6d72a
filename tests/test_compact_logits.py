"""The compact row: exact where it is said to be, and a tail that holds the same number and weight of tokens."""

import base64
import json

import numpy as np
import pytest

from helpers.compact_logits import BINS, EXACT, compact, exact_ids
from helpers.distribution import NextTokenLogits


def row(values, context=(0,)) -> NextTokenLogits:
    logits = np.asarray(values, dtype=np.float32)
    return NextTokenLogits(tuple(context), logits, tuple(f" t{i}" for i in range(len(logits))))


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


@pytest.fixture
def large():
    return row(np.random.default_rng(5).normal(0, 3, 49_152), context=(40_000, 7, 40_000))


def test_the_highest_and_the_prompts_own_logits_are_exact(large):
    data = compact(large)
    ids, logits = numbers(data["ids"], "<i4"), numbers(data["logits"], "<f4")
    assert set(np.argsort(-large.logits)[:EXACT]) | {40_000, 7} == set(ids)
    assert np.array_equal(logits, large.logits[ids])
    assert (np.diff(logits) <= 0).all()
    assert data["texts"] == [large.token(i) for i in ids]
    assert data["input_ids"] == [40_000, 7, 40_000]
    assert data["input_texts"] == ["␣t40000", "␣t7", "␣t40000"]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0])
def test_the_tail_keeps_its_weight_at_every_temperature(large, temperature):
    data = compact(large)
    counts = numbers(data["tail_counts"], "<i4")
    means, spreads = (numbers(data[f"tail_{name}"], "<f4").astype(float) for name in ("means", "spreads"))
    assert len(counts) == len(means) == len(spreads) == BINS
    assert counts.sum() == 49_152 - len(exact_ids(large))
    assert (np.diff(means) < 0).all()
    tail = np.delete(large.logits.astype(float), exact_ids(large)) / temperature
    spread = np.maximum(spreads / temperature, 1e-12)
    together = (counts * np.exp(means / temperature) * np.sinh(spread) / spread).sum()
    assert together == pytest.approx(np.exp(tail).sum(), rel=2e-5)


def test_a_bin_is_a_small_share_of_the_rank_that_it_stands_at(large):
    counts = numbers(compact(large)["tail_counts"], "<i4")
    ranks = EXACT + np.cumsum(counts)
    assert (counts <= 0.016 * ranks + 1).all()


def test_its_size_as_text_is_near_28_kb(large):
    assert len(json.dumps(compact(large))) < 33_000


def test_a_small_vocabulary_has_no_tail():
    data = compact(row([1.0, -np.inf, 2.0]))
    assert numbers(data["ids"], "<i4").tolist() == [2, 0, 1]
    assert numbers(data["logits"], "<f4").tolist() == [2.0, 1.0, -np.inf]
    assert data["tail_counts"] == data["tail_means"] == ""


def test_what_the_model_rules_out_is_in_no_bin():
    values = np.linspace(5, -5, 3000)
    values[2000:2500] = -np.inf
    assert numbers(compact(row(values))["tail_counts"], "<i4").sum() == 3000 - 500 - EXACT


def test_equal_logits_stay_equal():
    data = compact(row([0.1] * 300_000))
    assert set(numbers(data["tail_means"], "<f4").tolist()) == {np.float32(0.1)}
    assert not numbers(data["tail_spreads"], "<f4").any()
