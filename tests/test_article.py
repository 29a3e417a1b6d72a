"""The article's script in parts."""

from transformers import AutoTokenizer

from helpers import article


class NoTemplate:
    chat_template = None


def test_the_prompt_is_in_the_chat_template_of_the_model(tiny_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    prompt = article.prompt(tokenizer)
    assert article.QUESTION in prompt
    assert article.SYSTEM_PROMPT in prompt
    assert not prompt.startswith("<s>[INST]")


def test_without_a_template_it_is_llama_2s():
    prompt = article.prompt(NoTemplate())
    assert prompt.startswith("<s>[INST] <<SYS>>\nYou are a helpful, respectful and honest assistant.")
    assert prompt.endswith(f"{article.QUESTION} [/INST]")


def test_the_sampling_settings_are_the_articles():
    assert article.SAMPLING == {
        "do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.1,
    }  # fmt: skip
