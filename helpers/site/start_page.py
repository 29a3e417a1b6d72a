"""The start page and the sidebar: docs/site/index.md, with what depends on the notebooks of this site put in."""

from __future__ import annotations

import re
from itertools import groupby

from helpers.site import SiteError, twins
from helpers.site.notebook_pages import NotebookPage
from helpers.site.players import PlayerPage

_PLACE = re.compile(r"<!-- ([A-Z_]+) -->")


def markdown(template: str, pages: list[NotebookPage], runs: list[PlayerPage]) -> str:
    """`template` with its places filled. Raises SiteError for a place that nothing fills."""
    latest = runs[-1]
    fills = {
        "FIRST": f"notebooks/{pages[0].name}.html",
        "FIRST_TITLE": pages[0].name.replace("_", " "),
        "PLAYER": f"player/{latest.name}.html",
        "VERSION": latest.version,
        "EVENTS": f"{len(latest.recording):,}",
        "SAMPLING": _sampling(pages),
        "COURSE": _course(pages),
        "SIDEBAR": _sidebar(pages, runs),
    }

    def filled(found: re.Match) -> str:
        if found[1] not in fills:
            raise SiteError(f"index.md has a place <!-- {found[1]} --> that nothing fills; known: {', '.join(fills)}")
        return fills[found[1]]

    return _PLACE.sub(filled, template)


def _sampling(pages: list[NotebookPage]) -> str:
    """Where the sampling explorer is; the last notebook where this site has none."""
    for page in pages:
        anchor = twins.anchor(page.notebook, "sampling_explorer")
        if anchor:
            return f"notebooks/{page.name}.html#{anchor}"
    return f"notebooks/{pages[-1].name}.html"


def _course(pages: list[NotebookPage]) -> str:
    """The notebooks as a list by part, each with its title and the minutes that it takes."""
    lines = []
    for part, group in groupby(pages, key=lambda page: page.part):
        lines += [f"### {_capital(part)}", ""]
        for page in group:
            minutes = f" · {page.minutes} minutes" if page.minutes else ""
            lines.append(f"- [{page.title}](notebooks/{page.name}.ipynb) <small>{page.name[:2]}{minutes}</small>")
        lines.append("")
    return "\n".join(lines)


def _sidebar(pages: list[NotebookPage], runs: list[PlayerPage]) -> str:
    """The tables of contents, by part of the course, and what stands beside the notebooks."""
    parts: dict[str, list[str]] = {}
    for page in pages:
        label = page.title if page.part == "more" else page.name.replace("_", " ")
        parts.setdefault(page.part, []).append(f"{label} <notebooks/{page.name}>")
    parts["step through it"] = [f"transformers {run.version} <player/{run.name}>" for run in reversed(runs)]
    parts["to look up"] = [
        "The steps in four versions <landmarks>", "Glossary <docs/glossary>", "The helpers package <api>",
        "Status <status>",
    ]  # fmt: skip
    return "\n\n".join(
        "\n".join(["```{toctree}", ":hidden:", f":caption: {_capital(part)}", "", *entries, "```"])
        for part, entries in parts.items()
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
