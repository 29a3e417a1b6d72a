"""The settings of a forecast. Imports no torch, so that the command line can show them."""

PROMPT_TOKENS, NEW_TOKENS = 173, 512
"""Those of the article: its prompt in Llama-2's tokens, and its max_new_tokens."""
CACHES = ("dynamic", "static")


class ForecastError(ValueError):
    """What is asked for makes no sense, or the library cannot build the model; the message says what to give."""
