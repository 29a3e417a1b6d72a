"""What a chain did to one row of logits, as plain JSON values: the answer that the sampling explorer shows.

With a kernel it is made here from the library's own stages; on a page without one `views/sampling_chain.js` makes
the same keys from `compact_logits`, and tests/test_sampling_chain.py holds the two together.
"""

from __future__ import annotations

import ast
import math
from dataclasses import fields

import numpy as np

from helpers.distribution import Distribution, SamplingError, SamplingSettings, Stage
from helpers.sampling_answers.compact_logits import packed

CURVE_POINTS = 120
PENALTY = "RepetitionPenaltyLogitsProcessor"


def settings_from_text(texts: dict[str, str]) -> SamplingSettings:
    """Settings from parameter names and Python literals, so that 2 and 2.0 stay apart: {"temperature": "0.7"}.

    "" and "None" leave a parameter to the library. Raises SamplingError for a name that is no parameter and for a
    text that is not a finite number (do_sample: not True or False).
    """
    known = {field.name for field in fields(SamplingSettings)}
    unknown = sorted(set(texts) - known)
    if unknown:
        raise SamplingError(f"there is no sampling parameter {', '.join(unknown)}.")
    return SamplingSettings(**{name: _value(name, text.strip()) for name, text in texts.items()})


def _value(name: str, text: str):
    if text in ("", "None"):
        return None
    wanted = "True or False" if name == "do_sample" else "a number as Python writes it (50, 0.7)"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError):
        value = None
    fits = isinstance(value, bool) if name == "do_sample" else type(value) in (int, float) and math.isfinite(value)
    if not fits:
        raise SamplingError(f"{name}: {text} is not {wanted}.")
    return value


def settings_texts(settings: SamplingSettings) -> dict[str, str]:
    """The literal of every parameter that is set: {"do_sample": "True", "temperature": "0.7"}."""
    return {name: repr(value) for name, value in settings.arguments().items()}


def refused(words: str) -> dict:
    """The answer to settings that cannot be used."""
    return {"refusal": words}


def result(distribution: Distribution, ids: np.ndarray) -> dict:
    """The answer for `ids`, the exact ones of the row.

    `effective`: every parameter in force, as literals; `messages`: what the library said; `stages`: one per processor,
    the raw logits first (see `_stage`); `probabilities` (float32) and `removed_by` (int32: index into the processors,
    -1 kept, -2 never possible) of `ids`; `others`: the tokens that are not among `ids`; `penalised`: scores of the
    prompt's own tokens after the repetition penalty, null where the chain has none; `greedy_id`, `greedy_text`.
    """
    stages = (distribution.start, *distribution.stages)
    return {
        "refusal": "",
        "effective": {name: repr(value) for name, value in vars(distribution.effective).items()},
        "messages": list(distribution.messages),
        "do_sample": distribution.do_sample,
        "stages": [_stage(distribution, stages[max(0, n - 1)], stage) for n, stage in enumerate(stages)],
        "probabilities": packed(distribution.final.probabilities[ids], "<f4"),
        "removed_by": packed(distribution.removed_by[ids], "<i4"),
        "others": _others(distribution, ids),
        "penalised": _penalised(distribution),
        "greedy_id": distribution.greedy_id,
        "greedy_text": distribution.logits.token(distribution.greedy_id),
    }


def _stage(distribution: Distribution, before: Stage, stage: Stage) -> dict:
    """One stage: `share` is the probability, before it, of what it keeps; `curve` the ranks and cumulative sums."""
    first = stage is distribution.start
    changed = first or stage.changed
    return {
        "processor": stage.processor,
        "label": stage.label(),
        "kept": stage.kept,
        "removed": len(stage.removed_ids),
        "rescored": stage.rescored,
        "changed": changed,
        "entropy": stage.entropy,
        "top_id": stage.top_id,
        "top_text": distribution.logits.token(stage.top_id),
        "top_probability": stage.top_probability,
        "share": 1.0 if first else float(before.probabilities[np.isfinite(stage.scores)].sum()),
        "curve": _curve(stage) if changed else None,
    }


def _curve(stage: Stage) -> dict:
    together = np.cumsum(-np.sort(-stage.probabilities[np.isfinite(stage.scores)]))
    ranks = np.unique(np.geomspace(1, stage.kept, CURVE_POINTS).round().astype(int))
    return {"ranks": ranks.tolist(), "together": together[ranks - 1].round(6).tolist()}


def _others(distribution: Distribution, ids: np.ndarray) -> dict:
    outside = np.ones(len(distribution.probabilities), dtype=bool)
    outside[ids] = False
    return {
        "count": int(outside.sum()),
        "kept": int(np.isfinite(distribution.final.scores[outside]).sum()),
        "raw": float(distribution.start.probabilities[outside].sum()),
        "probability": float(distribution.final.probabilities[outside].sum()),
    }


def _penalised(distribution: Distribution) -> dict | None:
    after = next((stage for stage in distribution.stages if stage.processor == PENALTY), None)
    if after is None:
        return None
    vocabulary = len(distribution.probabilities)
    ids = sorted({token_id for token_id in distribution.logits.input_ids if token_id < vocabulary})
    return {"ids": ids, "scores": [float(after.scores[i]) if np.isfinite(after.scores[i]) else None for i in ids]}
