"""The zoom level "sampling": the scores before the chain of logits processors, and after each of them.

Read where LogitsProcessorList calls its members: their code is watched from the moment a list with them is called, so
that a processor of the reader's own is seen as the library's are. Nothing is patched, and no scores are kept: each row
of scores is copied to the CPU, which waits for a GPU, and measured before the next processor can write into it.
"""

from __future__ import annotations

import inspect
import math
import threading
import types
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from ..events import NOT_OBSERVED
from ..recording.rows import SampleRow
from .guard import noting
from .redact import is_secret_name
from .steps import StepTracker
from .torch_modes import outside_dispatch_modes

MOST_CANDIDATES = 8
FIRST_ROW = "raw logits"  # as helpers.distribution names what is before the first processor
DRAWN, HIGHEST = "multinomial", "argmax"
_noting = noting("sampling")


class _Scores(NamedTuple):
    """What is kept of one row of scores."""

    sequences: int
    kept: int
    entropy: float | None
    p_top: float | None
    top: tuple[tuple[int, float], ...]


class _Chain:
    """One call of a LogitsProcessorList, while it runs."""

    __slots__ = ("codes", "frame", "members", "next", "scores")

    def __init__(self, frame: types.FrameType, members: list) -> None:
        self.frame = frame
        self.members = members
        self.codes = [_code_of_call(member) for member in members]
        self.scores: list[_Scores | None] = [None] * (len(members) + 1)  # before the first, after each
        self.next = 0  # the first member that was not seen yet


class _Decoding:
    """One `_sample` loop, while it runs: how it chooses, and the row that waits for its token."""

    __slots__ = ("chosen_by", "ended", "waiting")

    def __init__(self) -> None:
        self.chosen_by: str | None = None
        self.waiting: list[SampleRow] | None = None
        self.ended = False  # whether the first sequence is complete


class SamplingProbe:
    """Collects the stages of each chain that runs inside generate(), in every step.

    `watch(code, on_enter)` has the call probe tell of the calls of a function that was met just now.
    """

    def __init__(self, tracker: StepTracker, watch: Callable[[types.CodeType, Callable], None]) -> None:
        self.problems: dict[str, str] = {}
        self._tracker = tracker
        self._watch = watch
        self._watched: set[types.CodeType] = set()
        self._rows: list[list[SampleRow]] = []  # each in a list of its own, where its token can be put later
        self._chains_in_step: dict[tuple[int, int], int] = {}
        self._local = threading.local()

    def rows(self) -> list[SampleRow]:
        """One row per stage, in the order in which they ran."""
        return [row for (row,) in self._rows]

    def _open(self, name: str) -> list:
        """This thread's open chains or decoding loops, innermost last."""
        if not hasattr(self._local, name):
            setattr(self._local, name, [])
        return getattr(self._local, name)

    # hooks ---------------------------------------------------------------------------------------------------------

    @_noting
    @outside_dispatch_modes
    def decoding_begins(self, frame: types.FrameType) -> None:
        """_sample: its generation config says whether it draws or takes the highest score."""
        decoding = _Decoding()
        self._open("decodings").append(decoding)
        decoding.chosen_by = DRAWN if frame.f_locals["generation_config"].do_sample else HIGHEST

    @_noting
    @outside_dispatch_modes
    def decoding_ends(self, _value: object) -> None:
        """_sample returned, or an exception left it."""
        self._open("decodings").pop()

    @_noting
    @outside_dispatch_modes
    def chain_begins(self, frame: types.FrameType) -> None:
        """LogitsProcessorList.__call__ starts. One inside another is a stage of it."""
        chains = self._open("chains")
        chains.append(None)
        if self._tracker.step == NOT_OBSERVED or any(chains):
            return
        chain = _Chain(frame, [*frame.f_locals["self"]])
        for code in chain.codes:
            if code is not None and code not in self._watched:
                self._watched.add(code)
                self._watch(code, self.processor_begins)
        chain.scores[0] = _read(frame.f_locals["scores"])
        chains[-1] = chain

    @_noting
    @outside_dispatch_modes
    def processor_begins(self, frame: types.FrameType) -> None:
        """A member starts: what the list holds now is what the member before it gave."""
        chain = next((chain for chain in self._open("chains") if chain is not None), None)
        if chain is None or frame.f_back is not chain.frame:
            return  # called by somebody else
        position = chain.codes.index(frame.f_code, chain.next)
        chain.next = position + 1
        if position:
            chain.scores[position] = _read(chain.frame.f_locals["scores"])

    @_noting
    @outside_dispatch_modes
    def chain_ends(self, value: object) -> None:
        """LogitsProcessorList.__call__ returned the final scores, or None when an exception left it."""
        chain = self._open("chains").pop()
        if chain is None:
            return
        if isinstance(value, torch.Tensor) and chain.members:
            chain.scores[-1] = _read(value)
        elif chain.members:
            del chain.scores[max(chain.next, 1) :]  # these stages were not reached
        self._add_rows(chain)

    @_noting
    @outside_dispatch_modes
    def token_chosen(self, frame: types.FrameType) -> None:
        """StoppingCriteriaList.__call__ starts: the token is at the end of its input_ids."""
        decodings = self._open("decodings")
        if decodings and decodings[-1].waiting:
            row, decodings[-1].waiting = decodings[-1].waiting, None
            if decodings[-1].ended:
                return  # padding was added, nothing was chosen
            token = int(frame.f_locals["input_ids"][0, -1])
            row[0] = row[0]._replace(token=token, chosen_by=decodings[-1].chosen_by)

    @_noting
    @outside_dispatch_modes
    def criteria_asked(self, value: object) -> None:
        """StoppingCriteriaList.__call__ returned which sequences are complete."""
        decodings = self._open("decodings")
        if decodings and isinstance(value, torch.Tensor) and value.ndim == 1:
            decodings[-1].ended = decodings[-1].ended or bool(value[0])

    def _add_rows(self, chain: _Chain) -> None:
        step = (self._tracker.generation, self._tracker.step)
        number = self._chains_in_step[step] = self._chains_in_step.get(step, -1) + 1
        for position, scores in enumerate(chain.scores):
            member = chain.members[position - 1] if position else None
            row = SampleRow(
                *step,
                chain=number,
                position=position,
                processor=_name(member) if position else FIRST_ROW,
                parameters=_parameters(member) if position else (),
                **(scores._asdict() if scores else {}),
            )
            self._rows.append([row])
        decodings = self._open("decodings")
        if decodings and len(chain.scores) == len(chain.members) + 1:
            decodings[-1].waiting = self._rows[-1]


