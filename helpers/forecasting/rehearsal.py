"""The forward passes of a generation, rehearsed: the installed library's own code on tensors without memory.

torch's FakeTensorMode runs every operation on tensors that have a shape, a dtype and a device, but no memory. So the
parameters, the KV cache and the activations are those that the library makes, for any architecture that it has, and
no formula of ours stands between. What a kernel takes for itself while it runs is not seen.
"""

from __future__ import annotations

import contextlib
import inspect
import logging as python_logging
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from helpers import compat
from helpers.forecasting.live_memory import LiveMemory, layer_bytes
from helpers.forecasting.plain_cache import is_plain, lengthen
from helpers.forecasting.settings import ForecastError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

LOGITS_COPY = 4
"""Bytes per entry of the float32 copy of the last position's logits that generate() makes before it samples."""


class RehearsalError(ForecastError):
    """The library cannot run this model without memory; the message says where it stopped."""


@dataclass(frozen=True)
class Parameter:
    """A parameter or buffer of the model, each storage once: `nbytes` as it will be in memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    is_buffer: bool = False

    @property
    def count(self) -> int:
        """How many numbers it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True)
class Pass:
    """One forward pass: what it holds at most beside weights and KV cache, and its logits; bytes."""

    activations: int
    logits: int
    all_logits: int
    """The logits of every position, as a forward pass outside generate() gives them."""


