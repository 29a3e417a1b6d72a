"""Tiny models that are out of the ordinary: a tokenizer whose tokens are hostile, vocabularies of any size."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HOSTILE = (
    "</script><img/src=x/onerror=\"document.title='broken'\">",
    "<!--",
    "$x$",
    "\u202eright-to-left\u2066שלום",
    "\u0301\u0301combining",
    "\x00\x07\x1b",
    "new\nline",
)


def model_of(vocabulary: int) -> LlamaForCausalLM:
    """A random Llama with so many tokens, the same each time."""
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, bos_token_id=0, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def tokenizer_of(*tokens: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole words; "a", which stands before a token when its text is asked for, is always one."""
    words = list(dict.fromkeys(["a", *tokens]))
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="a")


def save_hostile(folder: Path) -> Path:
    """A checkpoint whose tokenizer has every HOSTILE text as a token."""
    tokenizer = tokenizer_of(*HOSTILE)
    model_of(len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
