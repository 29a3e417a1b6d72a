"""The eleven notebooks of the course: their order, the cells that are generated, and the two tables of each frame.

`execute` of helpers.notebooks writes the generated cells (the map, and the way to the notebooks before and after)
before it runs a notebook. `in_your_version()` and `where_to_look()` are called in a notebook; they read recordings.
`course_frame` holds a notebook to the frame.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from . import checks
from . import landmarks as landmark_table
from .events import NOT_OBSERVED
from .landmarks import Landmark
from .permalinks import permalink
from .recording.recording import Recording
from .recording.rows import Function
from .reference_recording import ARTICLE_VERSION
from .tables import Table


class CourseError(ValueError):
    """A notebook that the course does not have, or a table that was asked for without a recording."""


class Lesson(NamedTuple):
    """One notebook: `name` is its file name without .ipynb."""

    part: str
    name: str

    @property
    def number(self) -> str:
        return self.name[:2]

    @property
    def label(self) -> str:
        """ "04 loading weights"."""
        return self.name.replace("_", " ")

    @property
    def link(self) -> str:
        return f"[{self.label}]({self.name}.ipynb)"


LESSONS = (
    Lesson("the whole", "00_the_whole_call"),
    Lesson("load the model", "01_config_and_class"),
    Lesson("load the model", "02_checkpoint_files"),
    Lesson("load the model", "03_empty_model"),
    Lesson("load the model", "04_loading_weights"),
    Lesson("run it", "05_pipeline"),
    Lesson("run it", "06_generate"),
    Lesson("run it", "07_forward_pass"),
    Lesson("run it", "08_sampling"),
    Lesson("other machines, other versions", "09_devices_and_memory"),
    Lesson("other machines, other versions", "10_across_versions"),
)
"""In reading order."""


def lesson(number: str) -> Lesson:
    """The notebook with this number ("04"). Raises CourseError where there is none."""
    for one in LESSONS:
        if number in (one.number, one.name):
            return one
    raise CourseError(f"The course has no notebook {number!r}; it has {', '.join(one.number for one in LESSONS)}.")


def landmarks_of(number: str) -> list[Landmark]:
    """The landmarks that are met in this notebook, in the order of the call path; none in 00 and 10, which meet all."""
    name = lesson(number).name
    return [landmark for landmark in landmark_table.table() if landmark.notebook == name]


# generated cells -----------------------------------------------------------------------------------------------------

MAP, NAVIGATION = "**Map**", ("**Previous**", "**Next**")
"""What generated cells begin with."""


def map_text(here: Lesson) -> str:
    """The map of the course, with the notebook that one is in."""
    parts = {part: list(group) for part, group in groupby(LESSONS, key=lambda one: one.part)}
    columns = ["<br>".join(f"**{one.label}**" if one == here else one.link for one in part) for part in parts.values()]
    lines = [
        f"{MAP} · you are here: **{here.label}**",
        "",
        f"| {' | '.join(parts)} |",
        f"|{'---|' * len(parts)}",
        f"| {' | '.join(columns)} |",
    ]
    return "\n".join(lines)


def navigation_text(here: Lesson) -> str:
    """The way to the notebooks before and after."""
    place = LESSONS.index(here)
    previous = [f"{NAVIGATION[0]} {LESSONS[place - 1].link}"] if place else []
    following = [f"{NAVIGATION[1]} {LESSONS[place + 1].link}"] if place + 1 < len(LESSONS) else []
    return " · ".join([*previous, *following, "**Words** [glossary](../docs/glossary.md)"])


def is_generated(source: str) -> bool:
    """Whether a markdown cell with this text is a generated one."""
    return source.startswith((MAP, *NAVIGATION))


def write_generated_cells(notebook, here: Lesson) -> None:
    """Put the map after the first cell and the navigation at the end, in place of those that are there."""
    from nbformat.v4 import new_markdown_cell

    kept = [cell for cell in notebook.cells if cell.cell_type != "markdown" or not is_generated(cell.source)]
    notebook.cells = [
        *kept[:1],
        new_markdown_cell(map_text(here), id=f"map-{here.number}"),
        *kept[1:],
        new_markdown_cell(navigation_text(here), id=f"navigation-{here.number}"),
    ]


# tables of a notebook ------------------------------------------------------------------------------------------------

THIS_RUN, ARTICLE_RECORDING, A_CHECK = "this run", f"the recording of {ARTICLE_VERSION}", "a check above"
NOWHERE = "not observed"
INLINE, THE_SAME = "(no function of its own)", "the same"


def in_your_version(number: str, *recordings: Recording) -> Table:
    """The landmarks of a notebook in the article's version and in the installed one.

    Columns: landmark, article (what the article calls it, "" where it does not name it), function_4_47_1 and here (the
    function that plays the role, THE_SAME where it has kept its name; without a function of its own the role is part of
    another's body), calls (in the recordings given; in the one of 4.47.1 for what is gone), seen_in (where it was
    observed). A fact is no call: a check that names it (`check(..., fact=...)`) shows it. Notebooks without landmarks
    of their own (00, 10) list those of the whole path that are not the same. Raises CourseError without a recording, or
    for a number that the course does not have.
    """
    if not recordings:
        raise CourseError(f'in_your_version("{number}") needs a recording: give it those that this notebook made.')
    own = landmarks_of(number)
    calls = sum((Counter(calls_by_landmark(recording)) for recording in recordings), Counter())
    rows = [_version_row(landmark, recordings, calls) for landmark in own or landmark_table.table()]
    if not own:
        rows = [row for row in rows if row["here"] not in (THE_SAME, "")]
    return Table.of(rows)


def _version_row(landmark: Landmark, recordings: tuple[Recording, ...], calls_here: Counter) -> dict:
    then = _qualname(landmark_table.pick(landmark.candidates, ARTICLE_VERSION)) if landmark.candidates else ""
    function = next(filter(None, (_function(recording, landmark.id) for recording in recordings)), None)
    calls, seen_in = _observed(landmark, function, calls_here[landmark.id])
    here = _short(function.qualname) if function else ""
    is_fact = landmark.kind == "fact"
    return {
        "landmark": landmark.id,
        "article": landmark.article_name if landmark.in_article else "",
        "function_4_47_1": "" if is_fact else then or INLINE,
        # PretrainedConfig and PreTrainedConfig are one class.
        "here": "" if is_fact else THE_SAME if then.casefold() == here.casefold() else here or INLINE,
        "calls": calls,
        "seen_in": seen_in,
    }


def _qualname(target: str | None) -> str:
    return _short((target or "").partition(":")[2])


def _short(qualname: str) -> str:
    """The name of an inner function without that of the function around it."""
    return qualname.rpartition("<locals>.")[2]


def _function(recording: Recording, landmark: str) -> Function | None:
    for status in recording.landmark_statuses:
        if status.id == landmark and status.function != NOT_OBSERVED:
            return recording.functions[status.function]
    return None


def _observed(landmark: Landmark, function: Function | None, calls: int) -> tuple[int, str]:
    """(calls, where they were seen)."""
    if landmark.kind == "fact":
        return (0, A_CHECK) if landmark.id in checks.facts_checked else (0, NOWHERE)
    if calls:
        return calls, THIS_RUN
    if function is None:
        calls = _calls_then().get(landmark.id, 0)
        if calls:
            return calls, ARTICLE_RECORDING
    return 0, NOWHERE


@functools.cache
def _calls_then() -> dict[str, int]:
    from .reference_recording import committed

    return calls_by_landmark(committed())


def calls_by_landmark(recording: Recording) -> dict[str, int]:
    """How often each landmark that is a call was observed, by its id."""
    table = recording.landmarks()
    return dict(zip(table["landmark"], table["calls"], strict=True))


def where_to_look(number: str, *recordings: Recording) -> Table:
    """The functions of a notebook's landmarks that ran, each once, in the order of the call path.

    Columns: function, location (file:line as installed) and permalink (the same lines at the release's tag; "" where
    there are none, as for builtins). Notebooks without landmarks of their own list the first of each stage. Raises
    CourseError as `in_your_version`.
    """
    if not recordings:
        raise CourseError(f'where_to_look("{number}") needs a recording: give it those that this notebook made.')
    wanted = landmarks_of(number) or _first_of_each_stage()
    rows = {}
    for recording in recordings:
        calls = calls_by_landmark(recording)
        for landmark in wanted:
            function = _function(recording, landmark.id)
            if function and function.line and calls.get(landmark.id):
                rows.setdefault(landmark.id, _place(recording, function))
    ordered = {row["function"]: row for landmark in wanted if (row := rows.get(landmark.id))}
    return Table.of(list(ordered.values()), ["function", "location", "permalink"], volatile=("location", "permalink"))


def _first_of_each_stage() -> list[Landmark]:
    calls = (landmark for landmark in landmark_table.table() if landmark.kind != "fact")
    return [next(group) for _, group in groupby(calls, key=lambda landmark: landmark.stage)]


def _place(recording: Recording, function: Function) -> dict[str, str]:
    text = recording.sources.get(f"{function.module}:{function.qualname}", "")
    last_line = function.line + max(text.rstrip("\n").count("\n"), 0)
    link, _ = permalink(function.file, function.line, last_line, recording.environment)
    return {"function": function.qualname, "location": function.location, "permalink": link or ""}


# command line --------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """`check [NOTEBOOK …]`: print what keeps each from the frame; return 1 when there is something."""
    from . import course_frame, notebooks

    if not arguments or arguments[0] != "check":
        print("usage: python -m helpers.course check [NOTEBOOK ...]", file=sys.stderr)
        return 2
    chosen = [Path(name) for name in arguments[1:]] or notebooks.paths()
    problems = [f"{path.name}: {problem}" for path in chosen for problem in course_frame.find_problems(path)]
    print("\n".join(problems) or f"{len(chosen)} notebooks: the frame is as it should be")
    return min(len(problems), 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
