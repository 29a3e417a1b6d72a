"""The status page: with what, on what and how long each notebook ran, and what it weighs."""

from __future__ import annotations

from helpers.site.executions import Execution
from helpers.site.notebook_pages import BINDER_MEMORY, NotebookPage
from helpers.tables import format_bytes


def markdown(pages: list[NotebookPage]) -> str:
    """The page: one row per notebook, then the versions."""
    rows = [_row(page) for page in pages]
    total = sum(page.execution.seconds for page in pages)
    return "\n".join(
        [
            "# Status",
            "",
            "Every notebook of this site ran from its first to its last cell, and every check in it held. A notebook",
            "in which one fails stops the build. When the site was built stands at the foot of each page.",
            "",
            "| notebook | minutes | peak memory | on | when |",
            "|---|---:|---:|---|---|",
            *rows,
            "",
            f"Together {total / 60:.1f} minutes. Peak memory is the most that the notebook's process and those that it",
            "started had in RAM together, with torch itself; a page that they share counts once. " + _hosted(pages),
            "",
            "## Versions",
            "",
            *_versions([page.execution for page in pages]),
        ]
    )


def _row(page: NotebookPage) -> str:
    execution = page.execution
    peak = "not observed on this system" if execution.peak_bytes is None else format_bytes(execution.peak_bytes)
    label = page.name.replace("_", " ")
    return (
        f"| [{label}](notebooks/{page.name}.ipynb) | {execution.seconds / 60:.1f} | {peak} | {execution.device} "
        f"| {execution.executed_at} |"
    )


def _hosted(pages: list[NotebookPage]) -> str:
    over = [page.name[:2] for page in pages if (page.execution.peak_bytes or 0) > BINDER_MEMORY]
    if any(page.execution.peak_bytes is None for page in pages):
        return "Where it was not observed, this system does not tell."
    if not over:
        return f"All of them stay below the {format_bytes(BINDER_MEMORY)} that Binder gives."
    return f"Binder gives {format_bytes(BINDER_MEMORY)}, which is not enough for {', '.join(over)}."


def _versions(executions: list[Execution]) -> list[str]:
    """A table of what ran them: one row, or several where notebooks kept from before ran with others."""
    names = list(executions[0].versions)
    found: dict[tuple, list[str]] = {}
    for execution in executions:
        own = ", ".join(f"{name}={value}" for name, value in execution.settings.items()) or "the demo checkpoint"
        values = (*execution.versions.values(), execution.python, execution.platform, own)
        found.setdefault(values, []).append(execution.name[:2])
    return [
        f"| {' | '.join([*names, 'Python', 'system', 'model', 'notebooks'])} |",
        f"|{'---|' * (len(names) + 4)}",
        *(f"| {' | '.join([*values, ', '.join(numbers)])} |" for values, numbers in found.items()),
    ]
