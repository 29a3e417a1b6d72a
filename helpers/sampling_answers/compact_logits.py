"""One row of logits small enough to travel with a page: exact where it matters, the long tail to the fourth decimal.

Exact are the 1,024 highest logits and those of the prompt's own tokens, which the penalties act on. The rest travels
without its ids, as gaps between neighbours: a cutoff that lies among the exact tokens hangs on every one of the tail
(typical_p takes from both ends until their sum is reached), and bins of many tokens would move it.
"""

from __future__ import annotations

import base64
from functools import lru_cache

import numpy as np

from helpers.distribution import NextTokenLogits
from helpers.sampling_answers.logit_gaps import gaps_of

EXACT = 1024


@lru_cache(maxsize=16)  # sorting the vocabulary is the greater part of an answer; a row never changes
def exact_ids(logits: NextTokenLogits) -> np.ndarray:
    """The ids whose logits travel as they are (int32): the `EXACT` highest, then the other ids of the prompt.

    By falling logit, equal ones by rising id. Read-only.
    """
    ranked = np.argsort(-logits.logits, kind="stable")
    context = np.isin(ranked, list(logits.input_ids))
    context[:EXACT] = True
    ids = ranked[context].astype(np.int32)
    ids.flags.writeable = False
    return ids


def compact(logits: NextTokenLogits) -> dict:
    """The row as plain JSON values, about 60 kB for a vocabulary of 49,152.

    `vocabulary`: its size; `input_ids`, `input_texts`: the prompt's tokens; `ids` (int32), `logits` (float32) and
    `texts` (visible spelling) of the exact ones; `tail`: the other logits by `logit_gaps.gaps_of`, without those that
    the model itself rules out (-inf). Arrays are little-endian; they and the tail's bits are in base64.
    """
    ids = exact_ids(logits)
    tail = np.delete(logits.logits, ids)
    gaps = gaps_of(-np.sort(-tail[np.isfinite(tail)]))
    return {
        "vocabulary": len(logits.logits),
        "input_ids": list(logits.input_ids),
        "input_texts": [logits.token(token_id) for token_id in logits.input_ids],
        "ids": packed(ids, "<i4"),
        "logits": packed(logits.logits[ids], "<f4"),
        "texts": [logits.token(token_id) for token_id in ids],
        "tail": {**gaps, "bits": base64.b64encode(gaps["bits"]).decode("ascii")},
    }


def packed(values, kind: str) -> str:
    """Numbers as base64 text of NumPy type `kind` ('<i4', '<f4'), for `integersOf` and `floatsOf` in base.js."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")
