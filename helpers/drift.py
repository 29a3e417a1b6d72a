"""Drift: where the landmark table and the installed transformers disagree.

A table of names goes wrong silently: a function that was renamed is noticed, one that is still there but no longer
called is not. So the report runs the scenarios of the table on a small checkpoint and holds every landmark to what the
table says: its name, its count, its thread.
"""

from __future__ import annotations

import ast
import operator
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import landmarks as landmark_table
from .compat import loads_in_worker_threads
from .events import NOT_OBSERVED
from .landmarks import Landmark, Resolution
from .tables import Table

if TYPE_CHECKING:
    from .recording.recording import Recording
    from .scenarios import Scenarios

GONE, MOVED, SILENT, MISCOUNTED, WRONG_THREAD = KINDS = ("gone", "moved", "silent", "miscounted", "wrong thread")


class Drift(NamedTuple):
    """One disagreement; `kind` is one of KINDS."""

    landmark: str
    kind: str
    expected: str
    observed: str
    detail: str


class Expectation(NamedTuple):
    """How often a landmark fires in a scenario: exactly `count` times, or at least so often."""

    scenario: str
    rule: str
    count: int
    at_least: bool

    def holds(self, calls: int) -> bool:
        return calls >= self.count if self.at_least else calls == self.count

    def __str__(self) -> str:
        number = f"{'>=' if self.at_least else ''}{self.count}"
        return number if number == self.rule else f"{number} ({self.rule})"


# names ---------------------------------------------------------------------------------------------------------------


def of_names(resolutions: list[Resolution] | None = None) -> list[Drift]:
    """The landmarks that are gone or moved in the installed packages, without running anything.

    Roles without a function of their own in the version (null in the table) are no drift.
    """
    found = landmark_table.resolve() if resolutions is None else resolutions
    return [drift for drift in map(_drift_of_name, found) if drift]


def _drift_of_name(resolution: Resolution) -> Drift | None:
    landmark, target = resolution.landmark.id, resolution.target
    if target is None:
        return None
    if not resolution.found:
        reason = resolution.reason or "none of the functions that call it is in the installed packages"
        return Drift(landmark, GONE, target, "nothing", reason.removeprefix("gone: "))
    if resolution.code is None:
        return None  # a builtin is found in its callers, which are landmarks themselves
    from .recorder import FunctionTable

    functions = FunctionTable()
    function = functions.rows[functions.of(resolution.code)]
    if f"{function.module}:{function.qualname}" == target:
        return None
    return Drift(landmark, MOVED, target, f"{function.module}:{function.qualname}", f"now at {function.location}")


def summary(resolutions: list[Resolution] | None = None) -> tuple[str, bool]:
    """One sentence on the names, and whether all is well: how many landmarks resolve, and which are gone or moved."""
    found = landmark_table.resolve() if resolutions is None else resolutions
    named = [resolution for resolution in found if resolution.target is not None]
    drifted = of_names(found)
    version = landmark_table.table_version(landmark_table.installed_version())
    parts = [f"{len(named)} of the call path in {version}, {len(named) - len(drifted)} where the table says"]
    for kind in (GONE, MOVED):
        names = [drift.landmark for drift in drifted if drift.kind == kind]
        if names:
            parts.append(f"{len(names)} {kind} ({', '.join(names)})")
    return "; ".join(parts), not drifted


def run() -> int:
    """Print the report for the installed version; return 1 when there is drift, else 0."""
    warning = landmark_table.version_warning()
    if warning:
        print(warning)
    table = report()
    for row in table.itertuples(index=False):
        print(f"{row.kind:<14}{row.landmark:<22}expected {row.expected}, observed {row.observed}", end="")
        print(f" ({row.detail})" if row.detail else "")
    version = landmark_table.installed_version()
    counts = ", ".join(f"{(table['kind'] == kind).sum()} {kind}" for kind in KINDS)
    print(f"The landmark table and transformers {version}: {counts}.")
    return 0 if table.empty else 1


# counts and threads --------------------------------------------------------------------------------------------------


def report(checkpoint: str | Path | None = None) -> Table:
    """Run the scenarios and name every disagreement; no rows when the table holds for the installed version.

    `checkpoint`: a folder with a Llama in several safetensors shards; `checkpoints.tiny()` without it. Columns:
    landmark, kind (gone: its name does not resolve; moved: resolves to a function of another name or module; silent:
    resolves, and never fires where it should; miscounted: fires another number of times; wrong thread), expected,
    observed (by scenario for counts), detail. A version outside the tested range is held to the nearest one's table.
    Raises as `scenarios.run` does.
    """
    from . import checkpoints, scenarios

    return compare(scenarios.run(checkpoint or checkpoints.tiny()))


