"""From logits to a choice: runs the model once and the installed library's own processor chain, stage by
stage.

Everything that decides is the library's: how settings and defaults become one generation config
(`_prepare_generation_config`), which processors that gives, in which order (`_get_logits_processor`), and
what each of them does. This module calls them one after the other, as `LogitsProcessorList.__call__` does,
and writes down the difference. The four methods are private, but their keywords used here are the same from
4.47.1 to 5.23.0.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from numbers import Integral

import numpy as np
import torch

from helpers.distribution import (
    KEPT,
    NEVER_POSSIBLE,
    Distribution,
    NextTokenLogits,
    SamplingError,
    SamplingSettings,
    Stage,
)
from helpers.token_text import token_texts

__all__ = [
    "Distribution",
    "NextTokenLogits",
    "SamplingError",
    "SamplingSettings",
    "Stage",
    "distribution",
    "installed_defaults",
    "next_token_logits",
    "parameter_names",
    "transformers_chain",
]


def parameter_names() -> tuple[str, ...]:
    """The fields of SamplingSettings that the installed library knows (`top_h` came with 5.x)."""
    from transformers import GenerationConfig

    known = GenerationConfig()
    return tuple(field.name for field in fields(SamplingSettings) if hasattr(known, field.name))


def next_token_logits(model, tokenizer, prompt: str | Sequence[int]) -> NextTokenLogits:
    """Run `model` once over `prompt` (a text, or its token ids: a list, an array or tensor of shape (tokens,) or
    (1, tokens), or what a tokenizer or `apply_chat_template` gives) and return the logits of the token after it.

    They are taken from `generate()` itself (`output_logits=True`), float32, shape (vocabulary,), on the CPU.
    Raises SamplingError for what is no causal language model or no tokenizer, an empty prompt, several prompts, the
    messages of a chat, ids outside the vocabulary, a prompt longer than the model's context, and logits that are NaN
    or +inf.
    """
    _check_model(model)
    _check_tokenizer(tokenizer)
    ids = _prompt_ids(tokenizer, prompt)
    text_config = model.config.get_text_config()
    _check_ids(ids, text_config)
    input_ids = torch.tensor([ids], device=model.device)
    output = model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        generation_config=_one_greedy_token(model),
    )
    logits = output.logits[0][0].float().cpu().numpy()
    return NextTokenLogits(tuple(ids), logits, token_texts(tokenizer, len(logits)))


def _check_model(model) -> None:
    kind = type(model).__name__
    can_generate = getattr(model, "can_generate", None)  # before 4.50 every model has generate() beside it
    if not callable(can_generate) or not can_generate():
        raise SamplingError(
            f"this needs a loaded model that can generate, not {kind}: AutoModelForCausalLM.from_pretrained(…) gives "
            "one, and a pipeline has it as its attribute model."
        )
    if model.config.is_encoder_decoder:
        raise SamplingError(
            f"{kind} has an encoder, which the prompt goes to, and a decoder, which the tokens come from: no token "
            "follows the prompt. Give a causal language model."
        )


def _check_tokenizer(tokenizer) -> None:
    if not (callable(tokenizer) and hasattr(tokenizer, "convert_ids_to_tokens")):
        raise SamplingError(
            f"this needs the model's tokenizer, not {type(tokenizer).__name__}: AutoTokenizer.from_pretrained(…) gives "
            "it, and a processor has it as its attribute tokenizer."
        )


def _prompt_ids(tokenizer, prompt) -> list[int]:
    if isinstance(prompt, str):
        if not prompt:
            raise SamplingError("the prompt is empty: give at least one character, so that there is a last token.")
        return list(tokenizer(prompt)["input_ids"])
    if isinstance(prompt, Mapping) and "input_ids" in prompt:
        prompt = prompt["input_ids"]
    if isinstance(prompt, torch.Tensor | np.ndarray):
        prompt = prompt.tolist()
    if not isinstance(prompt, list | tuple):
        raise SamplingError(f"a prompt is a text or a list of token ids, not {type(prompt).__name__}.")
    if len(prompt) == 1 and isinstance(prompt[0], list | tuple):
        prompt = prompt[0]  # one row, as tokenizers give it: of shape (1, tokens)
    if any(isinstance(part, Mapping) for part in prompt):
        raise SamplingError(
            "these are messages of a chat, and what the model reads is a text: give "
            "tokenizer.apply_chat_template(messages, add_generation_prompt=True)."
        )
    if any(isinstance(part, str | list | tuple) for part in prompt):
        raise SamplingError(
            f"a batch of {len(prompt)} prompts was given, but one next token has one distribution: "
            "give one text (or one list of token ids) and call again for the next."
        )
    wrong = next((part for part in prompt if isinstance(part, bool) or not isinstance(part, Integral)), None)
    if wrong is not None:
        raise SamplingError(f"a token id is a whole number, not {wrong!r}: give a text or a list of token ids.")
    return [int(part) for part in prompt]


def _check_ids(ids: list[int], text_config) -> None:
    if not ids:
        raise SamplingError("the prompt has no tokens: give at least one, so that there is a last token.")
    outside = [i for i in ids if not 0 <= i < text_config.vocab_size]
    if outside:
        raise SamplingError(
            f"token id {outside[0]} is outside the model's vocabulary of {text_config.vocab_size:,}: "
            "the tokenizer and the model do not belong together."
        )
    context = getattr(text_config, "max_position_embeddings", None)
    if context is not None and 0 < context < len(ids):  # XLNet, which has no limit, says -1
        raise SamplingError(
            f"the prompt has {len(ids):,} tokens, but the model's context is {context:,} "
            "(max_position_embeddings in its config): shorten the prompt."
        )


def _one_greedy_token(model):
    from transformers import GenerationConfig

    padding = model.generation_config.pad_token_id
    if padding is None:  # set here what generate() would set, which in 4.x it reports on stderr each time
        end = model.generation_config.eos_token_id
        padding = end[0] if isinstance(end, list) else end
    return GenerationConfig(
        max_new_tokens=1,
        do_sample=False,
        num_beams=1,
        pad_token_id=padding,
        return_dict_in_generate=True,
        output_logits=True,
    )


def installed_defaults(model) -> SamplingSettings:
    """Every sampling parameter as `generate()` uses it when the caller sets none.

    Read from the library: the checkpoint's generation_config.json where it has a value, else the library's
    own (so `top_k` is 50 although nobody asked). None means that the library has no such step.
    """
    config, _ = _generation_config(model, SamplingSettings())
    return _effective(config)


def distribution(
    logits: NextTokenLogits,
    settings: SamplingSettings,
    model,
    logits_processor: Sequence = (),
) -> Distribution:
    """Run the chain that `model.generate(**settings.arguments())` would build, on the model's device.

    `logits_processor`: processors of your own, put where the library puts them. A value that the library
    refuses raises SamplingError in the library's words; so do a chain that leaves no token and a setting
    that leads to a decoding method other than sampling or greedy search.
    """
    input_ids = torch.tensor([logits.input_ids], device=model.device)
    messages: list[str] = []
    with _transformers_messages(messages):
        config, processors = _chain(model, settings, input_ids, logits_processor)
        start = Stage("raw logits", {}, logits.logits, np.empty(0, dtype=np.int64), 0)
        scores = torch.tensor(logits.logits[None], device=model.device)
        stages = tuple(_run(processors, input_ids, scores))
    final = stages[-1].scores if stages else logits.logits
    probabilities = torch.nn.functional.softmax(torch.tensor(final, device=model.device), dim=-1).cpu().numpy()
    return Distribution(
        logits,
        settings,
        _effective(config),
        start,
        stages,
        probabilities,
        _removed_by(start, stages),
        tuple(messages),
    )


def transformers_chain(model, settings: SamplingSettings, logits_processor: Sequence = ()) -> list:
    """The processors that `model.generate(**settings.arguments())` would apply, in its order.

    Raises SamplingError as `distribution` does.
    """
    with _transformers_messages([]):
        _, processors = _chain(model, settings, torch.tensor([[0]], device=model.device), logits_processor)
    return list(processors)


def _chain(model, settings: SamplingSettings, input_ids: torch.Tensor, own: Sequence):
    from transformers import LogitsProcessorList
    from transformers.generation.configuration_utils import GenerationMode

    config, unused = _generation_config(model, settings)
    mode = config.get_generation_mode()
    if mode not in (GenerationMode.SAMPLE, GenerationMode.GREEDY_SEARCH):
        raise SamplingError(
            f"the checkpoint's generation config asks for {mode.value}, which chooses among several "
            "sequences and not from one distribution: set model.generation_config.num_beams = 1 "
            "(and no assistant) to look at sampling."
        )
    try:
        if unused:
            model._validate_model_kwargs(unused)
        model._prepare_special_tokens(config, True, device=input_ids.device)
        processors = model._get_logits_processor(
            generation_config=config,
            input_ids_seq_length=input_ids.shape[1],
            encoder_input_ids=input_ids,
            prefix_allowed_tokens_fn=None,
            logits_processor=LogitsProcessorList(own),
            device=input_ids.device,
            model_kwargs={"attention_mask": torch.ones_like(input_ids)},
        )
    except (ValueError, TypeError) as refusal:
        raise SamplingError(str(refusal)) from refusal
    return config, processors


def _generation_config(model, settings: SamplingSettings):
    try:
        return model._prepare_generation_config(None, **settings.arguments())
    except (ValueError, TypeError) as refusal:
        raise SamplingError(str(refusal)) from refusal


def _effective(config) -> SamplingSettings:
    return SamplingSettings(**{name: getattr(config, name) for name in parameter_names()})


def _run(processors: Sequence, input_ids: torch.Tensor, scores: torch.Tensor) -> Iterator[Stage]:
    before = scores[0].cpu().numpy().copy()  # copies: a processor may write into the scores it is given
    for processor in processors:
        scores = processor(input_ids, scores)
        after = scores[0].cpu().numpy().copy()
        out = np.isneginf(after)
        removed = np.flatnonzero(out & ~np.isneginf(before))
        stage = Stage(
            type(processor).__name__,
            _parameters(processor),
            after,
            removed,
            int((~out & (after != before)).sum()),
        )
        _check_stage(stage)
        yield stage
        before = after


def _check_stage(stage: Stage) -> None:
    if not (stage.scores < np.inf).all():
        raise SamplingError(f"{stage.label()} gave scores that are NaN or +inf: check its parameters.")
    if stage.kept == 0:
        raise SamplingError(f"{stage.label()} removed the last possible token: nothing is left to choose from.")


def _parameters(processor) -> dict[str, object]:
    """The plain public attributes of a processor; one-element tensors as numbers, anything else by its
    type.
    """
    values = {}
    for name, value in vars(processor).items():
        if name.startswith("_") or value is None:
            continue
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        plain = isinstance(value, bool | int | float | str)
        values[name] = value if plain else type(value).__name__
    return values


def _removed_by(start: Stage, stages: Sequence[Stage]) -> np.ndarray:
    removed_by = np.full(len(start.scores), KEPT, dtype=np.int16)
    removed_by[np.isneginf(start.scores)] = NEVER_POSSIBLE
    for index, stage in enumerate(stages):
        removed_by[stage.removed_ids] = index
        removed_by[~np.isneginf(stage.scores)] = KEPT  # a processor may bring a token back (forced tokens do)
    return removed_by


@contextlib.contextmanager
def transformers_messages() -> Iterator[list[str]]:
    """What the library warns of inside the block, in the list that the block is given, and not on stderr.

    Warnings of 4.x are in the list when the block has ended; the log messages of 5.x at once.
    """
    collected: list[str] = []
    with _transformers_messages(collected):
        yield collected


@contextlib.contextmanager
def _transformers_messages(collected: list[str]) -> Iterator[None]:
    """Collect what the library warns of (UserWarning in 4.x, its logger in 5.x) instead of writing it to
    stderr. Each block has all of it: what the library tells once in a process is told again, in the next too.
    """
    library_logger = logging.getLogger("transformers")
    handlers = library_logger.handlers[:]
    collector = logging.Handler(logging.WARNING)
    collector.emit = lambda record: collected.append(record.getMessage())
    library_logger.handlers[:] = [collector]
    _forget_what_was_told_once()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        library_logger.handlers[:] = handlers
        _forget_what_was_told_once()  # nobody has read it on stderr
        collected.extend(str(warning.message) for warning in caught)


def _forget_what_was_told_once() -> None:
    """`logger.warning_once` of transformers is `warning` behind a cache of what it was given."""
    forget = getattr(getattr(logging.Logger, "warning_once", None), "cache_clear", None)
    if forget is not None:
        forget()
