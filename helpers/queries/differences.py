"""diff(): what differs between two recordings, landmarks first, then modules, then other functions.

See `Recording.diff`. What both recordings have, and can be compared, is told in `comparable`; changes that are the
same in many layers and steps are folded in `folding`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from .. import landmarks as landmark_table
from ..events import MODULE, NOT_OBSERVED, RecordingError
from ..recording.recording import Recording
from ..recording.rows import Function, TensorSpec
from ..tables import Table
from .comparable import Scope
from .folding import OUTSIDE, Change, fold, told_values
from .landmark_calls import of_its_own
from .ledger_changes import ledger_changes
from .requirements import require_finished
from .stages import MODULE_CALL, not_fired

MOST_VALUES = 3  # of one argument, that are told in full
COLUMNS = ("what", "of", "name", "steps", "tensors", "before", "after", "count")
_PACKAGES = ("transformers", "torch", "accelerate", "safetensors", "tokenizers", "huggingface_hub")


def diff(before: Recording, after: Recording) -> Table:
    """See `Recording.diff`."""
    if not isinstance(after, Recording):
        raise RecordingError(f"diff() compares with another Recording, not with {type(after).__name__}.")
    require_finished(before)
    require_finished(after)
    scope = Scope(before, after)
    changes = [
        *_versions(before, after),
        *_models(before, after),
        *_landmarks(scope),
        *ledger_changes(before, after),
        *_modules(scope),
        *_functions(scope),
    ]
    changes.sort(key=lambda change: change.what == "line")  # stable: the least telling last
    return Table.of([*scope.left_out(), *fold(changes, scope.paths())], list(COLUMNS))


def _versions(before: Recording, after: Recording) -> Iterator[Change]:
    for package in _PACKAGES:
        versions = [str(recording.environment.get(package) or "not installed") for recording in (before, after)]
        if versions[0] != versions[1]:
            yield Change("version", "package", package, before=versions[0], after=versions[1])


def _models(before: Recording, after: Recording) -> Iterator[Change]:
    """The models that were called, with their attention implementation, where both recordings tell of them."""
    told = [recording.environment.get("models") for recording in (before, after)]
    if all(told) and told[0] != told[1]:
        yield Change("model", "recording", "", before="; ".join(told[0]), after="; ".join(told[1]))


# what was seen of a function or a module -----------------------------------------------------------------------------


@dataclass
class Seen:
    """What was recorded of one function or module: who played it, how often, and what its tensors were."""

    function: Function | None = None
    calls: int = 0
    reason: str = ""
    tensors: dict[tuple[str, str], set[TensorSpec]] = field(default_factory=lambda: defaultdict(set))
    values: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # of arguments and the result


def _seen(recording: Recording, events: Iterable[int], function: Function | None = None, reason: str = "") -> Seen:
    seen = Seen(function, reason=reason)
    lists: set[tuple[str, int]] = set()
    value_lists: set[int] = set()
    for event in events:
        seen.calls += 1
        lists.add(("input", int(recording.events["inputs"][event])))
        lists.add(("output", int(recording.events["outputs"][event])))
        value_lists.update(int(recording.events[name][event]) for name in ("arguments", "result"))
    for path, value in (pair for index in value_lists for pair in recording.value_lists[index]):
        seen.values[path].add(repr(value))
    for side, index in lists:
        for spec in map(recording.specs.__getitem__, recording.tensor_lists[index]):
            path = spec.path
            if side == "output":
                # A call's value is called "result", a module call's "output": the same forward may be either.
                path = ".".join(["output", *path.split(".")[1:]])
            seen.tensors[side, path].add(spec)
    return seen


def _compare(of: str, name: str, before: Seen, after: Seen, step: tuple[int, int] = OUTSIDE) -> Iterator[Change]:
    """The changes of something that ran in both."""
    if before.function and after.function and before.function != after.function:
        yield _moved(of, name, before.function, after.function, step)
    if before.calls != after.calls:
        yield Change("calls", of, name, step, before=str(before.calls), after=str(after.calls))
    for what in ("shape", "dtype", "device"):
        changed: dict[tuple[str, str], list[str]] = defaultdict(list)
        for place in before.tensors.keys() & after.tensors.keys():
            values = [_values(seen.tensors[place], what) for seen in (before, after)]
            if values[0] != values[1]:
                changed[told_values(values[0]), told_values(values[1])].append(place[1])
        for (old, new), tensors in sorted(changed.items()):
            yield Change(what, of, name, step, tuple(sorted(tensors)), old, new)
    yield from _one_sided("tensor gone", of, name, before, after, step)
    yield from _one_sided("tensor appeared", of, name, after, before, step)


def _one_sided(what: str, of: str, name: str, having: Seen, lacking: Seen, step: tuple[int, int]) -> Iterator[Change]:
    """Changes for the tensors that only one of the two had."""
    alike: dict[str, list[str]] = defaultdict(list)
    for place in having.tensors.keys() - lacking.tensors.keys():
        told = " ".join(told_values(_values(having.tensors[place], what)) for what in ("shape", "dtype"))
        alike[told].append(place[1])
    for told, tensors in sorted(alike.items()):
        sides = {"before": told} if what == "tensor gone" else {"after": told}
        yield Change(what, of, name, step, tuple(sorted(tensors)), **sides)


def _compare_values(name: str, before: Seen, after: Seen) -> Iterator[Change]:
    """Those arguments and results of a landmark that are not tensors and that both have. (What only one has is left
    out: a renamed argument would be told twice.)"""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in before.values.keys() & after.values.keys():
        old, new = before.values[path], after.values[path]
        if old != new:
            alike[_told_against(old, new), _told_against(new, old)].append(path)
    for (old, new), paths in sorted(alike.items()):
        yield Change("value", "landmark", name, tensors=tuple(sorted(paths)), before=old, after=new)


def _told_against(values: set[str], others: set[str]) -> str:
    """All values where they are few, else those that the other side did not have."""
    if max(len(values), len(others)) <= MOST_VALUES:
        return told_values(sorted(values))
    return told_values(sorted(values - others)) or "no other value"


def _moved(of: str, name: str, before: Function, after: Function, step: tuple[int, int]) -> Change:
    if before._replace(line=0) == after._replace(line=0):
        return Change("line", of, name, before=before.location, after=after.location)
    old, new = (f"{function.qualname} {function.location}" for function in (before, after))
    return Change("moved", of, name, step, before=old, after=new)


def _values(specs: set[TensorSpec], what: str) -> list[str]:
    """The distinct shapes, dtypes or devices, in an order that does not depend on which thread was first."""
    if what == "shape":
        return [specs_of.shape_text for specs_of in sorted({s.shape: s for s in specs}.values(), key=lambda s: s.shape)]
    return sorted({getattr(spec, what) for spec in specs})


# landmarks -----------------------------------------------------------------------------------------------------------


def _landmarks(scope: Scope) -> Iterator[Change]:
    before, after = (_landmarks_seen(scope, side) for side in (0, 1))
    order = {landmark.id: place for place, landmark in enumerate(landmark_table.table())}
    absent = Seen(reason="not observed: not in that recording's table")
    for name in sorted(before.keys() | after.keys(), key=lambda name: (order.get(name, len(order)), name)):
        old, new = before.get(name, absent), after.get(name, absent)
        if old.calls and new.calls:
            yield from _compare("landmark", name, old, new)
            yield from _compare_values(name, old, new)
        elif old.calls or new.calls:
            what = "gone" if old.calls else "appeared"
            yield Change(what, "landmark", name, before=_presence(name, old), after=_presence(name, new))


def _presence(landmark: str, seen: Seen) -> str:
    if not seen.calls:
        return seen.reason or not_fired(landmark)
    return f"{seen.calls} {'call' if seen.calls == 1 else 'calls'} of {seen.function.qualname}"


def _landmarks_seen(scope: Scope, side: int) -> dict[str, Seen]:
    recording, events = scope.both[side], scope.events[side]
    grouped = _grouped(events, recording.events["function"][events])
    module_events = events[recording.events["kind"][events] == MODULE].tolist()
    found = {}
    for status in recording.landmark_statuses:
        if status.function == NOT_OBSERVED:
            found[status.id] = Seen(reason=status.reason)
            continue
        function = recording.functions[status.function]
        # Every module call is a call of this one; it is recorded under the forward that it calls.
        if function.qualname == MODULE_CALL:
            if not scope.modules:
                continue
            found[status.id] = Seen(function, len(module_events))
        else:
            calls = of_its_own(recording, status.id, np.array(grouped.get(status.function, ()), dtype=np.int64))
            found[status.id] = _seen(recording, calls.tolist(), function, status.reason)
    return found


def _grouped(events: np.ndarray, keys: Iterable) -> dict[object, list[int]]:
    groups: dict[object, list[int]] = defaultdict(list)
    for event, key in zip(events.tolist(), keys.tolist() if isinstance(keys, np.ndarray) else keys, strict=True):
        groups[key].append(event)
    return groups


# modules -------------------------------------------------------------------------------------------------------------


def _modules(scope: Scope) -> Iterator[Change]:
    if not scope.modules:
        return
    before, after = (_module_events(scope, side) for side in (0, 1))
    for step, path in dict.fromkeys([*before, *after]):
        old, new = before.get((step, path)), after.get((step, path))
        if old and new:
            pair = [_first_call(recording, events) for recording, events in zip(scope.both, (old, new), strict=True)]
            changes = _compare("module", path, *pair, step)
            yield from (change for change in changes if change.what != "line")  # told once, of its function
        else:
            what = "gone" if old else "appeared"
            told = [_class_of(recording, events) for recording, events in zip(scope.both, (old, new), strict=True)]
            yield Change(what, "module", path, step, before=told[0], after=told[1])


def _module_events(scope: Scope, side: int) -> dict[tuple, list[int]]:
    """Events by ((generation, step), path)."""
    recording = scope.both[side]
    events = scope.events[side][recording.events["kind"][scope.events[side]] == MODULE]
    steps = zip(recording.events["generation"][events].tolist(), recording.events["step"][events].tolist(), strict=True)
    paths = [recording.paths[path] for path in recording.events["path"][events]]
    return _grouped(events, list(zip(steps, paths, strict=True)))


def _first_call(recording: Recording, events: list[int]) -> Seen:
    seen = _seen(recording, events[:1], recording.functions[recording.events["function"][events[0]]])
    seen.calls = len(events)
    return seen


def _class_of(recording: Recording, events: list[int] | None) -> str:
    if not events:
        return ""
    return recording.functions[recording.events["function"][events[0]]].qualname.removesuffix(".forward")


# other functions -----------------------------------------------------------------------------------------------------


def _functions(scope: Scope) -> Iterator[Change]:
    """Functions that are a landmark in neither. Of forwards only the line: the rest was told of their modules."""
    landmark_names = {
        _name(recording.functions[status.function])
        for recording in scope.both
        for status in recording.landmark_statuses
        if status.function != NOT_OBSERVED
    }
    before, after = (_functions_seen(scope, side) for side in (0, 1))
    for name in dict.fromkeys([*before, *after]):
        if name in landmark_names:
            continue
        old, new = before.get(name), after.get(name)
        is_forward = any(seen is not None and seen[1] for seen in (old, new))
        if old and new:
            changes = _compare("function", name, old[0], new[0])
            yield from (change for change in changes if change.what == "line" or not is_forward)
        elif not is_forward:
            what = "gone" if old else "appeared"
            told = [_presence(name, seen[0]) if seen else "not observed" for seen in (old, new)]
            yield Change(what, "function", name, before=told[0], after=told[1])


def _functions_seen(scope: Scope, side: int) -> dict[str, tuple[Seen, bool]]:
    """By name: what was seen, and whether it is the forward of module calls."""
    recording, events = scope.both[side], scope.events[side]
    grouped = _grouped(events, [_name(recording.functions[index]) for index in recording.events["function"][events]])
    found = {}
    for name, own in grouped.items():
        function = recording.functions[recording.events["function"][own[0]]]
        found[name] = (_seen(recording, own, function), recording.events["kind"][own[0]] == MODULE)
    return found


def _name(function: Function) -> str:
    return f"{function.module}:{function.qualname}"
