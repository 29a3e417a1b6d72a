"""What a token looks like: its text in context, and a spelling of that text that is safe to print."""

from __future__ import annotations

import re
import unicodedata
import weakref

OPEN_BOX = "\N{OPEN BOX}"  # stands for a space, so that " Paris" and "Paris" look different
_NAMED = {" ": OPEN_BOX, "\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\"}
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs", "Mn", "Me"}
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_known = weakref.WeakKeyDictionary()


def visible(text: str) -> str:
    """Spell `text` so that every character can be seen: '␣' for a space, escapes for what has no shape of
    its own.

    Control and formatting characters, unusual spaces and combining marks become `\\n`-like or
    `\\u0301`-like escapes. Nothing else changes: markup such as `<b>` or `$x$` stays as it is, and whoever
    shows it has to escape it.
    """
    return "".join(_spell(character) for character in text)


def _spell(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    return escaped(character)


def escaped(character: str) -> str:
    """The Python escape of one character: `\\u0301`, or `\\U0001f600` above the 16-bit range."""
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def token_texts(tokenizer, vocabulary_size: int) -> tuple[str, ...]:
    """The text that each token id adds to a running text, for ids 0 to `vocabulary_size - 1`.

    A token is decoded behind another token, because some tokenizers (Llama 2's) drop the leading space of
    the first. A token that holds only part of a character's bytes, or adds nothing, has no text of its own; it
    keeps the spelling of the vocabulary. An id without a token (models pad their vocabulary) reads '<id 123 has no
    token>'. The result is kept for as long as the tokenizer lives.
    """
    key = (len(tokenizer), vocabulary_size)
    by_size = _known.setdefault(tokenizer, {})
    if key not in by_size:
        by_size[key] = _decode_all(tokenizer, vocabulary_size)
    return by_size[key]


def _decode_all(tokenizer, vocabulary_size: int) -> tuple[str, ...]:
    with_token = min(len(tokenizer), vocabulary_size)
    anchor = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    before = tokenizer.decode(anchor, **options)
    behind_anchor = tokenizer.batch_decode([[*anchor, token_id] for token_id in range(with_token)], **options)
    spellings = tokenizer.convert_ids_to_tokens(list(range(with_token)))
    texts = [
        spelling
        if spelling is not None and (_REPLACEMENT in text or text == before or not text.startswith(before))
        else text[len(before) :]
        for text, spelling in zip(behind_anchor, spellings, strict=True)
    ]
    texts += [f"<id {token_id} has no token>" for token_id in range(with_token, vocabulary_size)]
    return tuple(texts)


_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it: a recording of somebody else's may hold any name."""


def printable(text: str) -> str:
    """A text of several lines for a terminal: what it would obey instead of showing it is spelled."""
    return _CONTROL.sub(lambda found: escaped(found[0]), text)
