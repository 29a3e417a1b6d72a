"""The exercises of notebook 05: right answers are right, and each wrong one is explained."""

import pytest
import torch
from transformers import pipeline

from helpers.exercises.pipeline import check_by_hand, check_device_calls, check_list_calls

PROMPT, SETTINGS = "hello there", {"max_new_tokens": 4, "do_sample": True, "temperature": 0.7}


@pytest.fixture(scope="module")
def pipe(tiny_checkpoint):
    return pipeline("text-generation", model=str(tiny_checkpoint), device="cpu")


def _wrong(verdict, hint):
    assert not verdict
    assert hint in verdict.explanation


def test_moves_between_devices(pipe):
    prompts = ["one", "two", "three"]
    assert check_device_calls(24, pipe, prompts)
    assert "Not answered" in repr(check_device_calls(None, pipe, prompts))
    _wrong(check_device_calls(6, pipe, prompts), "What does the function do with a dictionary")
    _wrong(check_device_calls(12, pipe, prompts), "one direction")
    _wrong(check_device_calls(8, pipe, prompts), "what one prompt takes")
    _wrong(check_device_calls(18, pipe, prompts), "for each value")
    _wrong(check_device_calls("eight", pipe, prompts), "whole number")


def test_a_list_in_batches(pipe):
    prompts = ["one", "two", "three"]
    assert check_list_calls((0, 2), pipe, prompts, batch_size=2)
    assert "Not answered" in repr(check_list_calls(None, pipe, prompts, 2))
    _wrong(check_list_calls((3, 2), pipe, prompts, 2), "run_single")
    _wrong(check_list_calls((0, 3), pipe, prompts, 2), "batch_size=1")
    _wrong(check_list_calls((0, 1), pipe, prompts, 2), "Count the batches")
    _wrong(check_list_calls(2, pipe, prompts, 2), "two whole numbers")


def _by_hand(model, tokenizer, prompt, **settings):
    inputs = tokenizer(prompt, return_tensors="pt")
    ids = model.generate(**inputs, **settings)
    return prompt + tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_pipeline_by_hand_and_the_random_state_is_as_before(pipe):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert check_by_hand(_by_hand, pipe, PROMPT, SETTINGS)
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_pipelines_by_hand(pipe):
    def by_pipeline(model, tokenizer, prompt, **settings):
        return pipe(prompt, **settings)[0]["generated_text"]

    def with_special_token(*given, **settings):
        return _by_hand(*given, **settings) + pipe.tokenizer.eos_token

    assert "Not answered" in repr(check_by_hand(None, pipe, PROMPT, SETTINGS))
    _wrong(check_by_hand("text", pipe, PROMPT, SETTINGS), "the function itself")
    _wrong(check_by_hand(by_pipeline, pipe, PROMPT, SETTINGS), "calls a pipeline")
    _wrong(check_by_hand(lambda *_, **__: [1], pipe, PROMPT, SETTINGS), "the text, not ids")
    _wrong(check_by_hand(with_special_token, pipe, PROMPT, SETTINGS), "skip_special_tokens")
    _wrong(check_by_hand(lambda model: "text", pipe, PROMPT, SETTINGS), "your function raised TypeError")
    _wrong(check_by_hand(lambda *_, **__: "other", pipe, PROMPT, SETTINGS), "Another text")
    new_text_only = lambda *given, **settings: _by_hand(*given, **settings).removeprefix(PROMPT)  # noqa: E731
    _wrong(check_by_hand(new_text_only, pipe, PROMPT, SETTINGS), "begins with the prompt")
