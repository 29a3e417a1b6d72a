"""What the installed library's sampling consists of: parameters and defaults, order of the chain, words of refusal.

All of it is asked of the library, with the model at hand, so that a page without a kernel can follow it.
"""

from __future__ import annotations

import numpy as np

from helpers import sampling
from helpers.distribution import NextTokenLogits, SamplingError, SamplingSettings
from helpers.sampling_answers.result import settings_texts

# Values that switch each step on, and values that the library refuses (by the key of its words).
_ON = SamplingSettings(
    repetition_penalty=1.5,
    no_repeat_ngram_size=9,
    temperature=0.5,
    top_h=0.5,
    top_k=9,
    top_p=0.5,
    min_p=0.5,
    typical_p=0.5,
    epsilon_cutoff=0.5,
    eta_cutoff=0.5,
)
_REFUSED = {
    "repetition_penalty": {"refused": -7},
    "no_repeat_ngram_size": {"refused": 7.5},
    "temperature": {"refused": -7, "zero": 0.0},
    "top_h": {"refused": -7},
    "top_k": {"refused": -7},
    "top_p": {"refused": -7},
    "min_p": {"refused": -7},
    "typical_p": {"refused": -7},
}


def installed_sampling(model, logits_processor=()) -> dict:
    """Plain JSON values: `version` of transformers; `parameters`, the names it knows, in the order of the chain;
    `defaults`, what is in force when the caller sets nothing, as Python literals ("None": no such step);
    `chain`, the class names in order with every step on, for do_sample "True" and "False"; `words`, by parameter,
    of what is refused, with `{value}` for the value as given and `{float}` for the value as a float.

    `logits_processor`: processors of your own, which stand in the chain too, as "TopKLogitsWarper of your own": one of
    a class that the library also builds keeps its own value, whatever the parameter says.
    """
    from transformers import __version__

    names = sampling.parameter_names()
    defaults = sampling.installed_defaults(model)
    return {
        "version": __version__,
        "parameters": list(names),
        "defaults": dict.fromkeys(names, "None") | settings_texts(defaults),
        "chain": {str(on): _chain(model, names, on, logits_processor) for on in (True, False)},
        "words": {name: _words(model, name) for name in names if name in _REFUSED},
    }


def _chain(model, names, do_sample: bool, own) -> list[str]:
    on = {name: value for name, value in _ON.arguments().items() if name in names}
    chain = sampling.transformers_chain(model, SamplingSettings(do_sample=do_sample, **on), own)
    return [_chain_name(processor, own) for processor in chain]


def _chain_name(processor, own) -> str:
    name = type(processor).__name__
    return f"{name} of your own" if any(processor is one for one in own) else name


def _words(model, name: str) -> dict[str, str]:
    row = NextTokenLogits((0,), np.zeros(2, dtype=np.float32), ("a", "b"))
    words = {}
    for key, value in _REFUSED[name].items():
        try:
            sampling.distribution(row, SamplingSettings(do_sample=True, **{name: value}), model)
        except SamplingError as refusal:
            words[key] = str(refusal).replace(f"{float(value)}", "{float}").replace(f"{value}", "{value}")
    return words
