"""A prompt and the texts that have grown from it: a tree of tokens, each with the logits of the token after it.

It owns model and tokenizer. What it gives out is plain: `Continuation`, `NextTokenLogits`, `Distribution`, text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers import sampling
from helpers.distribution import Distribution, NextTokenLogits, SamplingError, SamplingSettings

ROOT = 0


@dataclass(frozen=True)
class Continuation:
    """One token of the tree; `ROOT` stands for the whole prompt.

    `parent`: the id of the one before, None for the root; `token_id`: None for the root; `text`: the token, or all
    tokens of the prompt, visibly spelled ('␣Paris'); `how` it came: 'prompt', 'greedy', 'drawn', 'chosen';
    `probability`: what it had when it was appended, between 0 and 1, None for the root; `ends`: it ends a text.
    """

    id: int
    parent: int | None
    token_id: int | None
    text: str
    how: str
    probability: float | None
    ends: bool


class Continuations:
    """The tree of one prompt. Appending runs the model once; what was run is kept.

    `nodes`: the list of Continuations, by id; `logits_processor`: processors of your own, put where the library puts
    them. Raises SamplingError for a prompt that `sampling.next_token_logits` refuses.
    """

    def __init__(self, model, tokenizer, prompt: str | Sequence[int], logits_processor: Sequence = ()) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.logits_processor = tuple(logits_processor)
        self.restart(prompt)

    def restart(self, prompt: str | Sequence[int]) -> None:
        """Begin again with another prompt. A prompt that is refused leaves the tree as it is."""
        logits = sampling.next_token_logits(self.model, self.tokenizer, prompt)
        self._logits = {ROOT: logits}
        text = "".join(map(logits.token, logits.input_ids))
        self.nodes = [Continuation(ROOT, None, None, text, "prompt", None, False)]

    def copy(self) -> Continuations:
        """A tree of its own with the same nodes, which shares what was run."""
        other = object.__new__(Continuations)
        other.__dict__ = {**self.__dict__, "nodes": list(self.nodes), "_logits": dict(self._logits)}
        return other

    def logits(self, node: int) -> NextTokenLogits:
        """The logits after a node; runs the model where that was not done yet.

        Raises SamplingError for a node that does not exist and for a text longer than the context.
        """
        if not 0 <= node < len(self.nodes):
            raise SamplingError(f"there is no continuation {node}: there are {len(self.nodes)}.")
        if node not in self._logits:
            self._logits[node] = sampling.next_token_logits(self.model, self.tokenizer, self.ids(node))
        return self._logits[node]

    def distribution(self, node: int, settings: SamplingSettings) -> Distribution:
        """What the installed chain makes of the logits after a node."""
        return sampling.distribution(self.logits(node), settings, self.model, self.logits_processor)

    def ids(self, node: int) -> list[int]:
        """The token ids from the prompt's first to this node."""
        appended = [self.nodes[step].token_id for step in self.path(node)[1:]]
        return [*self._logits[ROOT].input_ids, *appended]

    def path(self, node: int) -> list[int]:
        """The nodes from the root to this one."""
        path = [node]
        while (parent := self.nodes[path[0]].parent) is not None:
            path.insert(0, parent)
        return path

    def append(self, node: int, token_id: int, how: str, settings: SamplingSettings | None = None) -> int:
        """Put a token behind a node and run the model; returns the new node, or the one that is there already.

        `settings`: under which its probability is noted. Raises SamplingError for an id outside the vocabulary.
        """
        there = next((one.id for one in self.nodes if (one.parent, one.token_id) == (node, token_id)), None)
        if there is not None:
            return there
        before = self.logits(node)
        if not 0 <= token_id < len(before.logits):
            raise SamplingError(f"token id {token_id} is outside the vocabulary of {len(before.logits):,}.")
        probability = float(self.distribution(node, settings or SamplingSettings()).probabilities[token_id])
        new = Continuation(
            len(self.nodes), node, int(token_id), before.token(token_id), how, probability, token_id in self._ends()
        )
        self.nodes.append(new)
        try:
            self.logits(new.id)
        except BaseException:  # longer than the context, out of memory, interrupted: no node without its logits
            self.nodes.pop()
            raise
        return new.id

    def extend(self, node: int, settings: SamplingSettings, count: int, seed: int = 0) -> int:
        """Go on for `count` tokens as `generate(max_new_tokens=count)` does; returns the last node.

        With do_sample the tokens are those of `generate()` on a CPU after `torch.manual_seed(seed)`. Stops behind a
        token that ends the text.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        for _ in range(count):
            if self.nodes[node].ends:
                break
            distribution = self.distribution(node, settings)
            how = "drawn" if distribution.do_sample else "greedy"
            node = self.append(node, int(distribution.draw_from(generator)[0]), how, settings)
        return node

    def _ends(self) -> set[int]:
        ends = self.model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, list | tuple) else set() if ends is None else {ends}
