"""Generation steps: prefill = 0, then decode steps 1, 2, 3, …

A step begins when `prepare_inputs_for_generation` runs and a token has been finished since the last one (in contrastive
search with the logits processors); the stopping criteria run once per step, in every version and in every decoding
loop. A prefill in chunks is therefore one step, and so is a round of assisted decoding, which may give several tokens;
what the assistant drafts belongs to it. Each thread has generations of its own.
"""

from __future__ import annotations

import itertools
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from ..compat import KV_CACHE_NAMES
from ..events import CACHE_COLUMNS, NOT_OBSERVED, STEP_COLUMNS
from ..progress import GenerationProgress
from .guard import noting
from .kv_cache import LayerSize, layer_sizes, total
from .torch_modes import outside_dispatch_modes

if TYPE_CHECKING:
    from .calls import ThreadState
    from .memory import MemoryProbe


MOST_DECORATORS = 4  # around generate() or another method


class _Generation:
    """The generate() call that is open in one thread."""

    def __init__(self, number: int, batches: int) -> None:
        self.number = number
        self.batches = batches  # of continuous batching, before it
        self.step = NOT_OBSERVED
        self.began = 0  # when the step began
        self.token_finished = True
        self.prepared = False  # whether the inputs of any step were
        self.computes = False  # whether those of this step were, and its token is not finished
        self.cache: list[LayerSize] | None = []  # after the step's forward pass; None: its layout is unknown
        self.prompt: int | None = None  # positions of input_ids before the first step; until then, those given
        self.length: int | None = None  # … when the stopping criteria were last asked
        self.tokens = NOT_OBSERVED  # new ones of this step
        self.shows_progress = False


