"""Plain data about one next token: the model's logits, each stage of the processor chain, the final
distribution.

Numbers and strings only (NumPy, no model, no tokenizer): `helpers.sampling` writes it, the views read it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import pandas as pd

from helpers.token_text import visible

KEPT = -1  # in `removed_by`: the token can still be chosen
NEVER_POSSIBLE = -2  # in `removed_by`: the model itself gave it a logit of -inf
_USUAL_PARAMETERS = {("min_tokens_to_keep", 1), ("prompt_ignore_length", 0)}


class SamplingError(ValueError):
    """A prompt, a setting or a distribution that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class SamplingSettings:
    """The sampling parameters of `generate()`, in its spelling; None leaves one to the installed library.

    No value is checked here: the library accepts or refuses it, in its own words, when the chain is built.
    """

    do_sample: bool | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    temperature: float | None = None
    top_h: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    epsilon_cutoff: float | None = None
    eta_cutoff: float | None = None

    def arguments(self) -> dict:
        """What was set, as keyword arguments for `generate()`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, eq=False)
class NextTokenLogits:
    """The logits of the token after a prompt.

    `input_ids`: the prompt's token ids; `logits`: float32, shape (vocabulary,), as the model gave them,
    before any processor; `token_texts`: the text of each id, as many as there are logits. Raises
    SamplingError for logits of another shape, NaN or +inf, or without one finite value.
    """

    input_ids: tuple[int, ...]
    logits: np.ndarray
    token_texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.logits.ndim != 1 or len(self.logits) != len(self.token_texts):
            raise SamplingError(
                f"logits of shape {self.logits.shape} do not fit {len(self.token_texts)} tokens: "
                "give one row, with one logit for each token of the vocabulary."
            )
        broken = int(np.isnan(self.logits).sum() + np.isposinf(self.logits).sum())
        if broken:
            raise SamplingError(
                f"{broken:,} of the {len(self.logits):,} logits are NaN or +inf: they have no softmax. "
                "The forward pass overflowed or the weights are damaged: load the model in float32 "
                "or bfloat16 and try again."
            )
        if not np.isfinite(self.logits).any():
            raise SamplingError("every logit is -inf: the model allows no token, so nothing can be chosen.")

    def token(self, token_id: int) -> str:
        """The text of a token, spelled visibly: '␣Paris'."""
        return visible(self.token_texts[token_id])


@dataclass(frozen=True, eq=False)
class Stage:
    """The scores after one processor of the chain (or before the first, for `Distribution.start`).

    `processor`: its class name; `parameters`: its plain attributes; `scores`: float32 (vocabulary,), -inf
    where a token is out; `removed_ids`: ids that this stage set to -inf; `rescored`: how many of the others
    it changed.
    """

    processor: str
    parameters: dict[str, object]
    scores: np.ndarray
    removed_ids: np.ndarray
    rescored: int

    @property
    def changed(self) -> bool:
        """Whether any score differs from the one before this stage."""
        return bool(self.rescored or len(self.removed_ids))

    @cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the scores, computed and returned in float64, shape (vocabulary,)."""
        scores = self.scores.astype(np.float64)
        weights = np.exp(scores - scores.max())
        return weights / weights.sum()

    @cached_property
    def kept(self) -> int:
        """How many tokens can still be chosen."""
        return int((~np.isneginf(self.scores)).sum())

    @cached_property
    def entropy(self) -> float:
        """Shannon entropy of the softmax of the scores, in bits."""
        possible = self.probabilities[self.probabilities > 0]
        return float(-(possible * np.log2(possible)).sum()) + 0.0

    @property
    def top_id(self) -> int:
        """The id with the highest score; the lowest id among equals, as `torch.argmax` does on a CPU."""
        return int(self.scores.argmax())

    @property
    def top_probability(self) -> float:
        """The probability of `top_id`, between 0 and 1."""
        return float(self.probabilities[self.top_id])

    def telling_parameters(self) -> dict[str, object]:
        """`parameters` without those that every filter has and that say nothing at their usual value."""
        return {
            name: value
            for name, value in self.parameters.items()
            if name != "filter_value" and (name, value) not in _USUAL_PARAMETERS
        }

    def label(self) -> str:
        """The class name with the parameters that tell it apart: 'TopKLogitsWarper(top_k=50)'."""
        inside = ", ".join(f"{name}={_short(value)}" for name, value in self.telling_parameters().items())
        return f"{self.processor}({inside})" if inside else self.processor


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, eq=False)
class Distribution:
    """What the installed processor chain makes of one row of logits, stage by stage.

    `settings`: what was asked; `effective`: every sampling parameter as the library completed it; `start`:
    the raw logits as a stage; `stages`: one per processor, in the library's order; `probabilities`: float32
    (vocabulary,), the library's softmax over the final scores; `removed_by`: int (vocabulary,), the index
    into `stages` of what removed each token, KEPT or NEVER_POSSIBLE; `messages`: what the library said
    while it built the chain.
    """

    logits: NextTokenLogits
    settings: SamplingSettings
    effective: SamplingSettings
    start: Stage
    stages: tuple[Stage, ...]
    probabilities: np.ndarray
    removed_by: np.ndarray
    messages: tuple[str, ...]

    @property
    def do_sample(self) -> bool:
        """Whether `generate()` would draw from the probabilities; otherwise it takes the highest score."""
        return bool(self.effective.do_sample)

    @property
    def final(self) -> Stage:
        """The last stage; `start` where the chain is empty."""
        return self.stages[-1] if self.stages else self.start

    @property
    def greedy_id(self) -> int:
        """The id with the highest final score: what `do_sample=False` chooses."""
        return self.final.top_id

    def removed_by_name(self, token_id: int) -> str:
        """The class name of the processor that removed a token; '' for one that can still be chosen."""
        index = int(self.removed_by[token_id])
        if index == NEVER_POSSIBLE:
            return "the model (-inf)"
        return "" if index == KEPT else self.stages[index].processor

    def draw(self, seed: int, count: int = 1) -> np.ndarray:
        """Choose as `generate()` does: `count` ids (int64), independent, drawn on the CPU with
        `torch.multinomial`.

        One draw equals the token that `generate()` draws on a CPU after `torch.manual_seed(seed)`; the
        global random state is left alone. With do_sample=False every draw is `greedy_id`. Raises
        SamplingError for a count below 1.
        """
        import torch

        if count < 1:
            raise SamplingError(f"count must be at least 1, but is {count}.")
        return self.draw_from(torch.Generator().manual_seed(seed), count)

    def draw_from(self, generator, count: int = 1) -> np.ndarray:
        """As `draw`, from the state of a `torch.Generator` on the CPU, which moves on: `generate()` does so from step
        to step.
        """
        import torch

        if not self.do_sample:
            return np.full(count, self.greedy_id)
        probabilities = torch.from_numpy(self.probabilities)
        return torch.multinomial(probabilities, count, replacement=count > 1, generator=generator).numpy()

    def ranked(self, top: int | None = None) -> np.ndarray:
        """Token ids by falling raw logit (equal logits by rising id), the first `top` of them."""
        return np.argsort(-self.logits.logits, kind="stable")[:top]

    def likeliest(self, top: int | None = None) -> np.ndarray:
        """Token ids by falling final probability, only those that can still be chosen, the first `top` of
        them.
        """
        return np.argsort(-self.final.scores, kind="stable")[: self.final.kept][:top]

    def draw_counts(self, drawn: np.ndarray, top: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of drawn ids, for the `top` likeliest tokens: their ids, how often each was drawn, the expected
        number, and its standard deviation (both in draws).
        """
        ids = self.likeliest(top)
        counts = np.bincount(drawn, minlength=len(self.probabilities))[ids]
        probabilities = self.final.probabilities[ids]
        expected = probabilities * len(drawn)
        return ids, counts, expected, np.sqrt(expected * (1 - probabilities))

    def table(self, top: int = 15) -> pd.DataFrame:
        """The `top` most likely tokens of the raw distribution, and what became of them.

        Columns: token (visible spelling), id, logit (raw), raw_probability, score (after the chain; -inf =
        removed), probability (after the chain), removed_by (class name or ''). The index is the rank, from
        1.
        """
        ids = self.ranked(top)
        columns = {
            "token": [self.logits.token(i) for i in ids],
            "id": ids,
            "logit": self.logits.logits[ids].astype(float),  # float64, so that rounding for display works
            "raw_probability": self.start.probabilities[ids],
            "score": self.final.scores[ids].astype(float),
            "probability": self.probabilities[ids].astype(float),
            "removed_by": [self.removed_by_name(i) for i in ids],
        }
        return pd.DataFrame(columns, index=pd.RangeIndex(1, len(ids) + 1, name="rank"))

    def chain_table(self) -> pd.DataFrame:
        """The chain in the library's order, one row per stage, the raw logits first.

        Columns: processor (class name and parameters), kept (tokens that can still be chosen), removed and
        rescored (tokens, by this stage), entropy_bits, p_top, top_token, changed (False marks a stage that
        did nothing).
        """
        stages = (self.start, *self.stages)
        columns = {
            "processor": [stage.label() for stage in stages],
            "kept": [stage.kept for stage in stages],
            "removed": [len(stage.removed_ids) for stage in stages],
            "rescored": [stage.rescored for stage in stages],
            "entropy_bits": [stage.entropy for stage in stages],
            "p_top": [stage.top_probability for stage in stages],
            "top_token": [self.logits.token(stage.top_id) for stage in stages],
            "changed": [True, *(stage.changed for stage in self.stages)],
        }
        return pd.DataFrame(columns)
