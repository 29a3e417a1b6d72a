"""The page's own chain (views/sampling_chain.js and its parts) gives the library's numbers, refusals and order.

The settings come from a seeded generator, the expected answers from the installed `_get_logits_processor`. Run in the
versions that tests/versions.py names too.
"""

import json
import random

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from helpers import compat, sampling
from helpers.distribution import NextTokenLogits, SamplingError, SamplingSettings
from helpers.sampling_answers import result as sampling_result
from helpers.sampling_answers.installed import installed_sampling
from helpers.sampling_answers.result import settings_from_text, settings_texts
from helpers.views import explorers
from tests.chain_comparison import (
    answer_of_the_library,
    answers_of_the_page,
    beyond_float32,
    held_together,
)

PROMPTS = (
    "The capital of France is",
    "Once upon a time, there was a",
    "a a a a b a a a a b a a a",
    "In Paris, they speak French. In Rome, they speak Italian. In Paris, they",
    "def add(a, b):\n    return a + b\n\ndef add_three(a, b, c):\n    return",
)
QUICK, ALL = 50, 510


def random_settings(count: int, names, seed: int = 20) -> list[dict[str, str]]:
    """Settings as typed: each step is on in about a third of them, over the range in which it does something."""
    chance = random.Random(seed)
    ranges = {
        "repetition_penalty": lambda: round(chance.uniform(0.5, 2.0), 3),
        "no_repeat_ngram_size": lambda: chance.randint(1, 4),
        "temperature": lambda: round(10 ** chance.uniform(-1, 0.7), 4),
        "top_h": lambda: round(chance.uniform(0.05, 1.0), 3),
        "top_k": lambda: int(10 ** chance.uniform(0, 4.7)),
        "top_p": lambda: round(1 - 10 ** chance.uniform(-4, 0), 5),
        "min_p": lambda: round(10 ** chance.uniform(-5, 0), 6),
        "typical_p": lambda: round(chance.uniform(0.02, 0.999), 4),
        "epsilon_cutoff": lambda: round(10 ** chance.uniform(-6, -0.5), 7),
        "eta_cutoff": lambda: round(10 ** chance.uniform(-6, -0.5), 7),
    }
    settings = []
    for _ in range(count):
        asked = {name: repr(draw()) for name, draw in ranges.items() if name in names and chance.random() < 0.35}
        if "top_k" not in asked and chance.random() < 0.8:
            asked["top_k"] = "0"  # else the library's own 50 hides what the others do
        settings.append({"do_sample": "True" if chance.random() < 0.93 else "False", **asked})
    return settings


