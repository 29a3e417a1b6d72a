"""Describe arguments and results by what they are, never by `repr` and never by holding them.

A tensor becomes a TensorSpec (shape, dtype, device, bytes). None, bool, numbers, dtypes, devices, short texts and
paths become values. Anything else becomes the name of its type. Equal descriptions are kept once (interned): a run
has few distinct ones, so that a recording grows by small integers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import torch

from ..events import NOTHING
from ..rows import TensorSpec
from . import redact

DEEPEST = 3  # levels of tuples, lists and dicts that are opened
MOST_ITEMS = 24  # a longer container is named by its type and length


class Describer:
    """Turns what flows through a call into interned descriptions.

    `tensor_lists[i]` is a tuple of indexes into `specs`; `value_lists[i]` a tuple of (path, value) pairs.
    Index 0 of both is the empty description. Dictionary operations are atomic, so threads may share one Describer:
    at worst two threads intern equal descriptions twice.
    """

    def __init__(self) -> None:
        self.specs: list[TensorSpec] = []
        self.tensor_lists: list[tuple[int, ...]] = [()]
        self.value_lists: list[tuple[tuple[str, object], ...]] = [()]
        self._spec_index: dict[tuple, int] = {}
        self._tensor_list_index: dict[tuple[int, ...], int] = {(): NOTHING}
        self._value_list_index: dict[tuple, int] = {(): NOTHING}
        self._handlers: dict[type, object] = {}

    def describe(self, named: Iterable[tuple[str, object]]) -> tuple[int, int]:
        """(index into tensor_lists, index into value_lists) for the named arguments or results."""
        tensors: list[int] = []
        values: list[tuple[str, object]] = []
        try:
            for path, value in named:
                kind = type(value)  # the two commonest cases first: this runs for each argument of each event
                if kind is torch.Tensor:
                    tensors.append(self.tensor(path, value))
                elif kind in PLAIN and not redact.is_secret_path(path):
                    values.append((path, value))
                else:
                    self._add(path, value, tensors, values, 0)
        except Exception as error:  # the reader's object raised while it was looked at: the run must go on unchanged
            values.append(("", f"<not observed: {type(error).__name__} while reading it>"))
        return self._tensor_list(tuple(tensors)), self._value_list(tuple(values))

    def tensor(self, path: str, value: torch.Tensor) -> int:
        """Index into `specs` of this tensor's description; nothing of the tensor is kept."""
        try:
            key = (path, value.shape, value.dtype, value.device, value.untyped_storage().nbytes())
        except (RuntimeError, NotImplementedError, AttributeError):
            # sparse, some subclasses and functorch wrappers have no storage of their own
            key = (path, tuple(value.shape), value.dtype, value.device, None)
        index = self._spec_index.get(key)
        if index is None:
            index = self._new_spec(key, value)
        return index

    def _new_spec(self, key: tuple, value: torch.Tensor) -> int:
        path, shape, dtype, device, storage = key
        try:
            nbytes = value.numel() * value.element_size() if value.layout == torch.strided else int(value.nbytes)
        except (RuntimeError, NotImplementedError):
            nbytes = None  # a layout that does not say
        spec = TensorSpec(
            path=path,
            shape=tuple(int(size) for size in shape),
            dtype=str(dtype).removeprefix("torch."),
            device=str(device),
            nbytes=nbytes,
            storage=storage,
        )
        self.specs.append(spec)
        index = self._spec_index[key] = len(self.specs) - 1
        return index

    def _tensor_list(self, tensors: tuple[int, ...]) -> int:
        index = self._tensor_list_index.get(tensors)
        if index is None:
            self.tensor_lists.append(tensors)
            index = self._tensor_list_index[tensors] = len(self.tensor_lists) - 1
        return index

    def _value_list(self, values: tuple) -> int:
        if not values:
            return NOTHING
        # bool, int and float compare equal, so the types belong to the key
        key = (values, tuple([type(value) for _, value in values]))
        index = self._value_list_index.get(key)
        if index is None:
            self.value_lists.append(values)
            index = self._value_list_index[key] = len(self.value_lists) - 1
        return index

    def _add(self, path: str, value: object, tensors: list[int], values: list, depth: int) -> None:
        if redact.is_secret_path(path):
            values.append((path, REDACTED_OR_NONE[value is None]))
            return
        kind = type(value)
        handler = self._handlers.get(kind)
        if handler is None:
            handler = self._handlers[kind] = _handler_for(kind)
        handler(self, path, value, tensors, values, depth)


PLAIN = frozenset({bool, int, type(None)})
REDACTED_OR_NONE = {True: None, False: redact.REDACTED}


def _handler_for(kind: type):
    """How values of this type are described; decided by the type alone, so that no code of the value runs."""
    if issubclass(kind, torch.Tensor):
        return _add_tensor
    if kind in PLAIN:
        return _add_plain
    for base, handler in (
        (float, _add_float),
        (str, _add_text),
        (os.PathLike, _add_path),
        ((torch.dtype, torch.device, torch.Size), _add_torch_constant),
        ((list, tuple), _add_sequence),
        (Mapping, _add_mapping),
        (type, _add_class),
    ):
        if issubclass(kind, base):
            return handler
    if _is_mapping_like(kind):
        return _add_mapping
    return _add_type_name


def _is_mapping_like(kind: type) -> bool:
    return any(base.__name__ in ("UserDict", "ModelOutput") for base in kind.__mro__)


def _add_tensor(describer: Describer, path, value, tensors, values, depth) -> None:
    tensors.append(describer.tensor(path, value))


def _add_plain(describer, path, value, tensors, values, depth) -> None:
    values.append((path, value))


def _add_float(describer, path, value, tensors, values, depth) -> None:
    finite = value == value and value not in (float("inf"), float("-inf"))
    values.append((path, float(value) if finite else str(float(value))))  # JSON has no NaN and no infinity


def _add_text(describer, path, value, tensors, values, depth) -> None:
    values.append((path, redact.text(str.__str__(value))))


def _add_path(describer, path, value, tensors, values, depth) -> None:
    values.append((path, redact.text(os.fsdecode(os.fspath(value)))))


def _add_torch_constant(describer, path, value, tensors, values, depth) -> None:
    values.append((path, str(value)))


def _add_class(describer, path, value, tensors, values, depth) -> None:
    values.append((path, f"class {type.__dict__['__name__'].__get__(value)}"))


def _add_type_name(describer, path, value, tensors, values, depth) -> None:
    values.append((path, f"<{type(value).__name__}>"))


def _add_sequence(describer, path, value, tensors, values, depth) -> None:
    count = len(value)
    if depth >= DEEPEST or count > MOST_ITEMS:
        values.append((path, f"<{type(value).__name__} of {count}>"))
        return
    if not count:
        values.append((path, f"<empty {type(value).__name__}>"))
    for position, item in enumerate(value):
        describer._add(f"{path}.{position}", item, tensors, values, depth + 1)


def _add_mapping(describer, path, value, tensors, values, depth) -> None:
    count = len(value)
    if depth >= DEEPEST or count > MOST_ITEMS:
        values.append((path, f"<{type(value).__name__} of {count}>"))
        return
    if not count:
        values.append((path, f"<empty {type(value).__name__}>"))
    for key, item in list(value.items()):
        if type(key) is str or type(key) is int:
            describer._add(f"{path}.{redact.text(str(key))}", item, tensors, values, depth + 1)
        else:
            values.append((path, f"<key of type {type(key).__name__}>"))