class StepTracker:
    """Knows the generation and step of each thread; decides which steps are kept in full.

    `keep`: how many steps of each generation are kept in full (None: all). `thread()` gives the state of the thread
    that runs, where its generation and step are put. `on_keep_change(keeping)` is called when recording in full should
    stop or go on in this thread. `progress` is told of the tokens of one generation at a time, except where the program
    streams its text.
    """

    def __init__(
        self,
        keep: int | None,
        memory: MemoryProbe | None,
        clock: Callable[[], int],
        thread: Callable[[], ThreadState],
        on_keep_change: Callable[[bool], None],
        progress: GenerationProgress | None = None,
    ) -> None:
        self.rows: list[tuple[int, ...]] = []
        self.cache_rows: list[tuple[int, ...]] = []
        self.new_tokens: dict[int, int] = {}  # by generation: what its result holds more than its prompt
        self.batches = 0  # of continuous batching, which has no steps
        self.problems: dict[str, str] = {}
        self._keep = keep
        self._memory = memory
        self._clock = clock
        self._thread = thread
        self._on_keep_change = on_keep_change
        self._progress = progress
        self._progress_is_taken = False
        self._next_number = itertools.count().__next__
        self._local = threading.local()
        self._cache_bytes: dict[int, int] = {}  # by generation

    @property
    def generation(self) -> int:
        """Number of the generation that runs in this thread; -1: none."""
        return self._thread().generation

    @property
    def step(self) -> int:
        """Its step; -1: none."""
        return self._thread().step

    def _running(self) -> _Generation | None:
        """The generation of this thread, unless a generate() inside it (an assistant model) runs."""
        return self._local.running if getattr(self._local, "depth", 0) == 1 else None

    def _computing(self) -> _Generation | None:
        """The same, from a step's inputs on: before 5.x assisted decoding asks the stopping criteria of the candidates
        too, before they are verified."""
        running = self._running()
        return running if running is not None and running.computes else None

    # hooks of the call probe ---------------------------------------------------------------------------------------

    @noting("generation steps")
    def generate_entered(self, frame: types.FrameType) -> None:
        """generate() begins. A generate() inside another belongs to the outer one; an assistant model's, which runs
        between two steps, to the step that verifies what it drafts."""
        self._local.depth = getattr(self._local, "depth", 0) + 1
        if self._local.depth > 1:
            if self._local.depth == 2 and self._local.running.token_finished and _drafts(frame):
                self._begin_step(self._local.running)
            return
        running = self._local.running = _Generation(self._next_number(), self.batches)
        thread = self._thread()
        thread.generation, thread.step = running.number, NOT_OBSERVED
        self._on_keep_change(True)
        running.prompt = _given_length(frame.f_locals)
        if self._memory is not None:
            self._memory.recount()
        if self._progress is not None and not self._progress_is_taken and frame.f_locals.get("streamer") is None:
            running.shows_progress = self._progress_is_taken = True
            self._progress.begin()

    @noting("generation steps")
    def generate_left(self, value: object) -> None:
        """generate() ends, by return or exception."""
        self._local.depth -= 1
        if self._local.depth:
            return
        running = self._local.running
        if running.shows_progress:
            self._progress.end()
            self._progress_is_taken = False
        self._finish_step(running)
        self._set_cache_bytes(running, 0)
        thread = self._thread()
        thread.generation = thread.step = NOT_OBSERVED
        self._on_keep_change(True)
        self._count_new_tokens(running, value)

    @noting("generation steps")
    def recording_ends(self) -> None:
        """The recording ends in the middle of this thread's generate(): its step is told as far as it came."""
        if getattr(self._local, "depth", 0):
            self._finish_step(self._local.running)

    @noting("generation steps")
    def inputs_prepared(self, frame: types.FrameType) -> None:
        """prepare_inputs_for_generation begins: the next step, if the last token is finished."""
        running = self._running()
        if running is None:
            return
        if not running.prepared:
            running.prepared = True
            if running.prompt is None:  # of embeddings, and of what an encoder is given, there are no ids before
                running.prompt = _length(frame.f_locals.get("input_ids"))
            running.length = running.prompt
        if running.token_finished:
            self._begin_step(running)
        running.computes = not _drafts(frame)  # in 5.0 the candidates are prepared so too

    @noting("generation steps")
    def scores_processed(self, _frame: types.FrameType) -> None:
        """The logits processors are called: contrastive search begins a decode step with them, and prepares the inputs
        of its candidates after them."""
        running = self._running()
        if running is not None and running.prepared and running.token_finished:
            self._begin_step(running)

    def _begin_step(self, running: _Generation) -> None:
        self._finish_step(running)
        running.token_finished = False
        running.tokens = NOT_OBSERVED
        running.step += 1
        running.began = self._clock()
        self._thread().step = running.step
        self._on_keep_change(self._is_kept(running))

    @noting("generation steps")
    @outside_dispatch_modes
    def kwargs_updated(self, model_kwargs: object) -> None:
        """_update_model_kwargs_for_generation returned: its result holds the KV cache after the forward pass."""
        running = self._running()
        if running is None or not isinstance(model_kwargs, dict):
            return
        running.cache = _cache_of(model_kwargs)
        self._set_cache_bytes(running, total(running.cache)[1])

    def batch_begins(self, _frame: types.FrameType) -> None:
        """Continuous batching runs a batch: tokens of several requests, in a thread of its own."""
        self.batches += 1

    @noting("generation steps")
    def token_chosen(self, frame: types.FrameType) -> None:
        """The stopping criteria are asked: the tokens of the step are at the end of their input_ids."""
        running = self._computing()
        length = _length(frame.f_locals.get("input_ids")) if running is not None else None
        if length is not None and running.length is not None:
            running.tokens = max(running.tokens, 0) + length - running.length
            running.length = length

    @noting("generation steps")
    def token_finished(self, _value: object) -> None:
        """The stopping criteria have been asked."""
        running = self._computing()
        if running is not None:
            running.token_finished, running.computes = True, False
            if running.shows_progress:
                self._progress.tokens(max(running.tokens, 1))

    # -------------------------------------------------------------------------------------------------------------

    def _is_kept(self, running: _Generation) -> bool:
        return self._keep is None or running.step < self._keep

    def _finish_step(self, running: _Generation) -> None:
        if running.step == NOT_OBSERVED:
            return
        sample = self._memory.sample() if self._memory else NOT_OBSERVED
        end = self._clock()
        place = (running.number, running.step)
        kept = int(self._is_kept(running))
        self.rows.append((*place, running.began, end, kept, *total(running.cache), sample, running.tokens))
        self.cache_rows.extend((*place, *run) for run in _runs(running.cache or []))

    def _count_new_tokens(self, running: _Generation, value: object) -> None:
        """How many tokens generate() gave back, of each sequence; unknown after an exception."""
        if self.batches > running.batches:
            return  # continuous batching, whose result is without the prompt
        length = _length(getattr(value, "sequences", value))
        if length is not None:
            self.new_tokens[running.number] = length - (running.prompt or 0)

    def columns(self) -> dict[str, list[int]]:
        """The steps by column name, in the order of generations."""
        rows = sorted(self.rows)
        return {name: [row[place] for row in rows] for place, name in enumerate(STEP_COLUMNS)}

    def cache_columns(self) -> dict[str, list[int]]:
        """The KV cache after each step by column name, in the order of generations."""
        rows = sorted(self.cache_rows)
        return {name: [row[place] for row in rows] for place, name in enumerate(CACHE_COLUMNS)}

    def _set_cache_bytes(self, running: _Generation, nbytes: int) -> None:
        self._cache_bytes[running.number] = nbytes
        if self._memory is not None:
            sizes = list(self._cache_bytes.values())
            self._memory.kv_cache = NOT_OBSERVED if NOT_OBSERVED in sizes else sum(sizes)


def _drafts(frame: types.FrameType) -> bool:
    """Whether a function was called by a candidate generator, through its decorators."""
    for _ in range(MOST_DECORATORS):
        frame = frame.f_back
        if frame is None or frame.f_code.co_filename.endswith("candidate_generator.py"):
            return frame is not None
    return False


def _cache_of(model_kwargs: dict[str, object]) -> list[LayerSize] | None:
    """The layers of the KV cache that generate() holds, [] where it uses none; None: it lies under another name."""
    for name in KV_CACHE_NAMES:
        if model_kwargs.get(name) is not None:
            return layer_sizes(model_kwargs[name])
    return None if model_kwargs.get("use_cache") else []


def _length(ids: object) -> int | None:
    """Positions of token ids (sequences, positions); None for anything else."""
    return int(ids.shape[-1]) if isinstance(ids, torch.Tensor) and ids.ndim == 2 else None


def _given_length(values: dict[str, object]) -> int | None:
    """Positions of the ids that generate() was given as the beginning of its text; an encoder's are none of these."""
    if getattr(getattr(values.get("self"), "config", None), "is_encoder_decoder", False):
        return _length((values.get("kwargs") or {}).get("decoder_input_ids"))
    return _length(values.get("inputs")) or _length((values.get("kwargs") or {}).get("input_ids"))


def _runs(sizes: list[LayerSize]) -> list[tuple[int, ...]]:
    """Neighbouring layers of equal size as one row: first layer, how many, and the sizes of each."""
    rows = []
    first = 0
    for size, alike in itertools.groupby(sizes):
        count = len(list(alike))
        rows.append((first, count, *size))
        first += count
    return rows
