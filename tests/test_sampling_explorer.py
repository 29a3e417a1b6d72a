"""The sampling explorer's Python side: requests are answered by the library, refusals stand in place, text is safe."""

import base64
import json
import re

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor

import helpers
from helpers import sampling
from helpers.sampling import SamplingError, SamplingSettings
from helpers.sampling_answers.answers import FIRST_REQUEST, travelling
from helpers.sampling_answers.compact_logits import compact, exact_ids
from helpers.sampling_answers.continuations import Continuations
from helpers.views.sampling_explorer import STATIC_TOKENS, SamplingExplorer, _token_rows, explore_sampling

HOSTILE = "</script><img src=x onerror=alert(1)>"


class RemoveAll(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores * 0 - float("inf")


@pytest.fixture(scope="module")
def pair(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint), AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture
def explorer(pair):
    return explore_sampling(*pair, "a b c a")


def ask(explorer, **request) -> dict:
    """Set a request, as the front end does, and give the result."""
    explorer.request = {**FIRST_REQUEST, "serial": "1", **request}
    return explorer.result


def array(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def test_it_is_on_the_face_of_the_package(explorer):
    assert helpers.explore_sampling is explore_sampling
    assert isinstance(explorer, SamplingExplorer)


def test_a_change_of_setting_is_answered_with_the_librarys_numbers(explorer, pair):
    result = ask(explorer, a={"do_sample": "True", "temperature": "0.5", "top_k": "9", "repetition_penalty": "1.3"})
    settings = SamplingSettings(do_sample=True, temperature=0.5, top_k=9, repetition_penalty=1.3)
    logits = sampling.next_token_logits(*pair, "a b c a")
    direct = sampling.distribution(logits, settings, pair[0])
    ids = exact_ids(logits)
    assert result["serial"] == "1"
    assert explorer.distribution == {"node": 0, **compact(logits)}
    assert np.array_equal(array(result["a"]["probabilities"], "<f4"), direct.final.probabilities[ids].astype("<f4"))
    assert np.array_equal(array(result["a"]["removed_by"], "<i4"), direct.removed_by[ids])
    table = direct.chain_table()
    assert [stage["kept"] for stage in result["a"]["stages"]] == table["kept"].tolist()
    assert [stage["entropy"] for stage in result["a"]["stages"]] == table["entropy_bits"].tolist()
    assert [stage["label"] for stage in result["a"]["stages"]] == table["processor"].tolist()
    assert result["a"]["effective"]["top_p"] == "1.0"
    own = sorted(set(logits.input_ids))
    assert result["a"]["penalised"]["ids"] == own
    assert result["a"]["penalised"]["scores"] == direct.stages[0].scores[own].tolist()


def test_top_k_50_is_there_unasked(explorer):
    stages = explorer.result["a"]["stages"]
    assert [stage["label"] for stage in stages] == ["raw logits", "TopKLogitsWarper(top_k=50)"]
    assert explorer.installed["defaults"]["top_k"] == "50"


def test_the_curve_rises_to_one_and_the_shares_are_what_the_cuts_keep(explorer):
    result = ask(explorer, a={"do_sample": "True", "top_k": "20", "top_p": "0.5"})
    raw, top_k, top_p = result["a"]["stages"]
    for stage in (raw, top_k, top_p):
        assert stage["curve"]["ranks"][-1] == stage["kept"]
        assert stage["curve"]["together"][-1] == pytest.approx(1)
        assert stage["curve"]["together"] == sorted(stage["curve"]["together"])
    assert 0.5 <= top_p["share"] < 0.5 + top_k["top_probability"]


def test_a_refusal_is_in_the_words_of_generate(explorer, pair):
    for asked, value in (("0.0", 0.0), ("2", 2)):
        result = ask(explorer, a={"do_sample": "True", "temperature": asked}, b={"do_sample": "True"})
        with pytest.raises(ValueError, match="strictly positive float") as words:
            pair[0].generate(do_sample=True, temperature=value, max_new_tokens=1)
        assert result["a"] == {"refusal": str(words.value)}
        assert result["b"]["refusal"] == ""


def test_appending_forking_and_going_on(explorer):
    first = ask(explorer, do={"kind": "append", "which": "a", "token_id": 7, "how": "chosen"})
    assert first["node"] == 1 == explorer.distribution["node"]
    assert explorer.distribution["input_ids"][-1] == 7
    assert explorer.tree[1]["parent"] == 0
    go_on = {"kind": "continue", "which": "a", "greedy": True, "seed": 0, "count": 3}
    second = ask(explorer, node=1, do=go_on)
    assert second["node"] == 4
    assert [one["how"] for one in explorer.tree[2:]] == ["greedy"] * 3
    fork = ask(explorer, node=0, do={"kind": "append", "which": "a", "token_id": 9, "how": "drawn"})
    assert explorer.tree[fork["node"]]["parent"] == 0
    assert len(explorer.tree) == 6


def test_draws_are_torchs_and_counted(explorer):
    drawn = ask(explorer, do={"kind": "draw", "which": "a", "seed": 4, "count": 1000})["draw"]
    direct = explorer._answers.continuations.distribution(0, SamplingSettings(do_sample=True))
    wanted = np.bincount(direct.draw(seed=4, count=1000), minlength=384)
    counts = array(drawn["counts"], "<i4")
    assert np.array_equal(counts, wanted[exact_ids(direct.logits)])
    assert counts.sum() + drawn["others"] == 1000
    assert drawn["source"] == "torch.multinomial"
    one = ask(explorer, do={"kind": "draw", "which": "a", "seed": 4, "count": 1})["draw"]
    assert one["last_id"] == direct.draw(seed=4)[0]


def test_a_new_prompt_runs_the_model_and_a_bad_one_says_why(explorer):
    ask(explorer, do={"kind": "append", "which": "a", "token_id": 7, "how": "chosen"})
    result = ask(explorer, do={"kind": "prompt", "text": "b c"})
    assert (result["node"], result["message"], len(explorer.tree)) == (0, "", 1)
    assert explorer.distribution["node"] == 0
    assert explorer.tree[0]["text"] == "".join(explorer.distribution["input_texts"])
    before = explorer.distribution
    assert "the prompt is empty" in ask(explorer, do={"kind": "prompt", "text": ""})["message"]
    assert explorer.distribution == before


def test_what_fails_in_the_model_is_said_and_raised(explorer, monkeypatch):
    def broken(*given):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(sampling, "next_token_logits", broken)
    with pytest.raises(RuntimeError):
        ask(explorer, do={"kind": "append", "which": "a", "token_id": 7, "how": "chosen"})
    assert explorer.result["message"] == "RuntimeError: out of memory"
    assert explorer.result["serial"] == "1"


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("", "the prompt is empty"), (["a", "b"], "a batch of 2 prompts"), ([1] * 5000, "the model's context")],
    ids=["empty", "batch", "long"],
)
def test_bad_prompts_are_refused_at_once(pair, prompt, words):
    with pytest.raises(SamplingError, match=words):
        explore_sampling(*pair, prompt)


