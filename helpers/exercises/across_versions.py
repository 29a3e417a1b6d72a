"""Checks of the exercises of 10_across_versions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from helpers import landmarks as landmark_table
from helpers.exercises import Verdict, right, wrong
from helpers.exercises.answers import Refused, described, function, judges, run, text, texts
from helpers.recording.recording import Recording

MAIN_THREAD = "MainThread"


@judges
def check_takes_in_threads(answer: object, by_version: Mapping[str, Recording]) -> Verdict:
    """`answer`: the first version (as text) in whose load threads take the tensors from the files. The recordings
    tell."""
    asked = f"Answer with one of the recorded versions, as text ({', '.join(map(repr, by_version))})"
    answer = text(answer, asked)
    if answer not in by_version:
        return wrong(f"{asked}: you gave {described(answer)}.")
    in_threads = [version for version, recording in by_version.items() if _threads(recording) != {MAIN_THREAD}]
    if answer == in_threads[0]:
        return right("before, the main thread read one tensor after the other, while the rest of the process waited.")
    if answer in in_threads:
        return wrong(f"there threads take them, but not for the first time: {in_threads[0]!r} comes before.")
    return wrong("there all was done by one thread: look at the column `thread` of its parameters().")


@judges
def check_untested_version(answer: object, landmark: str, version: str) -> Verdict:
    """`answer`: "module:qualname" of the function that plays the landmark's role in a version that was not recorded."""
    answer = text(answer, "Answer with a text, module:qualname")
    candidates = next(one.candidates for one in landmark_table.table() if one.id == landmark)
    if answer == landmark_table.pick(candidates, version):
        return right("the ranges have no gaps, so each version from the oldest on falls into one of them.")
    ranges = [specifier for specifier, target in candidates.items() if target == answer]
    if ranges:
        return wrong(f"that is the function of {ranges[0]}, and {version} is not in this range.")
    if any(target and answer == target.partition(":")[2] for target in candidates.values()):
        return wrong("give the module as well, as the table does: module:qualname.")
    return wrong("no range of this landmark names this function: look at its `candidates`.")


@judges
def check_lost(answer: object, by_version: Mapping[str, Recording]) -> Verdict:
    """`answer`: a function of two recordings that gives {"gone": ids, "silent": ids}, as sets of landmark ids: those
    that ran in the first and in the second have no function, or have one that did not run."""
    lost = function(answer, "The answer is a function of two recordings: `answer = lost`, without brackets")
    versions = list(by_version)
    for old, new in [*pairwise(versions), (versions[0], versions[-1]), (versions[-1], versions[0])]:
        before, after = by_version[old], by_version[new]
        given = run(lost, before, after, of=f"for {old} and {new}")
        if problem := _difference(given, _lost(before, after)):
            return wrong(f"for {old} and {new}: {problem}")
    return right("gone is what you notice; silent is what a table of names alone would never tell you.")


def _threads(recording: Recording) -> set[str]:
    return set(recording.parameters()["thread"].dropna())


def _calls(recording: Recording) -> dict[str, int]:
    table = recording.landmarks()
    return dict(zip(table["landmark"], table["calls"], strict=True))


def _lost(before: Recording, after: Recording) -> dict[str, set[str]]:
    then, now = _calls(before), _calls(after)
    found = dict(zip(after.landmarks()["landmark"], after.landmarks()["function"], strict=True))
    missing = {name for name, calls in then.items() if calls and not now.get(name)}
    gone = {name for name in missing if not found.get(name)}
    return {"gone": gone, "silent": missing - gone}


def _difference(given: object, expected: dict[str, set[str]]) -> str:
    """What is wrong with the given dictionary; "" where nothing is."""
    if not isinstance(given, dict) or set(given) != set(expected):
        return 'a dictionary with the keys "gone" and "silent" is asked for.'
    try:
        sets = {kind: set(texts(ids, "each value is a set of landmark ids")) for kind, ids in given.items()}
    except Refused as refusal:
        return str(refusal)
    if mixed := sorted(sets["gone"] & expected["silent"]):
        return f"{mixed[0]} is not gone: it has a function there that did not run."
    if mixed := sorted(sets["silent"] & expected["gone"]):
        return f"{mixed[0]} is not silent: it has no function there."
    for kind, ids in expected.items():
        if extra := sorted(sets[kind] - ids):
            return f"{extra[0]} ran in both, or did not run before either."
        if missing := ids - sets[kind]:
            return f"{len(missing)} {kind} of {len(ids)} are missing."
    return ""
