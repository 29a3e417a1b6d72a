"""Describe arguments and results by what they are, never by `repr` and never by holding them.

A tensor becomes a TensorSpec (shape, dtype, device, bytes). None, bool, numbers, dtypes, devices, short texts and
paths become values. Anything else becomes the name of its type. Equal descriptions are kept once (interned): a run
has few distinct ones, so that a recording grows by small integers.
"""

from __future__ import annotations

import os
from collections import OrderedDict, UserDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

import torch

from ..events import NOT_OBSERVED, NOTHING
from ..recording.rows import TensorSpec
from . import redact
from .tensor_names import device_name, dtype_name
from .torch_modes import function_mode_is_on, outside_function_modes, whole

Tensor = torch.Tensor  # looked up for each argument of each event
DEEPEST = 3  # levels of tuples, lists and dicts that are opened
MOST_ITEMS = 24  # a longer container is named by its type and length,
MOST_TENSORS = 256  # one that begins with a tensor is not: hidden states and attentions have one per layer


class Describer:
    """Turns what flows through a call into interned descriptions.

    `tensor_lists[i]` is a tuple of indexes into `specs`; `value_lists[i]` a tuple of (path, value) pairs;
    `descriptions[i]` a pair of indexes into these two. Index 0 of each is the empty one. Dictionary operations are
    atomic, so threads may share one Describer: at worst two threads intern equal descriptions twice. `modes`: whether
    a mode of the program's would see what is read here, and what to read under then.
    """

    modes = (function_mode_is_on, outside_function_modes)

    def __init__(self) -> None:
        self.specs: list[TensorSpec] = []
        self.tensor_lists: list[tuple[int, ...]] = [()]
        self.value_lists: list[tuple[tuple[str, object], ...]] = [()]
        self.descriptions: list[tuple[int, int]] = [(NOTHING, NOTHING)]
        self._description_index: dict[tuple[int, int], int] = {(NOTHING, NOTHING): NOTHING}
        self.by_key: dict[tuple, int] = {}
        self._spec_index: dict[tuple, int] = {}
        self._tensor_list_index: dict[tuple[int, ...], int] = {(): NOTHING}
        self._value_list_index: dict[tuple, int] = {(): NOTHING}
        self._handlers: dict[type, object] = {}
        self._texts: dict[str, str] = {}  # by what they were: a load tells a tensor's name in several calls
        self.named_by_type: set[type] = set()  # types of which only the name is told
        self.dictionaries: set[type] = set()  # types of dictionaries that hold what they give
        self.secrets = redact.SecretValues()
        self.description, self.description_of_one = _ways_in(self)

    def new_key(self, key: tuple, names: tuple[str, ...], values: Sequence[object]) -> int:
        index = self.description_of_all(names, values)
        if not any(map(redact.is_secret_path, names)):
            self.by_key[key] = index
        return index

    def description_of_all(self, names: tuple[str, ...], values: Sequence[object]) -> int:
        pair = self.describe(zip(names, values, strict=False))
        index = self._description_index.get(pair)
        if index is None:
            self.descriptions.append(pair)
            index = self._description_index[pair] = len(self.descriptions) - 1
        return index

    def describe(self, named: Iterable[tuple[str, object]]) -> tuple[int, int]:
        """(index into tensor_lists, index into value_lists) for the named arguments or results."""
        tensors: list[int] = []
        values: list[tuple[str, object]] = []
        try:
            for path, value in named:
                kind = type(value)  # the two commonest cases first: this runs for each argument of each event
                if kind is torch.Tensor:
                    tensors.append(self.tensor(path, value))
                elif (kind is bool or value is None) and not redact.is_secret_path(path):
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
            index = self._spec_index.get(key)
        except Exception:
            key = _unusual_key(path, value)
            index = self._spec_index.get(key)
        if index is None:
            index = self._new_spec(key, value)
        return index

    def _new_spec(self, key: tuple, value: torch.Tensor) -> int:
        path, shape, dtype, device, storage = key
        try:
            nbytes = whole(value.numel() * value.element_size() if value.layout == torch.strided else value.nbytes)
        except Exception:
            nbytes = NOT_OBSERVED  # a layout, or a class, that does not say
        spec = TensorSpec(
            path=path,
            shape=tuple(map(whole, shape)),
            dtype=dtype_name(dtype),
            device=device_name(device),
            nbytes=None if nbytes == NOT_OBSERVED else nbytes,
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

    def text(self, value: str) -> str:
        """`value` redacted and cut. The longer ones are not kept as they were."""
        if len(value) > redact.LONGEST_TEXT:
            return redact.text(value)
        told = self._texts.get(value)
        if told is None:
            told = self._texts[value] = redact.text(value)
        return told

    def _add(self, path: str, value: object, tensors: list[int], values: list, depth: int) -> None:
        kind = type(value)
        if kind is not redact.Word and redact.is_secret_path(path) and not redact.is_token_id(path, kind):
            values.append((path, REDACTED_OR_NONE[value is None]))
            self.secrets.note(value, path.rpartition(".")[2])
            return
        handler = self._handlers.get(kind)
        if handler is None:
            handler = self._handlers[kind] = _handler_for(kind)
            if handler is _add_type_name:
                self.named_by_type.add(kind)
            elif handler is _add_dictionary:
                self.dictionaries.add(kind)
        handler(self, path, value, tensors, values, depth)


def _ways_in(describer: Describer) -> tuple[Callable, Callable]:
    """`description(names, values)` and `description_of_one(names, value)`: an index into `descriptions` for arguments
    or results. The ways in for events, of which there are many: closures, as in event_writer.

    Most are as they were in the layer or the step before, so what decides a description is compared first, as one
    key: names, and of each value what `add_key` takes. Only a new key is described.
    """
    known = describer.by_key.get
    named_by_type, dictionaries = describer.named_by_type, describer.dictionaries
    new_key, description_of_all, is_secret_path = describer.new_key, describer.description_of_all, redact.is_secret_path

    def add_key(value: object, key: list, depth: int) -> bool:
        """Add to `key` what the description of this value depends on; False where only describing it can tell.

        Never the value itself, unless it is a constant or short: a key is kept.
        """
        kind = type(value)
        if kind is tuple or kind is list:
            key += (kind, len(value))
            if depth < DEEPEST and (len(value) <= MOST_ITEMS or len(value) <= _most_items(value)):
                for item in value:
                    if type(item) is Tensor:
                        key += (item.shape, item.dtype, item.device, item.untyped_storage().nbytes())
                    elif not add_key(item, key, depth + 1):
                        return False
        elif kind is Tensor:
            key += (value.shape, value.dtype, value.device, value.untyped_storage().nbytes())
        elif kind in CONSTANTS:
            key.append(value)
        elif kind in named_by_type:
            key.append(kind)
        elif kind is int or kind is float or (kind is str and len(value) <= SHORT):
            key += (kind, value)  # 1, 1.0 and True are equal; NaN is not, and is described each time
            return value == value
        elif kind is torch.device or kind is torch.Size:
            key += (kind, value)
        elif kind in dictionaries:
            return add_pairs(value, key, depth)
        else:
            return False
        return True

    def add_pairs(held: dict, key: list, depth: int) -> bool:
        pairs = [*dict.items(held)]
        key += (type(held), len(pairs))
        if depth < DEEPEST and len(pairs) <= MOST_ITEMS:
            for name, value in pairs:
                if type(name) is not str or len(name) > SHORT or is_secret_path(name):
                    return False
                key.append(name)
                if not add_key(value, key, depth + 1):
                    return False
        return True

    def description(names: tuple[str, ...], values: Iterable[object]) -> int:
        key = [names]
        try:
            for value in values:
                kind = type(value)
                if kind is Tensor:
                    key += (value.shape, value.dtype, value.device, value.untyped_storage().nbytes())
                elif kind in CONSTANTS:
                    key.append(value)
                elif kind in named_by_type:
                    key.append(kind)
                elif not add_key(value, key, 0):
                    return description_of_all(names, values)
        except Exception:  # no storage, or the reader's object raised: describe() says which
            return description_of_all(names, values)
        key = tuple(key)
        index = known(key)
        return new_key(key, names, values) if index is None else index

    def description_of_one(names: tuple[str], value: object) -> int:
        if type(value) is not Tensor:
            return description(names, (value,))
        try:
            key = (names, value.shape, value.dtype, value.device, value.untyped_storage().nbytes())
        except Exception:
            return description_of_all(names, (value,))
        index = known(key)
        return new_key(key, names, (value,)) if index is None else index

    return description, description_of_one


def _unusual_key(path: str, value: torch.Tensor) -> tuple:
    """The description of a tensor without a storage of its own (sparse, wrappers of functorch), without one size per
    dimension (nested: the ragged ones are -1), or of a class that says nothing; never an exception."""
    try:
        return (path, tuple(_size(value, place) for place in range(value.dim())), value.dtype, value.device, None)
    except Exception:
        return (path, (), "not observed", "not observed", None)


def _size(value: torch.Tensor, dimension: int) -> int:
    try:
        return whole(value.size(dimension))
    except Exception:
        return NOT_OBSERVED


CONSTANTS = frozenset({bool, type(None), torch.dtype})
LARGEST_INTEGER = 2**63  # a larger one, as a tokenizer's VERY_LARGE_INTEGER, is told as a text: a file has 64 bits
LONGEST_INTEGER = 128  # bits of one that is written out
SHORT = 32  # characters: longer texts are not kept as a part of keys
REDACTED_OR_NONE = {True: None, False: redact.REDACTED}


def _handler_for(kind: type):
    """How values of this type are described; decided by the type alone, so that no code of the value runs."""
    if issubclass(kind, torch.Tensor):
        return _add_tensor
    if kind is bool or kind is type(None):
        return _add_plain
    if kind is int:
        return _add_int
    for base, handler in (
        (float, _add_float),
        (str, _add_text),
        (PurePath, _add_path),
        ((torch.dtype, torch.device, torch.Size), _add_torch_constant),
        (list, _add_list),
        (tuple, _add_tuple),
        (type, _add_class),
    ):
        if issubclass(kind, base):
            return handler
    if issubclass(kind, UserDict):  # BatchEncoding
        return _add_user_dictionary
    return _add_dictionary if _is_plain_dictionary(kind) else _add_type_name


def _is_plain_dictionary(kind: type) -> bool:
    """Whether a dictionary of this class holds what it gives. Others make it when they are asked: transformers' lazy
    mappings import hundreds of modules, accelerate's read weights from disk."""
    bases = (dict, OrderedDict)  # ModelOutput is an OrderedDict
    return issubclass(kind, dict) and all(
        any(getattr(kind, name) is getattr(base, name) for base in bases) for name in ("__len__", "__iter__", "items")
    )


def _add_tensor(describer: Describer, path, value, tensors, values, depth) -> None:
    tensors.append(describer.tensor(path, value))


def _add_plain(describer, path, value, tensors, values, depth) -> None:
    values.append((path, value))


def _add_int(describer, path, value, tensors, values, depth) -> None:
    if abs(value) >= LARGEST_INTEGER:
        few = value.bit_length() <= LONGEST_INTEGER
        value = str(value) if few else f"<int of {value.bit_length()} bits>"
    values.append((path, value))


def _add_float(describer, path, value, tensors, values, depth) -> None:
    finite = value == value and value not in (float("inf"), float("-inf"))
    values.append((path, float(value) if finite else str(float(value))))  # JSON has no NaN and no infinity


def _add_text(describer, path, value, tensors, values, depth) -> None:
    values.append((path, describer.text(str.__str__(value))))


def _add_path(describer, path, value, tensors, values, depth) -> None:
    values.append((path, describer.text(os.fsdecode(os.fspath(value)))))


def _add_torch_constant(describer, path, value, tensors, values, depth) -> None:
    values.append((path, str(value)))


def _add_class(describer, path, value, tensors, values, depth) -> None:
    values.append((path, f"class {type.__dict__['__name__'].__get__(value)}"))


def _add_type_name(describer, path, value, tensors, values, depth) -> None:
    values.append((path, f"<{type(value).__name__}>"))


def _add_list(describer, path, value, tensors, values, depth) -> None:
    _add_items(describer, path, value, list.__len__(value), list.__iter__(value), tensors, values, depth)


def _add_tuple(describer, path, value, tensors, values, depth) -> None:
    _add_items(describer, path, value, tuple.__len__(value), tuple.__iter__(value), tensors, values, depth)


def _most_items(value: tuple | list) -> int:
    """How long this container may be and still be opened."""
    first = next(iter(tuple.__iter__(value) if isinstance(value, tuple) else list.__iter__(value)), None)
    return MOST_TENSORS if type(first) is Tensor or type(first) is tuple else MOST_ITEMS


def _add_items(describer, path, value, count, items, tensors, values, depth) -> None:
    if depth >= DEEPEST or count > _most_items(value):
        values.append((path, f"<{type(value).__name__} of {count}>"))
        return
    if not count:
        values.append((path, f"<empty {type(value).__name__}>"))
    for position, item in enumerate(items):
        describer._add(f"{path}.{position}", item, tensors, values, depth + 1)


def _add_user_dictionary(describer, path, value, tensors, values, depth) -> None:
    held = object.__getattribute__(value, "__dict__").get("data")
    if isinstance(held, dict) and _is_plain_dictionary(type(held)):
        _add_pairs(describer, path, value, held, tensors, values, depth)
    else:
        _add_type_name(describer, path, value, tensors, values, depth)


def _add_dictionary(describer, path, value, tensors, values, depth) -> None:
    _add_pairs(describer, path, value, value, tensors, values, depth)


def _add_pairs(describer, path, value, held: dict, tensors, values, depth) -> None:
    count = dict.__len__(held)
    if depth >= DEEPEST or count > MOST_ITEMS:
        values.append((path, f"<{type(value).__name__} of {count}>"))
        return
    if not count:
        values.append((path, f"<empty {type(value).__name__}>"))
    for key, item in list(dict.items(held)):
        if type(key) is str or type(key) is int:
            describer._add(f"{path}.{describer.text(str(key))}", item, tensors, values, depth + 1)
        else:
            values.append((path, f"<key of type {type(key).__name__}>"))
