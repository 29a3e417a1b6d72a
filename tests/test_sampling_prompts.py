"""Prompts as helpers.sampling takes them, and the texts of tokens."""

import numpy as np
import pytest
import torch
from transformers import ByT5Tokenizer, T5Config, T5ForConditionalGeneration, XLNetConfig, XLNetLMHeadModel

from helpers import sampling
from helpers.sampling import SamplingError
from helpers.token_text import token_texts, visible

BAD_PROMPTS = [
    ("", "the prompt is empty"),
    ([], "no tokens"),
    (["one", "two"], "a batch of 2 prompts"),
    ([[1, 2], [3, 4]], "a batch of 2 prompts"),
    (torch.tensor([[1, 2], [3, 4]]), "a batch of 2 prompts"),
    ([1.5, 2.0], "a token id is a whole number, not 1.5"),
    ([True], "a token id is a whole number, not True"),
    ([10**9], "outside the model's vocabulary"),
    ([-1], "outside the model's vocabulary"),
    (3, "not int"),
    ([{"role": "user", "content": "hello"}], "messages of a chat.*apply_chat_template"),
    ([[{"role": "user", "content": "hello"}]], "messages of a chat.*apply_chat_template"),
    ({"input_ids": [[1, 2], [3, 4]]}, "a batch of 2 prompts"),
    ({"text": "hello"}, "not dict"),
]


@pytest.mark.parametrize(("prompt", "words"), BAD_PROMPTS, ids=str)
def test_bad_prompts_are_named(tiny_pair, prompt, words):
    with pytest.raises(SamplingError, match=words):
        sampling.next_token_logits(*tiny_pair, prompt)


@pytest.mark.parametrize(
    "prompt",
    [list(np.array([5, 6, 7])), np.array([5, 6, 7]), torch.tensor([5, 6, 7]), torch.tensor([[5, 6, 7]]), [(5, 6, 7)]],
    ids=["NumPy integers", "array", "tensor", "one row", "one tuple"],
)
def test_token_ids_in_every_form_that_a_tokenizer_gives(tiny_pair, prompt):
    logits = sampling.next_token_logits(*tiny_pair, prompt)
    assert logits.input_ids == (5, 6, 7)
    assert {type(token_id) for token_id in logits.input_ids} == {int}
    assert np.array_equal(logits.logits, sampling.next_token_logits(*tiny_pair, [5, 6, 7]).logits)


@pytest.mark.parametrize("returned", [None, "pt"])
def test_what_a_tokenizer_and_a_chat_template_give_is_a_prompt(tiny_pair, returned):
    model, tokenizer = tiny_pair
    encoded = tokenizer("the next token", return_tensors=returned)
    ids = tuple(tokenizer("the next token")["input_ids"])
    assert sampling.next_token_logits(model, tokenizer, encoded).input_ids == ids
    chat = {"chat_template": "{{ messages[0].content }}", "return_dict": True, "return_tensors": returned}
    templated = tokenizer.apply_chat_template([{"role": "user", "content": "the next token"}], **chat)
    assert sampling.next_token_logits(model, tokenizer, templated).input_ids == ids


def test_what_is_no_causal_language_model_and_no_tokenizer_is_named(tiny_pair):
    model, tokenizer = tiny_pair
    sizes = {"vocab_size": 16, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    for given, words in (
        (model.model, "can generate, not LlamaModel"),
        ("a/name", "can generate, not str"),
        (tokenizer, f"can generate, not {type(tokenizer).__name__}"),
        (T5ForConditionalGeneration(T5Config(**sizes)), "T5ForConditionalGeneration has an encoder"),
    ):
        with pytest.raises(SamplingError, match=words):
            sampling.next_token_logits(given, tokenizer, "hello")
    for given in (None, model):
        with pytest.raises(SamplingError, match=f"the model's tokenizer, not {type(given).__name__}"):
            sampling.next_token_logits(model, given, "hello")


def test_a_token_that_adds_no_text_keeps_its_spelling():
    tokenizer = ByT5Tokenizer()
    ids = tokenizer("é", add_special_tokens=False)["input_ids"]
    texts = token_texts(tokenizer, len(tokenizer))
    assert [texts[i] for i in ids] == tokenizer.convert_ids_to_tokens(ids) == ["\u00c3", "\u00a9"]
    assert "" not in texts


def test_the_context_is_the_longest_prompt(tiny_pair):
    model, tokenizer = tiny_pair
    context = model.config.max_position_embeddings
    assert len(sampling.next_token_logits(model, tokenizer, [1] * context).input_ids) == context
    with pytest.raises(SamplingError, match=f"{context + 1:,} tokens.*context is {context:,}"):
        sampling.next_token_logits(model, tokenizer, [1] * (context + 1))


def test_a_model_without_a_longest_prompt_takes_any(tiny_pair):
    _, tokenizer = tiny_pair
    config = XLNetConfig(vocab_size=len(tokenizer), d_model=8, n_layer=1, n_head=2, d_inner=8)
    assert config.max_position_embeddings == -1
    model = XLNetLMHeadModel(config).eval()
    assert sampling.next_token_logits(model, tokenizer, [5, 6, 7]).logits.shape == (len(tokenizer),)


def test_token_texts_keep_spaces_and_name_ids_without_a_token(pair):
    _, tokenizer = pair
    size = len(tokenizer)
    texts = token_texts(tokenizer, size + 2)
    assert texts[size:] == (f"<id {size} has no token>", f"<id {size + 1} has no token>")
    ids = tokenizer("a b c")["input_ids"]
    assert "".join(texts[i] for i in ids) == "a b c"
    assert token_texts(tokenizer, size + 2) is texts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" Paris", "␣Paris"),
        ("\n\t", "\\n\\t"),
        ("\x00\u200f\u202e", "\\u0000\\u200f\\u202e"),
        ("\u0301", "\\u0301"),
        ("\U000e0041", "\\U000e0041"),
        ("<b>$x$</b>", "<b>$x$</b>"),
        ("\\n", "\\\\n"),
    ],
)
def test_visible_spells_what_has_no_shape(text, shown):
    assert visible(text) == shown
