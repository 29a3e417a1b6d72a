"""The compact row: exact where it is said to be, and every logit of the tail to half a step."""

import base64
import json

import numpy as np
import pytest

from helpers.distribution import NextTokenLogits
from helpers.sampling_answers.compact_logits import EXACT, compact, exact_ids
from helpers.sampling_answers.logit_gaps import LARGEST_GAP, STEPS, exponential_golomb, gaps_of
from tests.chain_comparison import numbers_of_code, tail_of
from tests.explorer_tools import node_tests


def row(values, context=(0,)) -> NextTokenLogits:
    logits = np.asarray(values, dtype=np.float32)
    return NextTokenLogits(tuple(context), logits, tuple(f" t{i}" for i in range(len(logits))))


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def tail(logits: NextTokenLogits) -> np.ndarray:
    return -np.sort(-np.delete(logits.logits, exact_ids(logits)).astype(float))


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


@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0, 100.0])
def test_each_logit_of_the_tail_is_within_a_step(scale):
    logits = row(np.random.default_rng(6).normal(0, scale, 49_152))
    told, true = compact(logits)["tail"], tail(logits)
    mine = tail_of(told)
    assert STEPS[0] <= told["step"] <= STEPS[1]
    assert told["count"] == len(mine) == len(true) == 49_152 - EXACT - (0 not in np.argsort(-logits.logits)[:EXACT])
    assert (np.diff(mine) <= 0).all()
    assert abs(mine - true).max() <= told["step"]
    assert mine[0] == pytest.approx(true[0], abs=told["step"] / 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 5.0])
def test_the_tail_keeps_its_weight_at_every_temperature(large, temperature):
    mine = tail_of(compact(large)["tail"])
    assert np.exp(mine / temperature).sum() == pytest.approx(np.exp(tail(large) / temperature).sum(), rel=5e-6)


def test_its_size_as_text_is_near_60_kb(large):
    assert len(json.dumps(compact(large))) < 62_000


def test_a_small_vocabulary_has_no_tail():
    data = compact(row([1.0, -np.inf, 2.0]))
    assert numbers(data["ids"], "<i4").tolist() == [2, 0, 1]
    assert numbers(data["logits"], "<f4").tolist() == [2.0, 1.0, -np.inf]
    assert (data["tail"]["count"], data["tail"]["bits"]) == (0, "")


def test_what_the_model_rules_out_is_not_in_the_tail():
    values = np.linspace(5, -5, 3000)
    values[2000:2500] = -np.inf
    assert compact(row(values))["tail"]["count"] == 3000 - 500 - EXACT


def test_equal_logits_stay_equal_and_different_ones_different():
    assert set(tail_of(compact(row([0.1] * 300_000))["tail"])) == {float(np.float32(0.1))}
    rounded = np.random.default_rng(7).normal(0, 3, 20_000).astype(np.float16)  # many ties, as in half precision
    crowded = np.concatenate([np.linspace(20, 10, EXACT), 1 + np.arange(3000) * 2.0**-23, rounded])
    mine, true = tail_of(compact(row(crowded, (0,)))["tail"]), tail(row(crowded))
    assert np.array_equal(np.diff(mine) == 0, np.diff(true) == 0)


def test_a_gap_without_end_is_told_as_the_largest():
    told = gaps_of(np.array([3.0, 2.5, np.finfo(np.float32).min, np.finfo(np.float32).min]))
    mine = tail_of({**told, "bits": base64.b64encode(told["bits"])})
    assert mine[:2].tolist() == [3.0, 2.5]
    assert mine[2] == mine[3] == 2.5 - LARGEST_GAP * told["step"]


def test_the_codes_are_the_standards():
    # Order 0 of n is that of ITU-T H.264, table 9-1; order 2 is order 0 of n >> 2, and then the two last bits.
    order_0 = ("1", "010", "011", "00100")
    wanted = "".join(order_0[n >> 2] + f"{n & 3:02b}" for n in range(16))
    written = "".join(f"{byte:08b}" for byte in exponential_golomb(np.arange(16)))
    assert written == wanted.ljust(len(written), "0")
    large = [0, 5, 2**30, 2**30 + 1, 7]
    assert numbers_of_code("".join(f"{byte:08b}" for byte in exponential_golomb(np.array(large))), 5) == large
    assert exponential_golomb(np.array([], dtype=int)) == b""


def test_the_page_reads_the_same_tail(large, tmp_path):
    crowded = row([*np.linspace(20, 10, EXACT), 0.1, 0.1, *(1 + np.arange(300) * 2.0**-23), np.finfo(np.float32).min])
    rows = [compact(one) for one in (large, crowded)]
    told = [{"data": data, "tail": tail_of(data["tail"]).tolist()} for data in rows]
    node_tests("sampling_row", tmp_path, "sampling_explorer", rows=told)
