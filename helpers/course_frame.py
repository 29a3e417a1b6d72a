"""The frame that every notebook of the course has, and what a notebook lacks of it.

Title, map, steps that ask, checks, "In your version", exercises, recap, where to look, the way on; each landmark that
the article names met in its notebook, by name, and shown from a recording. CONTRIBUTING.md describes the frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import course
from .course import A_CHECK, ARTICLE_RECORDING, MAP, NAVIGATION, THIS_RUN, Lesson
from .landmarks import Landmark

CLOSING = ("In your version", "Try it", "Recap", "Where to look in the source")
"""The headings after the steps, in this order."""
LEVELS = ("easy", "medium", "hard")
FEWEST_STEPS, EXERCISES, RECAP_LINES, BULLETS = 3, range(2, 5), 5, 3
TITLE_VERBS = frozenset(
    {
        *("Build", "Choose", "Compare", "Compute", "Find", "Fit", "Follow", "Generate", "Load", "Open", "Place"),
        *("Predict", "Read", "Record", "Run", "See", "Trace", "Walk"),
    }
)
"""With one of these a title begins; add yours."""

_TITLE = re.compile(r"# (\w+) \S.*")
_FACTS_OF_A_NOTEBOOK = re.compile(r"^\*\*Time\*\* .+ · \*\*memory\*\* .+ · \*\*you need\*\* .+$", re.MULTILINE)
_EXERCISE = re.compile(rf"### (\d)\. .+ \(({'|'.join(LEVELS)})\)\n+\S")
_SOLUTION = re.compile(
    r"<details><summary>Solution</summary>\n\n```python\n(?P<code>.+?)\n```\n\n(?P<why>\S.*?)\n\n</details>\s*",
    re.DOTALL,
)
_CHECK = re.compile(r"^\s*(?:assert\b|check\()", re.MULTILINE)
_HIDING_TAGS = {"hide", "hide-cell", "hide-input", "hide_input", "remove-cell", "remove-input", "remove_cell"}


@dataclass
class Section:
    """A `##` heading and the cells under it; the cell that holds the heading is the first."""

    heading: str
    cells: list = field(default_factory=list)

    @property
    def code(self) -> list:
        return [cell for cell in self.cells if cell.cell_type == "code"]


@dataclass(frozen=True)
class Exercise:
    """The three cells of an exercise: question, the reader's cell, the folded solution."""

    question: object
    cell: object
    solution: object

    @property
    def level(self) -> str:
        return _EXERCISE.match(self.question.source)[2]

    @property
    def solved(self) -> str:
        """What the reader's cell holds when it is solved."""
        return _SOLUTION.fullmatch(self.solution.source)["code"]


def sections(cells: list) -> list[Section]:
    """The cells by `##` heading; the first section, without a heading, is what stands before."""
    found = [Section("")]
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            found.append(Section(cell.source.partition("\n")[0].removeprefix("## ").strip()))
        found[-1].cells.append(cell)
    return found


def find_problems(path: Path) -> list[str]:
    """What the notebook at `path` lacks of the frame, one sentence each; none for one that is not of the course."""
    import nbformat

    here = next((one for one in course.LESSONS if one.name == path.stem), None)
    if here is None:
        return []
    cells = nbformat.read(path, as_version=4).cells
    parts = sections(cells)
    steps = [part for part in parts[1:] if part.heading not in CLOSING]
    closing = {part.heading: part for part in parts if part.heading in CLOSING}
    return [
        *_opening_problems(parts[0].cells, here),
        *_order_problems(parts),
        *_step_problems(steps),
        *_closing_problems(closing, here),
        *_navigation_problems(cells, here),
        *_hiding_problems(cells),
        *_number_problems([*steps, *closing.values()], cells),
        *_landmark_problems(cells, closing.get("In your version"), here),
    ]


# opening and order ---------------------------------------------------------------------------------------------------


def _opening_problems(cells: list, here: Lesson) -> Iterator[str]:
    title = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    begins = _TITLE.match(title)
    if not begins or begins[1] not in TITLE_VERBS:
        yield f"its title does not begin with a verb that course_frame.TITLE_VERBS knows: {title[:40]!r}"
    bullets = title.partition("**What you will see**")[2].partition("**Time**")[0].count("\n- ")
    if bullets != BULLETS:
        yield f'"What you will see" has {bullets} bullets, not {BULLETS}'
    if not _FACTS_OF_A_NOTEBOOK.search(title):
        yield "its first cell has no line **Time** … · **memory** … · **you need** …"
    if len(cells) < 2 or cells[1].source != course.map_text(here):
        yield "its second cell is not the generated map; run `python -m helpers.notebooks execute`"
    if not any(cell.cell_type == "code" for cell in cells):
        yield "no code cell with imports stands before the first step"


