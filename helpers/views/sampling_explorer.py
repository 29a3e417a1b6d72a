"""The sampling explorer: turn the knobs of sampling on one next token, append it, fork, compare.

The view touches no model: `helpers.sampling_answers` answers its requests with the installed library, and a page
without a kernel computes the same answers from the distributions that travel with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import torch
import traitlets

from helpers.distribution import Distribution, NextTokenLogits, SamplingError
from helpers.recording.recorded_with import device_words
from helpers.sampling_answers.answers import FIRST_REQUEST, SamplingAnswers, travelling
from helpers.sampling_answers.continuations import ROOT, Continuations
from helpers.sampling_answers.result import settings_from_text
from helpers.views.explorers import Explorer
from helpers.views.pictures import percent

STATIC_TOKENS = 12


class SamplingExplorer(Explorer):
    """The widget. Its contract is two traits: a `request` comes in, the `result` goes out (see
    `helpers.sampling_answers.answers`); `tree` and `distribution` go with the result, `installed` never changes.
    """

    explorer = "sampling_explorer"
    installed = traitlets.Dict().tag(sync=True)
    request = traitlets.Dict(FIRST_REQUEST).tag(sync=True)
    tree = traitlets.List().tag(sync=True)
    distribution = traitlets.Dict().tag(sync=True)
    result = traitlets.Dict().tag(sync=True)

    def __init__(self, answers: SamplingAnswers) -> None:
        self._answers = answers
        first = answers.answer(FIRST_REQUEST)
        super().__init__(
            installed=answers.installed,
            tree=answers.tree(),
            distribution=answers.compact_logits(ROOT),
            result=first,
        )

    @traitlets.observe("request")
    def _asked(self, change) -> None:
        request = change["new"]
        try:
            result = self._answers.answer(request)
        except Exception as error:  # shown in place, and raised again for the log
            words = f"{type(error).__name__}: {error}"
            self.result = {**self.result, "serial": request["serial"], "message": words, "draw": None}
            raise
        self.tree = self._answers.tree()
        if result["node"] != self.distribution["node"] or (request["do"] or {}).get("kind") == "prompt":
            self.distribution = self._answers.compact_logits(result["node"])
        self.result = result

    def twin_data(self) -> dict:
        """The state for a page: the tree so far and some likely continuations, each with its distribution."""
        answers = SamplingAnswers(travelling(self._answers.continuations))
        nodes = answers.continuations.nodes
        return {
            "installed": answers.installed,
            "request": {**FIRST_REQUEST, "a": self.request["a"], "b": self.request["b"]},
            "tree": answers.tree(),
            "distribution": {"node": ROOT, **answers.compact_logits(ROOT)},
            "distributions": {str(node.id): answers.compact_logits(node.id) for node in nodes},
            "result": {"draw": None},
        }

    def _shown(self) -> tuple[Distribution | None, str]:
        """The distribution under the library's own defaults; None, and the reason, where these cannot be used."""
        try:
            return self._continuations.distribution(ROOT, settings_from_text(FIRST_REQUEST["a"])), ""
        except SamplingError as refusal:
            return None, f"These settings cannot be used: {refusal}"

    @property
    def _continuations(self) -> Continuations:
        return self._answers.continuations

    def static_html(self) -> str:
        """The prompt's next token under the library's own defaults: the likeliest tokens and the chain, or why none."""
        distribution, reason = self._shown()
        in_force = {name: value for name, value in self.installed["defaults"].items() if name != "do_sample"}
        defaults = ", ".join(f"{name}={value}" for name, value in in_force.items() if value != "None")
        prompt = _short(self._continuations.logits(ROOT))
        parts = [
            "<p><b>Choosing the next token</b> after ",
            f"<code>{escape(prompt)}</code>, with <code>do_sample=True</code> and nothing else set. ",
            f"transformers {escape(self.installed['version'])} then uses {escape(defaults)}.</p>",
        ]
        if distribution is None:
            return "".join([*parts, f"<p>{escape(reason)}</p>"])
        return "".join(
            [
                *parts,
                _table("The chain, in the order of the library", _chain_rows(distribution)),
                _table(f"The {STATIC_TOKENS} likeliest of all tokens", _token_rows(distribution)),
            ]
        )

    def recorded_with(self) -> str:
        """The versions, and the device of the model."""
        device = str(self._answers.continuations.model.device)
        name = {torch.device(device).index or 0: torch.cuda.get_device_name(device)} if "cuda" in device else {}
        return f"transformers {self.installed['version']}, torch {torch.__version__}, on {device_words(device, name)}"

    def text(self) -> str:
        """The prompt and what the explorer holds, the same on every run; the reason where it holds nothing."""
        text = f"Sampling explorer: the next token after {_short(self._continuations.logits(ROOT))!r}"
        _, reason = self._shown()
        return f"{text}. {reason}" if reason else text


def explore_sampling(model, tokenizer, prompt: str | Sequence[int], logits_processor: Sequence = ()):
    """The sampling explorer over the next token after `prompt` (a text, its token ids, or a tokenizer's encoding).

    Its numbers come from the installed library's own processors, on the model's device; `logits_processor`:
    processors of your own, put where the library puts them. On an exported page it goes on without a kernel.
    Raises SamplingError as `helpers.sampling.next_token_logits` does: for a prompt that is empty or too long, several
    prompts, what is no causal language model.
    """
    return SamplingExplorer(SamplingAnswers(Continuations(model, tokenizer, prompt, logits_processor)))


def _short(logits: NextTokenLogits, most: int = 24) -> str:
    tokens = [logits.token(token_id) for token_id in logits.input_ids]
    return "".join(tokens if len(tokens) <= most else ["… ", *tokens[-most:]])


def _chain_rows(distribution: Distribution) -> list[tuple]:
    rows = [("stage", "kept", "entropy (bits)", "p(top)", "top token", "")]
    for row in distribution.chain_table().itertuples():
        idle = "" if row.changed else "changes nothing"
        entropy, top = f"{row.entropy_bits:.2f}", percent(row.p_top)
        rows.append((row.processor, f"{row.kept:,}", entropy, top, row.top_token, idle))
    return rows


def _token_rows(distribution: Distribution) -> list[tuple]:
    ids = distribution.ranked(STATIC_TOKENS)
    raw, final = distribution.start.probabilities, distribution.final.probabilities
    rows = [("token", "id", "raw", "after the chain", "removed by")]
    for i in ids:
        after = percent(float(final[i]))
        rows.append((distribution.logits.token(i), i, percent(float(raw[i])), after, distribution.removed_by_name(i)))
    rest = len(raw) - len(ids)
    if rest:
        left = (percent(max(0.0, float(1 - values[ids].sum()))) for values in (raw, final))
        scores = distribution.final.scores  # and not the probabilities: these can be too small for a number
        kept = distribution.final.kept - sum(not np.isneginf(scores[i]) for i in ids)
        rows.append((f"the other {rest:,}", "", *left, f"{rest - kept:,} of them removed"))
    return rows


def _table(caption: str, rows: list[tuple]) -> str:
    head, *body = rows
    cells = ["".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in body]
    return (
        f'<table class="tex2jax_ignore"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr></thead>"
        f"<tbody>{''.join(f'<tr>{row}</tr>' for row in cells)}</tbody></table>"
    )
