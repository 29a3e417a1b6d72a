"""Generation steps: prefill = 0, then decode steps 1, 2, 3, …

A step begins when `prepare_inputs_for_generation` runs and a token has been finished since the last one; the stopping
criteria run once per token, in every version and in every decoding loop. A prefill in chunks is therefore one step.
"""

from __future__ import annotations

import types
from collections.abc import Callable

from ..events import NOT_OBSERVED, STEP_COLUMNS
from ..progress import GenerationProgress
from .memory import MemoryProbe, cache_size


class StepTracker:
    """Knows the current generation and step; decides which steps are kept in full.

    `keep`: how many steps of each generation are kept in full (None: all). `on_keep_change(keeping)` is called when
    recording in full should stop or go on. `progress` is told of each token, except where the program streams its text.
    """

    def __init__(
        self,
        keep: int | None,
        memory: MemoryProbe | None,
        clock: Callable[[], int],
        on_keep_change: Callable[[bool], None],
        progress: GenerationProgress | None = None,
    ) -> None:
        self.generation = NOT_OBSERVED
        self.step = NOT_OBSERVED
        self.rows: list[tuple[int, ...]] = []
        self._keep = keep
        self._memory = memory
        self._clock = clock
        self._on_keep_change = on_keep_change
        self._progress = progress
        self._generations = 0
        self._depth = 0
        self._token_finished = False
        self._began = 0
        self._cache = (NOT_OBSERVED, NOT_OBSERVED)

    def generate_entered(self, frame: types.FrameType) -> None:
        """generate() begins. A generate() inside another (an assistant model) belongs to the outer one."""
        self._depth += 1
        if self._depth == 1:
            self.generation = self._generations
            self._generations += 1
            self.step = NOT_OBSERVED
            self._token_finished = True
            self._cache = (NOT_OBSERVED, NOT_OBSERVED)
            if self._progress is not None and frame.f_locals.get("streamer") is None:
                self._progress.begin()

    def generate_left(self, _value: object) -> None:
        """generate() ends, by return or exception."""
        self._depth -= 1
        if self._depth == 0:
            if self._progress is not None:
                self._progress.end()
            self._finish_step()
            self.generation = self.step = NOT_OBSERVED
            self._set_cache_bytes(0)
            self._on_keep_change(True)

    def inputs_prepared(self, _frame: object) -> None:
        """prepare_inputs_for_generation begins: the next step, if the last token is finished."""
        if self._depth != 1 or not self._token_finished:
            return
        self._finish_step()
        self._token_finished = False
        self.step += 1
        self._began = self._clock()
        self._on_keep_change(self._is_kept())

    def kwargs_updated(self, model_kwargs: object) -> None:
        """_update_model_kwargs_for_generation returned: its result holds the KV cache after the forward pass."""
        if self._depth != 1 or not isinstance(model_kwargs, dict):
            return
        cache = model_kwargs.get("past_key_values")
        self._cache = cache_size(cache) if cache is not None else (0, 0)
        self._set_cache_bytes(max(self._cache[1], 0))

    def token_finished(self, _value: object) -> None:
        """The stopping criteria have been asked: the token is drawn."""
        if self._depth == 1:
            self._token_finished = True
            if self._progress is not None:
                self._progress.token()

    def _is_kept(self) -> bool:
        return self._keep is None or self.step < self._keep

    def _finish_step(self) -> None:
        if self.step == NOT_OBSERVED:
            return
        sample = self._memory.sample() if self._memory else NOT_OBSERVED
        end = self._clock()
        self.rows.append((self.generation, self.step, self._began, end, int(self._is_kept()), *self._cache, sample))

    def columns(self) -> dict[str, list[int]]:
        """The steps by column name."""
        return {name: [row[place] for row in self.rows] for place, name in enumerate(STEP_COLUMNS)}

    def _set_cache_bytes(self, nbytes: int) -> None:
        if self._memory is not None:
            self._memory.kv_cache = nbytes