def _order_problems(parts: list[Section]) -> Iterator[str]:
    headings = [part.heading for part in parts[1:]]
    if tuple(headings[-len(CLOSING) :]) != CLOSING:
        yield f"it does not end with {', '.join(CLOSING)}: its headings are {headings}"
    if len(headings) - len(CLOSING) < FEWEST_STEPS:
        yield f"it has fewer than {FEWEST_STEPS} steps"


def _step_problems(steps: list[Section]) -> Iterator[str]:
    for step in steps:
        if not step.heading.endswith("?"):
            yield f'the step "{step.heading}" asks nothing'
        if "\n" not in step.cells[0].source.strip():
            yield f'the step "{step.heading}" begins without a sentence'
        if not any(_CHECK.search(cell.source) for cell in step.code):
            yield f'the step "{step.heading}" checks nothing'
    if not any("<img alt=" in text for step in steps for cell in step.code for text in _html(cell)):
        yield "it has no figure"


def _html(cell) -> Iterator[str]:
    for output in cell.outputs:
        text = output.get("data", {}).get("text/html", "")
        yield text if isinstance(text, str) else "".join(text)


def _navigation_problems(cells: list, here: Lesson) -> Iterator[str]:
    if cells[-1].source != course.navigation_text(here):
        yield "its last cell is not the generated way on; run `python -m helpers.notebooks execute`"
    if sum(course.is_generated(cell.source) for cell in cells if cell.cell_type == "markdown") > 2:
        yield f"it has more cells that begin with {MAP} or {' or '.join(NAVIGATION)} than the generated two"


def _hiding_problems(cells: list) -> Iterator[str]:
    for number, cell in enumerate(cells):
        tags, jupyter = set(cell.metadata.get("tags", ())), cell.metadata.get("jupyter", {})
        if tags & _HIDING_TAGS or jupyter.get("source_hidden") or jupyter.get("outputs_hidden"):
            yield f"cell {number} is hidden"
        if cell.cell_type == "code" and re.search(r"^\s*(%run|%load |from \S+ import \*)", cell.source, re.MULTILINE):
            yield f"cell {number} takes names from what the reader does not see (%run, import *)"


# closing sections ----------------------------------------------------------------------------------------------------


def _closing_problems(closing: dict[str, Section], here: Lesson) -> Iterator[str]:
    for heading, call in (("In your version", "in_your_version"), ("Where to look in the source", "where_to_look")):
        section = closing.get(heading)
        if section and not any(f'{call}("{here.number}"' in cell.source for cell in section.code):
            yield f'"{heading}" has no cell with {call}("{here.number}", …)'
    if recap := closing.get("Recap"):
        lines = re.findall(r"^(?:- |\d\. )", recap.cells[0].source, re.MULTILINE)
        if len(lines) != RECAP_LINES:
            yield f"the recap has {len(lines)} lines, not {RECAP_LINES}"
    if trial := closing.get("Try it"):
        yield from _exercise_problems(trial)


def exercises(cells: list) -> list[Exercise]:
    """The exercises of a notebook's cells. Raises ValueError where one is not question, cell, folded solution."""
    trial = next((part for part in sections(cells) if part.heading == "Try it"), Section("Try it", [None]))
    rest = trial.cells[1:]
    found = [Exercise(*rest[first : first + 3]) for first in range(0, len(rest) - 2, 3)]
    if len(rest) % 3 or not all(map(_well_formed, found)):
        raise ValueError('"Try it" is not made of exercises: question, one code cell, folded solution')
    return found


def _well_formed(exercise: Exercise) -> bool:
    return (
        exercise.question.cell_type == exercise.solution.cell_type == "markdown"
        and exercise.cell.cell_type == "code"
        and bool(_EXERCISE.match(exercise.question.source))
        and bool(_SOLUTION.fullmatch(exercise.solution.source))
    )


def _exercise_problems(trial: Section) -> Iterator[str]:
    try:
        found = exercises(trial.cells)
    except ValueError as error:
        yield str(error)
        return
    if len(found) not in EXERCISES:
        yield f"it has {len(found)} exercises, not {EXERCISES.start} to {EXERCISES.stop - 1}"
    levels = [LEVELS.index(exercise.level) for exercise in found]
    if levels != sorted(levels) or len(set(levels)) < 2:
        yield "its exercises do not rise in difficulty"
    for number, exercise in enumerate(found, 1):
        if int(_EXERCISE.match(exercise.question.source)[1]) != number:
            yield f"exercise {number} has another number"
        last = exercise.cell.source.strip().splitlines()[-1]
        if "answer = None" not in exercise.cell.source or not re.match(r"check_\w+\(answer\b", last):
            yield f"the cell of exercise {number} does not begin with `answer = None` and end with `check_…(answer, …)`"
        if not exercise.solved.strip().endswith(last) or "answer = None" in exercise.solved:
            yield f"the solution of exercise {number} is not its whole cell, solved"


