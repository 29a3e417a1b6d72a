"""The tree of the landmarks of some stages: who called whom, with equal calls folded into one row."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ..events import NOT_OBSERVED
from ..recording.recording import Recording
from .requirements import require_finished
from .stages import stage_of_functions


class TreeRow(NamedTuple):
    """One function under one caller: `depth` from 0, `calls` of it there, `stage` of its landmark."""

    depth: int
    function: str
    calls: int
    stage: int


def call_tree(recording: Recording, stages: Collection[int]) -> list[TreeRow]:
    """The landmarks of these stages, each under the nearest one that was running when it was called, in order.

    Calls of one function under one caller are one row, and so are their own callees. Zoom: landmarks.
    """
    require_finished(recording)
    stage_of = {function: stage for function, stage in stage_of_functions(recording).items() if stage in stages}
    functions, parents = recording.events["function"].tolist(), recording.events["parent"].tolist()
    nodes: list[_Node | None] = []
    root = _Node(NOT_OBSERVED)
    for function, parent in zip(functions, parents, strict=True):
        above = nodes[parent] if parent != NOT_OBSERVED else root
        nodes.append(above.called(function) if function in stage_of else above)
    return list(_rows(root, recording, stage_of, -1))


class _Node:
    """A function under its callers."""

    def __init__(self, function: int):
        self.function = function
        self.calls = 0
        self.callees: dict[int, _Node] = {}

    def called(self, function: int) -> _Node:
        node = self.callees.setdefault(function, _Node(function))
        node.calls += 1
        return node


def _rows(node: _Node, recording: Recording, stage_of: dict[int, int], depth: int):
    if depth >= 0:
        qualname = recording.functions[node.function].qualname.rpartition("<locals>.")[2]
        yield TreeRow(depth, qualname, node.calls, stage_of[node.function])
    for callee in node.callees.values():
        yield from _rows(callee, recording, stage_of, depth + 1)