@pytest.fixture(scope="module")
def demo(demo_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(demo_checkpoint, **compat.dtype_argument(torch.float32))
    return model, AutoTokenizer.from_pretrained(demo_checkpoint)


@pytest.fixture(scope="module")
def rows(demo):
    return [sampling.next_token_logits(*demo, prompt) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


@pytest.fixture
def _quick(monkeypatch):
    """Rows of 49,152 numbers are too small for several threads; curves are drawn and not compared here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(sampling_result, "_curve", lambda stage: None)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_quick")
def test_the_page_agrees_with_the_library(demo, rows, tmp_path):
    settings = random_settings(QUICK, sampling.parameter_names(), seed=1)
    wrong, _ = held_together(tmp_path, demo[0], rows, settings)
    assert wrong == []


@pytest.mark.slow
@pytest.mark.usefixtures("_quick")
def test_the_page_agrees_with_the_library_on_many_settings(demo, rows, tmp_path):
    settings = random_settings(ALL, sampling.parameter_names())
    assert len({json.dumps(asked) for asked in settings}) >= 500
    wrong, moved = held_together(tmp_path, demo[0], rows, settings)
    assert wrong == []
    for case in moved:  # what float32 or a step of the tail decides: told by `pytest -rP`
        print(case)


def test_labels_are_the_librarys_where_it_keeps_a_value_in_float32(demo, rows, tmp_path):
    asked = {"do_sample": "True", "eta_cutoff": "0.1941995"}
    (page,) = answers_of_the_page(tmp_path, installed_sampling(demo[0]), rows[:1], [asked])
    theirs = answer_of_the_library(rows[0], asked, demo[0])
    assert [stage["label"] for stage in page["stages"]] == [stage["label"] for stage in theirs["stages"]]


def test_one_token_more_at_a_cutoff_is_allowed_and_two_are_not(demo, rows):
    """The allowance itself."""
    asked = {"do_sample": "True", "top_k": "0", "top_p": "0.9"}
    stages = answer_of_the_library(rows[0], asked, demo[0])["stages"]
    for more, allowed in ((0, True), (1, True), (-1, True), (2, False), (-2, False)):
        page = {"stages": [*stages[:-1], {**stages[-1], "kept": stages[-1]["kept"] + more}]}
        assert (beyond_float32(page, rows[0], asked, demo[0]) == []) == allowed


def test_a_page_with_a_mistake_would_be_noticed(demo, rows, tmp_path, monkeypatch):
    script = explorers.explorer_script("sampling_explorer")
    right = "score / temperature)"
    assert script.count(right) == 1
    wrong_script = script.replace(right, "score / temperature + 1e-3 * score)")
    monkeypatch.setattr(explorers, "explorer_script", lambda name: wrong_script)
    settings = [{"do_sample": "True", "temperature": "1.5", "top_k": "0", "top_p": "0.9"}]
    wrong, _ = held_together(tmp_path, demo[0], rows, settings)
    assert len(wrong) == len(rows)


VALUES = (
    "-1",
    "-0.5",
    "0",
    "0.0",
    "1",
    "1.0",
    "2",
    "2.0",
    "0.5",
    "1.5",
    "100",
    "1e-07",
    "1e30",
    "x",
    "True",
    "",
    "None",
)


def test_what_the_library_refuses_the_page_refuses_in_the_same_words(tiny, tmp_path):
    row = NextTokenLogits((5, 6, 5), np.linspace(3, -3, 40, dtype=np.float32), tuple(f"t{i}" for i in range(40)))
    names = [name for name in sampling.parameter_names() if name != "do_sample"]
    settings = [{"do_sample": on, name: value} for on in ("True", "False") for name in names for value in VALUES]
    settings += [{"do_sample": value} for value in ("1", "x", "None", "")]
    settings += [{"do_sample": "True", "temperature": "0", "top_p": "-1"}]  # the first in the chain speaks
    page = answers_of_the_page(tmp_path, installed_sampling(tiny), [row], settings)
    wanted = [answer_of_the_library(row, asked, tiny) for asked in settings]
    for asked, mine, theirs in zip(settings, page, wanted, strict=True):
        assert mine["refusal"] == theirs["refusal"], asked
        assert mine.get("effective") == theirs.get("effective"), asked
        assert [stage["label"] for stage in mine.get("stages", [])] == [
            stage["label"] for stage in theirs.get("stages", [])
        ]
    assert sum(bool(answer["refusal"]) for answer in wanted) > 40


def test_the_words_of_refusal_are_the_librarys(tiny):
    words = installed_sampling(tiny)["words"]
    assert words["temperature"]["zero"].startswith("`temperature` (={float}) has to be a strictly positive float")
    assert words["top_k"]["refused"].endswith("but is {value}")
    assert words["typical_p"]["refused"].endswith("but is {float}")


# rows that are out of the ordinary ----------------------------------------------------------------------------------

ODD_ROWS = {
    "two tokens": ([0.0, 1.0], (0,)),
    "all equal": ([0.5] * 3000, (7, 2900)),
    "all equal, 300,000 tokens": ([0.0] * 300_000, (5,)),
    "300,000 tokens": (np.random.default_rng(3).normal(0, 3, 300_000), (299_999, 4)),
    "ruled out by the model": ([0.0, -np.inf, 1.0, -np.inf], (1, 2)),
    "ruled out in the tail": ([*np.linspace(5, -5, 2000), *[-np.inf] * 1000], (2500, 3)),
}
ODD_SETTINGS = (
    {"do_sample": "True"},
    {"do_sample": "False", "repetition_penalty": "1.5"},
    {"do_sample": "True", "top_k": "1", "temperature": "0.5"},
    {"do_sample": "True", "top_k": "0", "min_p": "0.5", "epsilon_cutoff": "0.2"},
    {"do_sample": "True", "top_k": "0", "eta_cutoff": "0.2", "typical_p": "0.9"},
    {"do_sample": "True", "temperature": "1e-40"},
)


@pytest.mark.parametrize("name", ODD_ROWS)
def test_odd_rows(tiny, tmp_path, name):
    values, context = ODD_ROWS[name]
    logits = np.asarray(values, dtype=np.float32)
    row = NextTokenLogits(context, logits, tuple(f"t{i}" for i in range(len(logits))))
    wrong, moved = held_together(tmp_path, tiny, [row], ODD_SETTINGS)
    assert wrong == []
    assert not moved or len(logits) > 1024  # a cutoff in the tail, or a likeliest token that is in it


def test_a_chain_that_leaves_nothing_is_refused_by_both(tiny, tmp_path):
    row = NextTokenLogits((0, 1, 0), np.zeros(2, dtype=np.float32), ("a", "b"))
    asked = {"do_sample": "False", "no_repeat_ngram_size": "1"}
    (page,) = answers_of_the_page(tmp_path, installed_sampling(tiny), [row], [asked])
    assert page == answer_of_the_library(row, asked, tiny)
    assert "removed the last possible token" in page["refusal"]


# processors that the page does not know -----------------------------------------------------------------------------


def test_an_unknown_processor_is_named_and_nothing_is_computed(tiny, tmp_path):
    from transformers import LogitsProcessor

    class FavourEvenIds(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return scores

    row = NextTokenLogits((0,), np.zeros(4, dtype=np.float32), ("a", "b", "c", "d"))
    (page,) = answers_of_the_page(tmp_path, installed_sampling(tiny, [FavourEvenIds()]), [row], [{"do_sample": "True"}])
    assert page["uncomputable"] == ["FavourEvenIds of your own"]
    assert "cannot compute FavourEvenIds" in page["refusal"]
    assert "stages" not in page
    kernel = answer_of_the_library(row, {"do_sample": "True"}, tiny, [FavourEvenIds()])
    assert [stage["processor"] for stage in kernel["stages"]][1] == "FavourEvenIds"


def test_a_processor_of_your_own_is_not_taken_for_the_librarys_own_of_that_class(tiny, tmp_path):
    from transformers import TopKLogitsWarper

    own = [TopKLogitsWarper(5)]
    row = NextTokenLogits((0,), np.arange(20, dtype=np.float32), tuple("abcdefghijklmnopqrst"))
    asked = {"do_sample": "True", "top_k": "9"}
    kernel = answer_of_the_library(row, asked, tiny, own)
    assert [stage["kept"] for stage in kernel["stages"]] == [20, 5, 5]
    (page,) = answers_of_the_page(tmp_path, installed_sampling(tiny, own), [row], [asked])
    assert page["uncomputable"] == ["TopKLogitsWarper of your own"]
    assert "cannot compute TopKLogitsWarper of your own" in page["refusal"]


def test_a_processor_of_the_checkpoint_is_in_the_chain(tiny, monkeypatch):
    monkeypatch.setattr(tiny, "generation_config", GenerationConfig(suppress_tokens=[3], top_k=7))
    description = installed_sampling(tiny)
    assert "SuppressTokensLogitsProcessor" in description["chain"]["False"]
    assert description["defaults"]["top_k"] == "7"


def test_the_chain_is_the_librarys_own_order(tiny):
    description = installed_sampling(tiny)
    names = sampling.parameter_names()
    everything = SamplingSettings(
        do_sample=True, **{name: 0.5 for name in names if name not in ("do_sample", "top_k", "no_repeat_ngram_size")},
        top_k=3, no_repeat_ngram_size=2,
    )  # fmt: skip
    chain = [type(processor).__name__ for processor in sampling.transformers_chain(tiny, everything)]
    assert description["chain"]["True"] == chain
    assert len(chain) == len(names) - 1
    assert description["chain"]["False"] == [chain[0], chain[1]]
    assert description["parameters"] == list(names)


# settings as texts --------------------------------------------------------------------------------------------------


def test_settings_from_texts_keep_whole_numbers_and_floats_apart():
    settings = settings_from_text(
        {"do_sample": "True", "temperature": "2.0", "top_k": "2", "min_p": "", "top_p": "None"}
    )
    assert settings == SamplingSettings(do_sample=True, temperature=2.0, top_k=2)
    assert (type(settings.temperature), type(settings.top_k)) == (float, int)
    assert settings_texts(settings) == {"do_sample": "True", "temperature": "2.0", "top_k": "2"}


@pytest.mark.parametrize("text", ["a", "[1]", "1e400", "True", "nan", "1 +", "__import__('os')"])
def test_a_text_that_is_no_number_is_named(text):
    with pytest.raises(SamplingError, match=r"top_p: .* is not a number as Python writes it"):
        settings_from_text({"top_p": text})


def test_a_name_that_is_no_parameter_is_named():
    with pytest.raises(SamplingError, match="no sampling parameter heat"):
        settings_from_text({"heat": "1"})