# numbers in prose ----------------------------------------------------------------------------------------------------

_NOT_PROSE = re.compile(
    r"```.*?```|<details>.*?</details>|`[^`]*`|\]\([^)]*\)|\[\d\d [^\]]*\]|\b[45]\.(?:\d+|x)(?:\.\d+)*", re.DOTALL
)
_NUMBER = re.compile(r"(?<![\w.\-])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")


def _number_problems(parts: list[Section], cells: list) -> Iterator[str]:
    """Numbers of two digits or more in prose that no cell prints or checks; an exercise may give one to its code."""
    code = [cell for cell in cells if cell.cell_type == "code"]
    shown = _plain(" ".join(_shown(cell) if _CHECK.search(cell.source) else _printed(cell) for cell in code))
    given = _plain(" ".join(_shown(cell) for cell in code))
    for part in parts:
        where = given if part.heading == "Try it" else shown
        for cell in part.cells:
            if cell.cell_type == "markdown" and not course.is_generated(cell.source):
                for number in _NUMBER.findall(_NOT_PROSE.sub(" ", cell.source)):
                    plain = _plain(number)
                    if len(plain) > 1 and not re.search(rf"(?<![\d.]){re.escape(plain)}(?!\d)", where):
                        yield f'"{part.heading}" names {number}, which no cell prints or checks'


def _plain(text: str) -> str:
    return text.replace(",", "").replace("_", "")


def _shown(cell) -> str:
    return f"{cell.source} {_printed(cell)}"


def _printed(cell) -> str:
    outputs = [output.get("text", "") + str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs]
    return " ".join(outputs)


# landmarks -----------------------------------------------------------------------------------------------------------

_GENERIC = {
    "__init__",
    "__call__",
    "forward",
    "from_pretrained",
    "update",
    "pipeline",
    "to",
    "collect",
    "generate",
    "__enter__",
    "state_dict",
    "decode",
}


def names_of(landmark: Landmark) -> set[str]:
    """What a text may call a landmark: the article's name, or its function in some version, the class with it where
    the name alone would be any function's."""
    found = {landmark.article_name}
    for target in filter(None, landmark.candidates.values()):
        module, _, qualname = target.partition(":")
        qualname = qualname.rpartition("<locals>.")[2]
        owner, _, name = qualname.rpartition(".")
        if name in _GENERIC:
            found.add(qualname if owner else f"{module.split('.')[-1]}.{name}")
            if name == "forward" and owner.startswith("Llama"):
                found.add(owner)  # a module is known by its class
        else:
            found.add(name)
    # The article's own name may be a line of code or an aside: its identifiers count.
    told = re.findall(r"[A-Za-z]\w*(?:\.\w+)+|\w+_\w+", landmark.article_name)
    found |= {name for name in told if len(name) > 5 and name not in _GENERIC}
    return found


def landmark_places(cells: list, number: str) -> dict[str, tuple[bool, str]]:
    """Of each landmark of this notebook that the article names: whether it is met by name, and where it was observed.

    By name: in the prose or code before "In your version". Observed: as the table of that section says, read from
    its committed output; "" where the section has no row for it.
    """
    parts = sections(cells)
    steps = [part for part in parts if part.heading not in CLOSING]
    text = "\n".join(cell.source for part in steps for cell in part.cells if not course.is_generated(cell.source))
    version = next((part for part in parts if part.heading == "In your version"), None)
    table = "\n".join(_shown(cell) for cell in version.code) if version else ""
    return {
        landmark.id: (_is_met(landmark, text), _seen_in(landmark, table))
        for landmark in course.landmarks_of(number)
        if landmark.in_article
    }


def _is_met(landmark: Landmark, text: str) -> bool:
    if landmark.kind == "fact":
        return f'fact="{landmark.id}"' in text
    return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names_of(landmark))


def _seen_in(landmark: Landmark, table: str) -> str:
    for line in table.splitlines():
        if re.match(rf"\s*{re.escape(landmark.id)}\s", line):
            return next(
                (place for place in (THIS_RUN, ARTICLE_RECORDING, A_CHECK) if line.rstrip().endswith(place)), ""
            )
    return ""


def _landmark_problems(cells: list, version: Section | None, here: Lesson) -> Iterator[str]:
    for name, (met, seen_in) in landmark_places(cells, here.number).items():
        if not met:
            yield f"the article's landmark {name} is not met by name in prose or code"
        if version and not seen_in:
            yield f'"In your version" does not show the landmark {name} from a recording or a check'
