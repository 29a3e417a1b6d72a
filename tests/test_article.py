"""The article's script in parts."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

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


@pytest.mark.parametrize("template", [None, "{{ bos_token }}{% for one in messages %}{{ one.content }} {% endfor %}"])
def test_the_start_token_is_there_once(template):
    """Llama's tokenizers put it before a text, and Llama's templates write it there too."""
    words = Tokenizer(models.WordLevel({"<s>": 0, "<unk>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", unk_token="<unk>")
    tokenizer.chat_template = template
    prompt = article.prompt(tokenizer)
    assert article.QUESTION in prompt
    assert tokenizer(prompt)["input_ids"].count(0) == 1


def test_the_sampling_settings_are_the_articles():
    assert article.SAMPLING == {
        "do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.1,
    }  # fmt: skip