@dataclass(frozen=True)
class Rehearsal:
    """What the rehearsal saw. Bytes; None where the library could not be rehearsed, and then `unknown` says why."""

    cache_by_layer: tuple[int, ...] | None = None
    """KV cache after the last step, layer by layer."""
    prefill_cache_by_layer: tuple[int, ...] | None = None
    first_by_layer: tuple[int, ...] | None = None
    """KV cache after one token, layer by layer: with the state that some layers keep in place of keys and values."""
    token_by_layer: tuple[int, ...] | None = None
    """What one more token adds, layer by layer, while no window is full; None for a static cache, there whole at
    once."""
    prefill: Pass | None = None
    decode: Pass | None = None
    unknown: str | None = None
    scaled_from: str | None = None
    """The dtype of the rehearsal, where it is not the forecast's."""

    @property
    def cache_per_token(self) -> int | None:
        """What one token adds to all layers; None where `token_by_layer` is."""
        return None if self.token_by_layer is None else sum(self.token_by_layer)

    def scaled(self, other: torch.dtype, dtype: torch.dtype) -> Rehearsal:
        """A rehearsal in `other` as one in `dtype`: keys and values exactly, as they are in the model's dtype; the
        rest at most, as some of its tensors have a dtype of their own."""

        def size(count: int) -> int:
            return -(-count * dtype.itemsize // other.itemsize)

        def scaled_pass(one: Pass | None) -> Pass | None:
            return one and Pass(*map(size, (one.activations, one.logits, one.all_logits)))

        return replace(
            self,
            cache_by_layer=tuple(map(size, self.cache_by_layer or ())),
            prefill_cache_by_layer=tuple(map(size, self.prefill_cache_by_layer or ())),
            first_by_layer=None if self.first_by_layer is None else tuple(map(size, self.first_by_layer)),
            token_by_layer=None if self.token_by_layer is None else tuple(map(size, self.token_by_layer)),
            prefill=scaled_pass(self.prefill),
            decode=scaled_pass(self.decode),
            scaled_from=str(other).removeprefix("torch."),
        )


class FakeModel:
    """A language model without memory, in evaluation mode, in `dtype`; made from its config alone.

    A causal one; where transformers has none for the config, one from images and text to text (`auto_class` is the name
    of the class that made it). Raises RehearsalError for a config that the installed transformers has neither for, or
    that lacks what the model needs.
    """

    def __init__(self, config: PretrainedConfig, dtype: torch.dtype) -> None:
        maker = _maker(config)
        self.auto_class, self.dtype, self.mode = maker.__name__, dtype, FakeTensorMode()
        try:
            self.model = self._built(maker, config)
        except Exception as error:  # whatever the modelling code of any architecture raises on a config
            raise RehearsalError(
                f"transformers cannot build a language model from this {type(config).__name__}: {_in_one_line(error)}"
            ) from error

    def _built(self, maker: type, config: PretrainedConfig) -> PreTrainedModel:
        with quiet():
            try:
                with self.mode:
                    return maker.from_config(config, **compat.dtype_argument(self.dtype)).eval()
            except (
                DataDependentOutputException
            ):  # it reads a value; from_pretrained's own meta device lets some of that
                with torch.device("meta"):
                    model = maker.from_config(config, **compat.dtype_argument(self.dtype)).eval()
                model.tie_weights()
                self._take(model)
                return model

    def _take(self, model: PreTrainedModel) -> None:
        """Put tensors of this mode in the place of a model's tensors on the meta device; what is tied stays so."""
        taken: dict[int, torch.Tensor] = {}
        for module in model.modules():
            for own in (module._parameters, module._buffers):
                for name, tensor in own.items():
                    if tensor is None:
                        continue
                    if id(tensor) not in taken:
                        with self.mode:
                            fake = torch.empty(tensor.shape, dtype=tensor.dtype)
                            taken[id(tensor)] = torch.nn.Parameter(fake) if own is module._parameters else fake
                    own[name] = taken[id(tensor)]

    def parameters(self) -> list[Parameter]:
        """Parameters and buffers, each storage once, under the first of its names."""
        seen, found = set(), []
        kept, stored = compat.kept_in_float32(self.model, self.dtype), self.model.state_dict()
        for is_buffer, named in (
            (False, self.model.named_parameters()),
            (True, self.model.named_buffers()),
        ):
            for name, tensor in named:
                storage = tensor.untyped_storage()._cdata
                if storage not in seen:
                    seen.add(storage)
                    is_kept = kept and name in stored and tensor.is_floating_point() and kept.search(name)
                    dtype = torch.float32 if is_kept else tensor.dtype
                    nbytes = tensor.numel() * dtype.itemsize
                    found.append(Parameter(name, tuple(tensor.shape), _plain(dtype), nbytes, is_buffer))
        return found

    def tied(self) -> dict[str, str]:
        """Second name -> first name of each parameter that has more than one."""
        first: dict[int, str] = {}
        tied = {}
        for name, tensor in self.model.named_parameters(remove_duplicate=False):
            known = first.setdefault(id(tensor), name)
            if known != name:
                tied[name] = known
        return tied

    def rehearse(self, prompt_tokens: int, new_tokens: int, batch: int, cache: str) -> Rehearsal:
        """Prefill of `prompt_tokens`, and the decode steps of `new_tokens`, for `batch` sequences.

        The last token is chosen but never goes through the model: the cache ends at prompt + new - 1 positions.
        """
        room = compat.static_cache_positions(prompt_tokens, new_tokens)
        result = Rehearsal()
        try:
            prefill, held = self._run(batch, prompt_tokens, self._cache(cache, batch, room))
            result = replace(result, prefill=prefill)
            sizes = layer_bytes(held)
            if sizes is None:
                raise RehearsalError(self._why_no_sizes(held))
            result = replace(result, cache_by_layer=sizes, prefill_cache_by_layer=sizes)
            plain = cache == "dynamic" and is_plain(held, prompt_tokens)
            if plain:
                token = tuple(size // prompt_tokens for size in sizes)
                result = replace(result, first_by_layer=token, token_by_layer=token)
            elif cache == "dynamic":
                first, second = (layer_bytes(self._run(batch, tokens, None)[1]) for tokens in (1, 2))
                more = tuple(after - before for before, after in zip(first, second, strict=True))
                result = replace(result, first_by_layer=first, token_by_layer=more)
            if plain and new_tokens > 1:
                decode, held = self._last_step_of_plain(held, prompt_tokens, new_tokens, batch)
                return replace(result, decode=decode, cache_by_layer=layer_bytes(held))
            if new_tokens > 1:
                first, held = self._run(batch, 1, held, position=prompt_tokens)
                result = replace(result, decode=first, cache_by_layer=layer_bytes(held))
            if new_tokens > 2:
                last, held = self._last_step(held, prompt_tokens, new_tokens, batch, self._cache(cache, batch, room))
                sizes = layer_bytes(held)
                at_first = first.activations + sum(result.cache_by_layer) - sum(sizes)
                decode = replace(last, activations=max(last.activations, at_first))
                result = replace(result, decode=decode, cache_by_layer=sizes)
        except Exception as error:  # whatever the modelling code of any architecture raises without memory
            what = "decode step" if result.cache_by_layer else "activations" if result.prefill is None else "KV cache"
            result = replace(result, unknown=f"{what} not known: {_why(error)}")
        return result

    def _why_no_sizes(self, held: object | None) -> str:
        if held is not None:
            return f"the layout of its {type(held).__name__} is not known"
        if any(hasattr(module, "_setup_cache") for module in self.model.modules()):  # RecurrentGemma
            return "it keeps its state in its modules, from where it is not read"
        return "it gives no KV cache"

    def _last_step(
        self, held: object, prompt_tokens: int, new_tokens: int, batch: int, empty: object | None
    ) -> tuple[Pass, object]:
        """The last decode step, after another one; `held`: the cache after the first, `empty`: one to begin with.

        A layer with a sliding window keeps a view: after a prefill of the storage of all its positions, so that the
        first decode step may hold most; after a decode step of one that is as long as the window.
        """
        before = prompt_tokens + new_tokens - 3
        if before > prompt_tokens:
            _, held = self._run(batch, before, empty)
            _, held = self._run(batch, 1, held, position=before)
        return self._run(batch, 1, held, position=before + 1)

    def _last_step_of_plain(self, held: object, prompt_tokens: int, new_tokens: int, batch: int) -> tuple[Pass, object]:
        """The last decode step after a prefill that left a plain cache: of its decode steps the one that holds most."""
        position = prompt_tokens + new_tokens - 2
        if position > prompt_tokens:
            with self.mode:
                lengthen(held, position)
        return self._run(batch, 1, held, position=position)

    def _cache(self, cache: str, batch: int, room: int) -> object | None:
        """None lets the model make its own dynamic cache, as generate() does."""
        if cache == "dynamic":
            return None
        with self.mode:
            return compat.static_cache(self.model.config, batch, room, self.dtype)

    def _run(self, batch: int, tokens: int, cache: object | None, position: int = 0) -> tuple[Pass, object]:
        keep_last = {name: 1 for name in LAST_LOGITS_ONLY if name in _forward_parameters(self.model)}
        with self.mode, torch.no_grad(), quiet():
            ids = torch.zeros((batch, tokens), dtype=torch.long)
            name = compat.cache_name(_forward_parameters(self.model))
            given = {} if cache is None else {name: cache}
            if "cache_position" in _forward_parameters(self.model):
                given["cache_position"] = torch.arange(position, position + tokens)
            with LiveMemory(self.model, cache) as live:
                output = self.model(ids, use_cache=True, **given, **keep_last)
            held = compat.cache_of_generate(self.model, getattr(output, name, None))
            logits = output.logits
            row = batch * logits.shape[-1]
            return Pass(
                activations=live.most - sum(layer_bytes(held) or ()),
                logits=logits.numel() * logits.element_size() + row * LOGITS_COPY,
                all_logits=row * tokens * logits.element_size(),
            ), held


LAST_LOGITS_ONLY = ("logits_to_keep", "num_logits_to_keep")
"""The arguments by which generate() asks for the logits of the last position only; the second is that of 4.47."""


def _maker(config: PretrainedConfig) -> type:
    """The class of transformers that makes a model of this config: a causal one, else one that reads images too."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    for maker in (AutoModelForCausalLM, AutoModelForImageTextToText):
        if type(config) in maker._model_mapping:
            return maker
    kind = " (an encoder-decoder)" if getattr(config, "is_encoder_decoder", False) else ""
    own = ""
    if not type(config).__module__.startswith("transformers."):
        own = f"; one of your own: AutoModelForCausalLM.register({type(config).__name__}, YourModel) before this"
    raise RehearsalError(
        f"transformers has no causal language model for model_type {config.model_type!r}{kind}: give another model{own}"
    )


def _forward_parameters(model: PreTrainedModel) -> frozenset[str]:
    return frozenset(inspect.signature(inspect.unwrap(type(model).forward)).parameters)


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _why(error: Exception) -> str:
    """Why a rehearsal ended, for a reader who knows nothing of the class of `error`."""
    if isinstance(error, RehearsalError):
        return str(error)
    return f"the library's code for this model does not run on tensors without memory ({_in_one_line(error)})"


def _in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


@contextlib.contextmanager
def quiet():
    """Without warnings and log lines: they would be about no run of the reader's."""
    from transformers.utils import logging

    others = {name: python_logging.getLogger(name) for name in ("torch._subclasses.fake_tensor", "accelerate")}
    level, other_levels = logging.get_verbosity(), {name: logger.level for name, logger in others.items()}
    logging.set_verbosity_error()
    for logger in others.values():
        logger.setLevel(python_logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        for name, logger in others.items():
            logger.setLevel(other_levels[name])
