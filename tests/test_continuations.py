"""A tree of continuations goes on as generate() does, forks, ends, and refuses what cannot be."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import sampling
from helpers.sampling import SamplingError, SamplingSettings
from helpers.sampling_answers.continuations import ROOT, Continuations


@pytest.fixture(scope="module")
def pair(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint), AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.fixture
def tree(pair):
    return Continuations(*pair, "a b c a")


def generated(model, input_ids, settings, count, seed=0) -> list[int]:
    ids = torch.tensor([input_ids])
    torch.manual_seed(seed)
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), pad_token_id=0, max_new_tokens=count, **settings.arguments()
    )
    return output[0].tolist()


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(do_sample=False),
        SamplingSettings(do_sample=False, repetition_penalty=1.3, no_repeat_ngram_size=2),
        SamplingSettings(do_sample=True),
        SamplingSettings(do_sample=True, temperature=1.5, top_k=0, top_p=0.9, repetition_penalty=1.1),
    ],
    ids=str,
)
def test_extend_chooses_what_generate_chooses(pair, tree, settings):
    for seed in (0, 3):
        wanted = generated(pair[0], tree.ids(ROOT), settings, 6, seed)
        assert tree.ids(tree.extend(ROOT, settings, 6, seed)) == wanted


def test_a_token_is_appended_once_and_a_fork_is_another_node(tree):
    first = tree.append(ROOT, 7, "chosen")
    assert tree.append(ROOT, 7, "drawn") == first
    other = tree.append(ROOT, 9, "chosen")
    below = tree.append(first, 9, "chosen")
    assert len({ROOT, first, other, below}) == 4 == len(tree.nodes)
    assert tree.path(below) == [ROOT, first, below]
    assert tree.ids(below) == [*tree.ids(ROOT), 7, 9]
    direct = sampling.next_token_logits(tree.model, tree.tokenizer, tree.ids(below))
    assert np.array_equal(tree.logits(below).logits, direct.logits)


def test_a_node_says_how_it_came_and_how_likely_it_was(tree):
    settings = SamplingSettings(do_sample=True, top_k=5)
    distribution = tree.distribution(ROOT, settings)
    best = int(distribution.likeliest(1)[0])
    node = tree.nodes[tree.append(ROOT, best, "chosen", settings)]
    assert (node.parent, node.token_id, node.how) == (ROOT, best, "chosen")
    assert node.probability == pytest.approx(float(distribution.probabilities[best]))
    assert node.text == distribution.logits.token(best)
    assert tree.nodes[ROOT].text == "".join(map(distribution.logits.token, distribution.logits.input_ids))


def test_it_stops_behind_a_token_that_ends_the_text(pair, tree, monkeypatch):
    greedy = SamplingSettings(do_sample=False)
    end = tree.distribution(ROOT, greedy).greedy_id
    monkeypatch.setattr(pair[0].generation_config, "eos_token_id", [end])
    last = tree.extend(ROOT, greedy, 5)
    assert tree.ids(last) == [*tree.ids(ROOT), end]
    assert tree.nodes[last].ends


def test_the_model_runs_once_for_each_node(tree, monkeypatch):
    calls = []
    real = sampling.next_token_logits
    monkeypatch.setattr(sampling, "next_token_logits", lambda *given: calls.append(given) or real(*given))
    node = tree.append(ROOT, 7, "chosen")
    for _ in range(3):
        tree.distribution(node, SamplingSettings(do_sample=True, temperature=0.5))
    assert len(calls) == 1


def test_a_copy_grows_apart(tree):
    copy = tree.copy()
    copy.append(ROOT, 7, "chosen")
    assert (len(tree.nodes), len(copy.nodes)) == (1, 2)
    assert tree.append(ROOT, 9, "chosen") == 1
    assert [one.nodes[1].token_id for one in (tree, copy)] == [9, 7]


def test_what_is_not_there_is_named(tree):
    with pytest.raises(SamplingError, match="no continuation 5: there are 1"):
        tree.logits(5)
    with pytest.raises(SamplingError, match="token id 9999 is outside the vocabulary"):
        tree.append(ROOT, 9999, "chosen")
    assert len(tree.nodes) == 1


def test_the_end_of_the_context_is_named_and_leaves_the_tree(pair):
    context = pair[0].config.max_position_embeddings
    tree = Continuations(*pair, [1] * context)
    with pytest.raises(SamplingError, match=f"context is {context:,}"):
        tree.append(ROOT, 7, "chosen")
    assert len(tree.nodes) == 1


@pytest.mark.parametrize("failure", [RuntimeError("out of memory"), KeyboardInterrupt()], ids=["memory", "interrupt"])
def test_a_forward_pass_that_fails_leaves_no_node_without_logits(tree, monkeypatch, failure):
    before = list(tree.nodes)

    def broken(*given):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "next_token_logits", broken)
        with pytest.raises(type(failure)):
            tree.append(ROOT, 7, "chosen")
    assert tree.nodes == before
    assert tree.append(ROOT, 9, "chosen") == 1
    assert tree.nodes[1].token_id == 9
    assert np.isfinite(tree.logits(1).logits).any()


def test_a_prompt_that_is_refused_leaves_the_tree(tree):
    tree.append(ROOT, 7, "chosen")
    with pytest.raises(SamplingError, match="the prompt is empty"):
        tree.restart("")
    assert len(tree.nodes) == 2
    tree.restart("b c")
    assert len(tree.nodes) == 1