# pages and tables ----------------------------------------------------------------------------------------------------


def test_what_travels_are_the_prompt_and_likely_continuations(pair):
    continuations = Continuations(*pair, "a b c a")
    grown = travelling(continuations)
    assert len(continuations.nodes) == 1
    hows = [node.how for node in grown.nodes]
    assert hows.count("greedy") == 4
    assert hows.count("drawn") >= 1
    greedy = [node.token_id for node in grown.nodes if node.how == "greedy"]
    assert grown.ids(4) == [*grown.ids(0), *greedy]
    likeliest = continuations.distribution(0, SamplingSettings(do_sample=False)).likeliest(4)
    assert set(likeliest) <= {node.token_id for node in grown.nodes if node.parent == 0}


def test_a_full_context_travels_with_what_there_is(pair):
    context = pair[0].config.max_position_embeddings
    assert len(travelling(Continuations(*pair, [1] * context)).nodes) == 1
    assert len(travelling(Continuations(*pair, [1] * (context - 2))).nodes) == 3


def test_the_page_carries_a_distribution_for_each_node_and_is_the_same_each_time(explorer):
    data = explorer.twin_data()
    assert set(data["distributions"]) == {str(node["id"]) for node in data["tree"]}
    assert len(data["distributions"]) >= 8
    assert json.loads(json.dumps(data)) == data
    assert explorer.to_html() == explorer.to_html()
    versions = rf"transformers {re.escape(transformers.__version__)}, torch {re.escape(torch.__version__)}"
    assert re.search(rf"<footer><p>Recorded with {versions}, on the CPU; nothing", explorer.to_html())
    assert len(explorer.tree) == 1  # the reader's own tree did not grow


def test_the_static_table_holds_the_librarys_numbers(explorer, pair):
    logits = sampling.next_token_logits(*pair, "a b c a")
    direct = sampling.distribution(logits, SamplingSettings(do_sample=True), pair[0])
    table = explorer.static_html()
    assert "TopKLogitsWarper(top_k=50)" in table
    assert f"<td>{direct.final.kept}</td>" in table
    assert f"<td>{direct.start.kept}</td>" in table
    assert "the other 372" in table
    assert f"<td>{direct.stages[0].entropy:.2f}</td>" in table
    assert "top_k=50" in table


def test_a_token_of_no_probability_is_not_counted_as_removed(pair):
    """exp() of a score far below the best one is 0; the token can be chosen all the same."""
    logits = sampling.next_token_logits(*pair, "a b c a")
    sharp = sampling.distribution(logits, SamplingSettings(do_sample=True, temperature=0.0005, top_k=0), pair[0])
    assert (sharp.final.probabilities[sharp.ranked(STATIC_TOKENS)] == 0).any()
    *_, (name, *_, removed) = _token_rows(sharp)
    assert (name, removed) == ("the other 372", "0 of them removed")


def test_defaults_that_are_refused_say_so_in_table_and_text(pair, monkeypatch):
    monkeypatch.setenv("TRACE_EXPLORERS", "page")
    explorer = explore_sampling(*pair, "a b c a", logits_processor=[RemoveAll()])
    words = "RemoveAll removed the last possible token: nothing is left to choose from."
    assert explorer.result["a"]["refusal"] == words
    assert f"These settings cannot be used: {words}</p>" in explorer.static_html()
    assert repr(explorer).endswith(words)
    bundle, _ = explorer._repr_mimebundle_()
    assert bundle["text/plain"] == explorer.text()
    assert words in bundle["text/html"]


def test_text_and_table_do_not_change_with_what_the_reader_does(explorer):
    before = explorer.text(), explorer.static_html()
    ask(explorer, do={"kind": "append", "which": "a", "token_id": 7, "how": "chosen"})
    ask(explorer, a={"do_sample": "True", "temperature": "0.1"})
    assert (explorer.text(), explorer.static_html()) == before
    assert explorer.text().startswith("Sampling explorer: the next token after ")


def test_hostile_tokens_are_text_in_table_and_page(explorer):
    logits = explorer._answers.continuations.logits(0)
    texts = list(logits.token_texts)
    texts[int(logits.logits.argmax())] = HOSTILE
    object.__setattr__(logits, "token_texts", tuple(texts))
    assert "<img" not in explorer.static_html()
    assert "&lt;/script&gt;&lt;img␣src=x" in explorer.static_html()
    page = explorer.to_html()
    assert "<img" not in page
    assert page.count("</script>") == 2
