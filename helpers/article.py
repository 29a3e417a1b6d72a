"""The script that the article steps through, in parts: its question, its system prompt, its sampling settings.

Source: the article "HuggingFace Transformers" (2024-12-20) and its run.py, pinned to transformers 4.47.1. The system
prompt and the chat format are those published with Llama-2-Chat.
"""

from __future__ import annotations

QUESTION = "you walk one mile south, one mile west and one mile north and end up where you started: where are you?"
SYSTEM_PROMPT = (
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while being safe. "
    "Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or illegal content. "
    "Please ensure that your responses are socially unbiased and positive in nature.\n\n"
    "If a question does not make any sense, or is not factually coherent, explain why instead of answering something "
    "not correct. If you don't know the answer to a question, please don't share false information."
)
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 40, "repetition_penalty": 1.1}
"""The sampling arguments that the article gives to pipeline()."""

LLAMA_2_7B = {
    "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}  # fmt: skip
"""The shape of the article's model, meta-llama/Llama-2-7b-chat-hf, as its config.json gives it to LlamaConfig."""

_LLAMA_2_CHAT = "<s>[INST] <<SYS>>\n{system}\n<</SYS>>\n\n{question} [/INST]"


def prompt(tokenizer, question: str = QUESTION) -> str:
    """The article's question (or `question`) as a prompt for this tokenizer: in its chat template, else in Llama-2's.

    For a tokenizer that puts the start token (`<s>`) before every text it is left out here: a pipeline gives it this
    text, and the model would read two.
    """
    if not getattr(tokenizer, "chat_template", None):
        text = _LLAMA_2_CHAT.format(system=SYSTEM_PROMPT, question=question)
    else:
        messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    start = getattr(tokenizer, "bos_token", None)
    if not start or not text.startswith(start) or not tokenizer.num_special_tokens_to_add():
        return text
    doubled = tokenizer(text)["input_ids"][:2] == [tokenizer.bos_token_id] * 2
    return text.removeprefix(start) if doubled else text