def compare(done: Scenarios) -> Table:
    """The drift of runs that were made already; columns as in `report`."""
    version = landmark_table.table_version(landmark_table.installed_version())
    resolutions = landmark_table.resolve()
    counts = {name: _counts(recording) for name, recording in done.recordings.items()}
    rows = of_names(resolutions)
    for resolution in resolutions:
        if resolution.found:
            landmark = resolution.landmark
            rows.extend(_drift_of_counts(landmark, expectations(landmark, version, done.variables), counts))
            rows.extend(_drift_of_thread(landmark, version, done.recordings))
    rows.extend(_drift_of_cache(done.recordings["greedy"]))
    order = {landmark.id: position for position, landmark in enumerate(landmark_table.table())}
    rows.sort(key=lambda drift: (order[drift.landmark], KINDS.index(drift.kind)))
    return Table.of(rows, list(Drift._fields))


def expectations(landmark: Landmark, version: str, variables: dict[str, int]) -> list[Expectation]:
    """What the table expects of a landmark in `version`, scenario by scenario; empty where it says nothing."""
    found = []
    for scenario, by_range in landmark.expect.items():
        rule = landmark_table.pick(by_range, version) if isinstance(by_range, dict) else by_range
        if rule is not None:
            at_least, count = evaluate(rule, variables)
            found.append(Expectation(scenario, rule, count, at_least))
    return found


def _counts(recording: Recording) -> dict[str, int]:
    table = recording.landmarks()
    return dict(zip(table["landmark"], table["calls"], strict=True))


def _drift_of_counts(
    landmark: Landmark, expected: list[Expectation], counts: dict[str, dict[str, int]]
) -> Iterator[Drift]:
    seen = [(expectation, counts[expectation.scenario].get(landmark.id, 0)) for expectation in expected]
    wrong = [(expectation, calls) for expectation, calls in seen if not expectation.holds(calls)]
    if not wrong:
        return
    required = [calls for expectation, calls in seen if expectation.count]
    kind = SILENT if required and not any(required) else MISCOUNTED
    yield Drift(
        landmark.id,
        kind,
        "; ".join(f"{expectation.scenario} {expectation}" for expectation, _ in wrong),
        "; ".join(f"{expectation.scenario} {calls}" for expectation, calls in wrong),
        f"fires: {landmark.fires_when}",
    )


def _drift_of_thread(landmark: Landmark, version: str, recordings: dict[str, Recording]) -> Iterator[Drift]:
    here = threading.current_thread().name
    by_scenario = {name: _threads(recording, landmark.id) for name, recording in recordings.items()}
    names = set().union(*by_scenario.values())
    if landmark.thread.startswith("worker") and loads_in_worker_threads(version):
        loads = {name: threads for name, threads in by_scenario.items() if name.startswith("load") and threads}
        if loads and all(threads == {here} for threads in loads.values()):
            asynchronous = all(recordings[name].environment["async_load"] for name in loads)
            detail = "" if asynchronous else "HF_DEACTIVATE_ASYNC_LOAD is set"
            yield Drift(landmark.id, WRONG_THREAD, "a worker thread", here, detail)
    elif names - {here}:
        pools = sorted({name.partition("-")[0] for name in names - {here}})  # "ThreadPoolExecutor-3_0"
        yield Drift(landmark.id, WRONG_THREAD, here, ", ".join(pools), "")


def _drift_of_cache(recording: Recording) -> Iterator[Drift]:
    """The function that gives the KV cache may be the same and give it under another name."""
    positions = recording.steps()["kv_tokens"].fillna(NOT_OBSERVED).tolist()
    if positions[0] > 0 and positions == [*range(positions[0], positions[0] + len(positions))]:
        return
    observed = ", ".join("not observed" if count == NOT_OBSERVED else f"{count}" for count in positions)
    detail = "positions of the KV cache, in the dictionary that it returns after each step"
    yield Drift("gen.update_kwargs", MISCOUNTED, "greedy one more in each step", f"greedy {observed}", detail)


def _threads(recording: Recording, landmark_id: str) -> set[str]:
    """Names of the threads in which a landmark ran."""
    functions = [status.function for status in recording.landmark_statuses if status.id == landmark_id]
    columns = recording.events
    return {
        recording.threads[thread]
        for function in functions
        for thread in set(columns["thread"][columns["function"] == function].tolist())
    }


# rules ---------------------------------------------------------------------------------------------------------------

_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def evaluate(rule: str, variables: dict[str, int]) -> tuple[bool, int]:
    """(whether it is a lower bound, count) of a rule such as "1", ">=P" or "(2*L+1)*T".

    Whole numbers, the names in `variables`, +, - and * are all that a rule may hold. Raises ValueError for
    anything else.
    """
    at_least = rule.startswith(">=")
    try:
        count = _value(ast.parse(rule.removeprefix(">=").strip(), mode="eval").body, variables)
    except (SyntaxError, KeyError, TypeError) as error:
        allowed = ", ".join(variables)
        raise ValueError(f"the rule {rule!r} is not made of whole numbers, {allowed}, +, - and * ({error})") from None
    return at_least, count


def _value(node: ast.expr, variables: dict[str, int]) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return variables[node.id]
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, variables), _value(node.right, variables))
    raise TypeError(f"{type(node).__name__} is not allowed")
