"""One row of logits small enough to travel with a page: exact where it matters, bins for the long tail.

Exact are the 1,024 highest logits and those of the prompt's own tokens, which the penalties act on. The rest is told
by 256 bins: how many tokens, the mean of their logits, and how far they spread. The bins are evenly wide in log rank,
so that a cutoff among them is known to the same share of the count wherever it falls: 1.5% for 49,152 tokens.
"""

from __future__ import annotations

import base64
from functools import lru_cache

import numpy as np

from helpers.distribution import NextTokenLogits

EXACT, BINS = 1024, 256


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
    """The row as plain JSON values, about 28 kB for a vocabulary of 49,152.

    `vocabulary`: its size; `input_ids`, `input_texts`: the prompt's tokens; `ids` (int32), `logits` (float32) and
    `texts` (visible spelling) of the exact ones; `tail_counts` (int32), `tail_means` and `tail_spreads` (float32) of
    the bins. A spread w says that the logits of a bin lie about evenly in mean ± w. Tokens outside the exact ones that
    the model itself rules out (-inf) are in no bin. Arrays are little-endian, in base64.
    """
    ids = exact_ids(logits)
    counts, means, spreads = _bins(np.delete(logits.logits, ids))
    return {
        "vocabulary": len(logits.logits),
        "input_ids": list(logits.input_ids),
        "input_texts": [logits.token(token_id) for token_id in logits.input_ids],
        "ids": packed(ids, "<i4"),
        "logits": packed(logits.logits[ids], "<f4"),
        "texts": [logits.token(token_id) for token_id in ids],
        "tail_counts": packed(counts, "<i4"),
        "tail_means": packed(means, "<f4"),
        "tail_spreads": packed(spreads, "<f4"),
    }


def packed(values, kind: str) -> str:
    """Numbers as base64 text of NumPy type `kind` ('<i4', '<f4'), for `integersOf` and `floatsOf` in base.js."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def _bins(tail: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, means and spreads (float64) of the tail's finite values, from the highest down."""
    falling = -np.sort(-tail[np.isfinite(tail)].astype(np.float64))
    if not len(falling):
        return np.empty(0, dtype=int), np.empty(0), np.empty(0)
    edges = np.geomspace(EXACT, EXACT + len(falling), BINS + 1).round().astype(int) - EXACT
    starts = np.unique(edges[:-1])
    counts = np.diff([*starts, len(falling)])
    means = np.add.reduceat(falling, starts) / counts
    squares = np.add.reduceat((falling - np.repeat(means, counts)) ** 2, starts) / counts
    return counts, means, np.sqrt(3 * squares)  # values even in mean ± w have the variance w²/3