def _read(scores: torch.Tensor) -> _Scores:
    """What is kept of the scores of the first sequence. Raises ValueError unless they are (sequences, vocabulary)."""
    if scores.ndim != 2:
        raise ValueError(f"scores of shape {tuple(scores.shape)} are not (sequences, vocabulary)")
    row = scores[0].detach().float().cpu().numpy()
    finite = np.isfinite(row)
    kept = int(finite.sum())
    if not kept or (row[~finite] != -np.inf).any():  # NaN and +inf have no softmax
        return _Scores(len(scores), kept, None, None, ())
    below_top = row.astype(np.float64)
    below_top -= row.max()
    weights = np.exp(below_top)
    total = weights.sum()
    below_top[~finite] = 0.0  # their weight is 0; and no product of BLAS, whose threads would meet torch's
    below_top *= weights
    entropy = (math.log(total) - below_top.sum() / total) / math.log(2)
    likeliest = _likeliest(row, min(kept, MOST_CANDIDATES))
    top = tuple((token, _short(weights[token] / total)) for token in likeliest)
    return _Scores(len(scores), kept, _short(max(entropy, 0.0)), top[0][1], top)


def _likeliest(row: np.ndarray, count: int) -> list[int]:
    """The ids of the `count` highest scores, equal ones by rising id."""
    least = torch.from_numpy(row).topk(count).values[-1].item()  # which of equal ones topk takes is not told
    candidates = np.flatnonzero(row >= least)
    return candidates[np.argsort(-row[candidates], kind="stable")][:count].tolist()


def _short(value: float) -> float:
    """Six significant digits: what float32 scores can tell."""
    return float(f"{value:.6g}")


def _code_of_call(member: object) -> types.CodeType | None:
    """The code that runs when this object is called; None where that is no Python code."""
    callee = member if inspect.isroutine(member) else type(member).__call__
    return getattr(callee, "__code__", None)  # of a decorator's wrapper, where there is one: it is what is called


def _name(member: object) -> str:
    """The class of a processor; a function's own name."""
    return member.__qualname__ if inspect.isroutine(member) else type(member).__name__


def _parameters(member: object) -> tuple[tuple[str, bool | int | float | str], ...]:
    """The public attributes that are numbers; a tensor with one element counts, an infinity is written as text."""
    found = []
    for name, value in getattr(member, "__dict__", {}).items():
        if name.startswith("_") or is_secret_name(name):
            continue
        if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_meta:
            value = value.item()
        if isinstance(value, float):
            found.append((name, value if math.isfinite(value) else str(value)))
        elif isinstance(value, bool | int):
            found.append((name, value))
    return tuple(found)
