"""The landmark table as a page: a row per step of the call path, with its function in each tested version."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby

from helpers import landmarks
from helpers.landmarks import Landmark
from helpers.site.players import PlayerPage

INTRODUCTION = """# The steps of the call, in four versions

Every step between `from_pretrained` and the text, with the function that plays the part. The article "HuggingFace
Transformers" named {article} of these {all} steps, in transformers 4.47.1. A name that spans several columns did not
change between these versions; *inside another* is a step that has no function of its own there, and is part of the body
of another. The project's tests run each step in all four versions, and count its calls.

Each step links to the notebook that meets it, and (▸) to its first call in the recorded run of each version, in the
[step-through player](player/{player}.md). What has no ▸ was not called in that run.
"""
NO_FUNCTION = "inside another"
COLUMNS = '<col class="step"><col class="article"><col span="4"><col class="notebook">'


def markdown(notebooks: set[str], players: list[PlayerPage]) -> str:
    """The page. `notebooks`: names of those on the site; `players`: the runs to link to."""
    table = landmarks.table()
    introduction = INTRODUCTION.format(
        article=sum(landmark.in_article for landmark in table), all=len(table), player=players[-1].name
    )
    runs = {page.version: page for page in players}
    stages = "".join(_stage(stage, list(rows), notebooks, runs) for stage, rows in _by_stage(table))
    return f"---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n{introduction}\n{stages}"


def _by_stage(table: tuple[Landmark, ...]) -> Iterator[tuple[int, Iterator[Landmark]]]:
    return groupby(table, key=lambda landmark: landmark.stage)


def _stage(stage: int, rows: list[Landmark], notebooks: set[str], runs: dict[str, PlayerPage]) -> str:
    name = landmarks.stages()[stage]
    versions = landmarks.tested_versions()
    heads = ["step", "the article's name", *versions, "notebook"]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "\n".join(_row(landmark, versions, notebooks, runs) for landmark in rows)
    return (
        f"\n## {stage} {name}\n\n"
        f'<div class="wide scrolls"><table class="landmarks">\n<caption>Stage {stage}: {escape(name)}</caption>'
        f"{COLUMNS}\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n"
    )


def _row(landmark: Landmark, versions: list[str], notebooks: set[str], runs: dict[str, PlayerPage]) -> str:
    article = f"<code>{_breakable(landmark.article_name)}</code>" if landmark.in_article else "not named"
    cells = [
        f'<th scope="row"><code>{escape(landmark.id)}</code><br> {escape(landmark.role)}</th>',
        f"<td>{article}</td>",
        *_functions(landmark, versions, runs),
        f"<td>{_notebook(landmark, notebooks)}</td>",
    ]
    return f'<tr id="{escape(landmark.id)}">{" ".join(cells)}</tr>'


def _functions(landmark: Landmark, versions: list[str], runs: dict[str, PlayerPage]) -> Iterator[str]:
    """A cell for each run of versions in which the function has the same name and place, with the way to the player."""
    if landmark.kind == "fact":
        yield f'<td colspan="{len(versions)}">a fact, shown by a check in the notebook</td>'
        return
    by_version = ((landmarks.pick(landmark.candidates, version), version) for version in versions)
    for target, group in groupby(by_version, key=lambda pair: pair[0]):
        same = [version for _, version in group]
        width = f' colspan="{len(same)}"' if len(same) > 1 else ""
        yield f"<td{width}>{_function(target)}{_steps(landmark, same, runs)}</td>"


def _function(target: str | None) -> str:
    if target is None:
        return f"<em>{NO_FUNCTION}</em>"
    module, _, qualname = target.partition(":")
    return f'<code>{_breakable(qualname)}</code><br> <span class="module">{_breakable(module)}</span>'


def _steps(landmark: Landmark, versions: list[str], runs: dict[str, PlayerPage]) -> str:
    """Links to the first call in the recorded runs of these versions."""
    links = [
        f'<a href="player/{runs[version].name}.html#step={runs[version].first_events[landmark.id]}" '
        f'aria-label="{escape(landmark.id)} in the player, transformers {version}">{version}</a>'
        for version in versions
        if version in runs and landmark.id in runs[version].first_events
    ]
    return f'<br> <span class="in-player">▸ {" ".join(links)}</span>' if links else ""


def _breakable(name: str) -> str:
    """A name that may be broken at its dots and underscores, so that columns stay narrow."""
    return escape(name).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _notebook(landmark: Landmark, notebooks: set[str]) -> str:
    label = landmark.notebook.replace("_", " ")
    if landmark.notebook not in notebooks:
        return escape(label)
    return f'<a href="notebooks/{escape(landmark.notebook)}.html">{escape(label)}</a>'
