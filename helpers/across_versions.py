"""The same call in several versions of transformers: landmarks then and now, and the text that each version sampled.

Reads recordings, one per version, oldest first: the committed ones of `reference_recording`, or others like them. Which
function plays a landmark, and how often it ran, is read from the recording and not from the landmark table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import pandas as pd
from packaging.version import Version

from . import landmarks as landmark_table
from . import reference_recording
from .course import calls_by_landmark
from .events import NOT_OBSERVED
from .landmarks import Landmark
from .recording.recording import Recording
from .recording.rows import Function
from .tables import Table

SAME, OTHER, NONE = FATES = (
    "the article's function",
    "another function",
    "no function of its own",
)
"""What a version has in the place of a landmark's function in the first version. NONE: its work is done within others,
or is no longer done."""
AS_LEFT = "same"
DID_NOT_RUN = "(did not run)"
_PACKAGES = ("accelerate", "safetensors", "tokenizers", "huggingface_hub", "torch")


def recordings() -> dict[str, Recording]:
    """The committed reference recordings by version of transformers, oldest first. Raises RecordingError when a file is
    missing or damaged."""
    return {version: reference_recording.committed(version) for version in landmark_table.tested_versions()}


def nearest(by_version: Mapping[str, Recording], version: str) -> str:
    """The newest of these versions that is not newer than `version`; the oldest where all are newer."""
    ordered = sorted(by_version, key=Version)
    return max((one for one in ordered if Version(one) <= Version(version)), key=Version, default=ordered[0])


def environments(by_version: Mapping[str, Recording]) -> Table:
    """How each was made: columns transformers, the packages that it stands on, python, and new tokens."""
    rows = [
        {
            "transformers": version,
            **{package: recording.environment.get(package) for package in _PACKAGES},
            "python": recording.environment.get("python"),
            "new_tokens": len(recording.steps()),
        }
        for version, recording in by_version.items()
    ]
    return Table.of(rows)


# landmarks -----------------------------------------------------------------------------------------------------------


def article_landmarks() -> list[Landmark]:
    """The landmarks that the article names and that are calls, in the order of the call path; facts are not calls."""
    return [one for one in landmark_table.table() if one.in_article and one.kind != "fact"]


def then_and_now(by_version: Mapping[str, Recording]) -> Table:
    """The article's landmarks, one row each, with the function that plays the role in each version.

    Columns: stage, landmark, article (what the article calls it), then one per version: the function, AS_LEFT where it
    is that of the version before, NONE where there is none, with DID_NOT_RUN where it was not called in this run.
    """
    functions = {version: _functions(recording) for version, recording in by_version.items()}
    calls = {version: calls_by_landmark(recording) for version, recording in by_version.items()}
    rows = []
    for landmark in article_landmarks():
        played = [
            (functions[version].get(landmark.id), bool(calls[version].get(landmark.id))) for version in by_version
        ]
        cells = [_first_cell(*played[0]), *(_cell(left, *here) for (left, _), here in pairwise(played))]
        names = {"stage": landmark.stage, "landmark": landmark.id, "article": landmark.article_name}
        rows.append(names | dict(zip(by_version, cells, strict=True)))
    return Table.of(rows)


def _first_cell(function: Function | None, ran: bool) -> str:
    return NONE if function is None else _told(_short(function), ran)


def _cell(left: Function | None, function: Function | None, ran: bool) -> str:
    if function is None:
        return AS_LEFT if left is None else NONE
    return _told(AS_LEFT if _identity(function) == _identity(left) else _name(function, left), ran)


def _told(text: str, ran: bool) -> str:
    return text if ran else f"{text} {DID_NOT_RUN}"


def _name(function: Function, left: Function | None) -> str:
    """Its name, with its module where the name alone is that of the one before."""
    name = _short(function)
    return name if left is None or name != _short(left) else f"{function.module}:{name}"


def _short(function: Function) -> str:
    return function.qualname.rpartition("<locals>.")[2]


def _identity(function: Function | None) -> tuple[str, str] | None:
    return function and (function.module, function.qualname)


def _functions(recording: Recording) -> dict[str, Function]:
    return {
        status.id: recording.functions[status.function]
        for status in recording.landmark_statuses
        if status.function != NOT_OBSERVED
    }


def fates(by_version: Mapping[str, Recording]) -> Table:
    """What became of the function that each of the article's landmarks has in the first version.

    Columns: stage, landmark, then one per version with one of FATES. A landmark without a function in the first version
    is OTHER where it has one since: it was code within another function then.
    """
    first = _functions(next(iter(by_version.values())))
    functions = {version: _functions(recording) for version, recording in by_version.items()}
    return Table.of(
        {
            "stage": landmark.stage,
            "landmark": landmark.id,
            **{version: _fate(found.get(landmark.id), first.get(landmark.id)) for version, found in functions.items()},
        }
        for landmark in article_landmarks()
    )


def _fate(function: Function | None, first: Function | None) -> str:
    if function is None:
        return NONE
    return SAME if _identity(function) == _identity(first) else OTHER


def call_counts(by_version: Mapping[str, Recording]) -> Table:
    """How often each of the article's landmarks was called, where the same function plays the role in all versions.

    Columns: stage, landmark, function, then one per version with the calls in the steps kept in full.
    """
    functions = {version: _functions(recording) for version, recording in by_version.items()}
    calls = {version: calls_by_landmark(recording) for version, recording in by_version.items()}
    rows = []
    for landmark in article_landmarks():
        found = [functions[version].get(landmark.id) for version in by_version]
        if found[0] is not None and len(set(map(_identity, found))) == 1:
            counts = {version: calls[version][landmark.id] for version in by_version}
            rows.append({"stage": landmark.stage, "landmark": landmark.id, "function": _short(found[0]), **counts})
    return Table.of(rows)


# text ----------------------------------------------------------------------------------------------------------------


def sampled_tokens(recording: Recording) -> Table:
    """The new tokens of a recording's first generation: columns step, token (id), probability (with which it was drawn;
    <NA> where it was not among the likeliest that are recorded), p_top (of the likeliest in that step), chosen_by.

    Zoom: sampling. Raises RecordingError when that was not recorded.
    """
    table = recording.sampling()
    last = pd.DataFrame(table)[table["token"].notna()]
    rows = [
        {
            "step": row["step"],
            "token": int(row["token"]),
            "probability": dict(row["after"]).get(row["token"], pd.NA),
            "p_top": row["p_top"],
            "chosen_by": row["chosen_by"],
        }
        for row in last.to_dict("records")
    ]
    return Table.of(rows, ["step", "token", "probability", "p_top", "chosen_by"], volatile=("probability", "p_top"))


# a renamed function --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_if_renamed(landmark: str) -> Iterator[str]:
    """Inside, the landmark table calls this landmark's function by a name that the library does not know, as it does
    after a release that renamed it. Gives that name. The library itself is left alone.

    Raises ValueError for a landmark that has no Python function in the installed version.
    """
    installed = landmark_table.table_version(landmark_table.installed_version())
    original = landmark_table.table
    rows = {one.id: one for one in original() if one.kind == "call"}
    target = landmark_table.pick(rows[landmark].candidates, installed) if landmark in rows else None
    if target is None:
        raise ValueError(f"{landmark!r} has no Python function of its own in transformers {installed}.")
    old_name = f"{target}_as_it_was_called"
    renamed = replace(rows[landmark], candidates={">=0": old_name})
    landmark_table.table = lambda: tuple(renamed if one.id == landmark else one for one in original())
    try:
        yield old_name
    finally:
        landmark_table.table = original
