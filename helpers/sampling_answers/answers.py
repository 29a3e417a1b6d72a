"""Answers the sampling explorer's requests with the installed library: plain JSON values in, plain JSON values out.

A request: {"serial", "node", "a": settings as texts, "b": the same or None, "do": None or one of
    {"kind": "append", "token_id", "how"}                            one token behind the node
    {"kind": "continue", "which", "greedy", "seed", "count"}         several tokens, as generate() goes on
    {"kind": "draw", "which", "seed", "count"}                       draws from the distribution behind the node
    {"kind": "prompt", "text"}}                                      begin again
`which` is "a" or "b". The answer: {"serial", "node", "message", "a", "b", "draw", "milliseconds"}, where "a"
and "b" are what `result.result` gives; beside it the tree of continuations and the node's compact logits.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, replace

import numpy as np

from helpers.distribution import SamplingError, SamplingSettings
from helpers.sampling_answers.compact_logits import compact, exact_ids, packed
from helpers.sampling_answers.continuations import ROOT, Continuations
from helpers.sampling_answers.installed import installed_sampling
from helpers.sampling_answers.result import refused, result, settings_from_text

FIRST_REQUEST = {"serial": "0", "node": ROOT, "a": {"do_sample": "True"}, "b": None, "do": None}
GREEDY_DEPTH, DRAWN_DEPTH, ALTERNATIVES = 4, 4, 4
"""What travels with a page beside the prompt's own distribution; see `travelling`."""


class SamplingAnswers:
    """Answers requests about the `continuations` of one prompt; `installed` says what the installed chain can hold."""

    def __init__(self, continuations: Continuations) -> None:
        self.continuations = continuations
        self.installed = installed_sampling(continuations.model, continuations.logits_processor)

    def answer(self, request: dict) -> dict:
        """The answer to a request. What cannot be done is said in `message`, and the rest is answered all the same."""
        began = time.perf_counter()
        node, draw, message = request["node"], None, ""
        try:
            node, draw = self._do(request)
        except SamplingError as error:
            message = str(error)
        return {
            "serial": request["serial"],
            "node": node,
            "message": message,
            "a": self._result(node, request["a"]),
            "b": None if request["b"] is None else self._result(node, request["b"]),
            "draw": draw,
            "milliseconds": 1000 * (time.perf_counter() - began),
        }

    def tree(self) -> list[dict]:
        """Every continuation so far, as plain values."""
        return [asdict(node) for node in self.continuations.nodes]

    def compact_logits(self, node: int) -> dict:
        """The node's logits as they travel, with its id as `node`."""
        return {"node": node, **compact(self.continuations.logits(node))}

    def _result(self, node: int, texts: dict[str, str]) -> dict:
        try:
            distribution = self.continuations.distribution(node, settings_from_text(texts))
        except SamplingError as refusal:
            return refused(str(refusal))
        return result(distribution, exact_ids(distribution.logits))

    def _do(self, request: dict) -> tuple[int, dict | None]:
        """Do what is asked; returns the node to show, and the draws."""
        node, do = request["node"], request["do"]
        if do is None:
            return node, None
        if do["kind"] == "prompt":
            self.continuations.restart(do["text"])
            return ROOT, None
        settings = settings_from_text(request[do.get("which", "a")] or {})
        if do["kind"] == "append":
            return self.continuations.append(node, do["token_id"], do["how"], settings), None
        if do["kind"] == "continue":
            if do["greedy"]:
                settings = replace(settings, do_sample=False)
            return self.continuations.extend(node, settings, do["count"], do["seed"]), None
        if do["kind"] == "draw":
            return node, self._drawn(node, settings, do)
        raise SamplingError(f"there is nothing to do that is called {do['kind']}.")

    def _drawn(self, node: int, settings: SamplingSettings, do: dict) -> dict:
        distribution = self.continuations.distribution(node, settings)
        drawn = distribution.draw(do["seed"], do["count"])
        ids = exact_ids(distribution.logits)
        counts = np.bincount(drawn, minlength=len(distribution.probabilities))
        last = int(drawn[-1])
        return {
            **{name: do[name] for name in ("which", "seed", "count")},
            "source": "torch.multinomial",
            "counts": packed(counts[ids], "<i4"),
            "others": int(len(drawn) - counts[ids].sum()),
            "last_id": last,
            "last_text": distribution.logits.token(last),
        }


def travelling(continuations: Continuations) -> Continuations:
    """A copy that has grown by what an exported page carries, so that its reader can append and fork without a kernel.

    The greedy path of `GREEDY_DEPTH` tokens, a drawn one of `DRAWN_DEPTH` (seed 0, the library's defaults), and the
    `ALTERNATIVES` likeliest first tokens.
    """
    grown = continuations.copy()
    greedy, drawn = SamplingSettings(do_sample=False), SamplingSettings(do_sample=True)
    with contextlib.suppress(SamplingError):  # the context is full, or the chain leaves nothing: what there is travels
        grown.extend(ROOT, greedy, GREEDY_DEPTH)
        for token_id in grown.distribution(ROOT, greedy).likeliest(ALTERNATIVES):
            grown.append(ROOT, int(token_id), "chosen", drawn)
        grown.extend(ROOT, drawn, DRAWN_DEPTH, seed=0)
    return grown
