"""`make site`: the notebooks executed where they changed, and build/site/ made of them, to be opened from disk.

    python -m helpers.site.build [--output FOLDER] [--check-links]

The sources of the site are written into build/site-source/ (docs/site as it stands, the executed notebooks, the pages
that are computed), Sphinx makes pages of them with every warning an error, and `inspection` looks at what came out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from helpers import notebooks
from helpers.notebooks import NotebookError
from helpers.project import ROOT, repository_url
from helpers.site import (
    SiteError,
    api_page,
    executions,
    export,
    external_links,
    inspection,
    landmark_page,
    notebook_pages,
    players,
    start_page,
    status_page,
)
from helpers.site.columns_style import columns_style
from helpers.site.notebook_pages import NotebookPage
from helpers.site.players import PlayerPage

DOCS = ROOT / "docs"
BUILD = ROOT / "build"
PICTURES = ("step_through.png",)
BUILT = "BUILT-WHEN"
"""Stands in the pages for the date until Sphinx is done, so that the search index does not hold it."""


def build(
    output: Path,
    chosen: Sequence[Path] | None = None,
    kept: Path = executions.FOLDER,
    source: Path | None = None,
    say: Callable[[str], object] | None = None,
) -> Path:
    """Build the site of the `chosen` notebooks (all) in the folder `output`; returns its start page.

    `kept`: where executions are kept; `source`: where Sphinx's sources are written, beside `output` without. What was
    in both folders is gone. Raises NotebookError where a notebook fails, and SiteError where a folder holds something
    else than what an earlier build left, and where a page must not be published: a warning of Sphinx, a dead link, a
    page too heavy, a secret. Then `output` is not there.
    """
    if not (DOCS / "site").is_dir():
        raise SiteError(f"docs/site is not in {DOCS.parent}: run this from a checkout of the repository.")
    source = source or output.with_name(f"{output.name}-source")
    _check_free(output, "searchindex.js")
    _check_free(source, "conf.py")
    paths = list(chosen or notebooks.paths())
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.with_name(f"{output.name}.lock")):
        pages = [notebook_pages.make(*executions.executed(path, kept, say)) for path in paths]
        write_sources(source, paths, pages, players.pages(kept, say), repository_url())
        shutil.rmtree(output, ignore_errors=True)
        try:
            _sphinx(source, output)
            _finish(output)
            inspection.inspect(output)
        except BaseException:
            shutil.rmtree(output, ignore_errors=True)
            raise
    return output / "index.html"


def _check_free(folder: Path, sign: str) -> None:
    """Raises SiteError where this folder, which is to be emptied, is none of an earlier build's."""
    if folder.exists() and not folder.is_dir():
        raise SiteError(f"{folder} is a file: give a folder that is not there yet.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / sign).is_file():
        raise SiteError(
            f"{folder} holds files that no build of the site has left: give a folder that is not there yet."
        )


def write_sources(
    source: Path, paths: list[Path], pages: list[NotebookPage], runs: list[PlayerPage], repository: str | None
) -> None:
    """Everything that Sphinx reads, into the folder `source`, which is emptied."""
    import nbformat

    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(DOCS / "site", source)
    present = {page.name for page in pages}
    _write(source / "docs" / "glossary.md", (DOCS / "glossary.md").read_text(encoding="utf-8"))
    shutil.copy(export.TEMPLATES / export.TEMPLATE / "scrolling.js", source / "_static" / "site.js")
    style = (source / "_static" / "site.css").read_text(encoding="utf-8")
    _write(source / "_static" / "site.css", f"{style}\n{columns_style('.bd-article')}\n")
    for picture in PICTURES:
        if not (DOCS / picture).is_file():
            raise SiteError(f"The start page shows docs/{picture}, and there is no such file.")
        shutil.copy(DOCS / picture, source / "_static" / picture)
    for path, page in zip(paths, pages, strict=True):
        notebook = notebook_pages.for_site(page, present, repository)
        _write(source / "notebooks" / f"{page.name}.ipynb", nbformat.writes(notebook))
        downloads = source / "extra" / "downloads"
        _write(downloads / "notebooks" / path.name, path.read_text(encoding="utf-8"))
        for name, data in page.recordings.items():
            _write(downloads / "recordings" / name, data)
        if repository:
            committed = nbformat.read(path, as_version=4)
            _write(
                source / "extra" / "colab" / path.name,
                nbformat.writes(notebook_pages.for_colab(committed, repository)),
            )
    for run in runs:
        _write(source / "player" / f"{run.name}.md", run.markdown())
        run.recording.save(source / "extra" / "downloads" / "recordings" / f"{run.name}.json.gz")
    _write(source / "landmarks.md", landmark_page.markdown(present, runs))
    _write(source / "status.md", status_page.markdown(pages))
    _write(source / "api.md", api_page.markdown())
    template = (source / "index.md").read_text(encoding="utf-8")
    _write(source / "index.md", start_page.markdown(template, pages, runs))
    facts = {"recorded_with": recorded_with(pages, runs), "repository": repository, "built": BUILT}
    _write(source / "site.json", json.dumps(facts))


def recorded_with(pages: list[NotebookPage], runs: list[PlayerPage]) -> dict[str, str]:
    """What each page that shows a recording was recorded with, by the page's name; the others show none."""
    return {
        **{f"notebooks/{page.name}": page.execution.recorded_with for page in pages},
        **{f"player/{run.name}": run.recorded_with for run in runs},
    }


def _write(file: Path, content: str | bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _sphinx(source: Path, output: Path) -> None:
    """Run Sphinx with warnings as errors. Raises SiteError with what it wrote."""
    doctrees = source.with_name(f"{source.name}-doctrees")
    shutil.rmtree(doctrees, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-E"]
    command += ["-d", str(doctrees), str(source), str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    shutil.rmtree(doctrees, ignore_errors=True)
    if result.returncode:
        told = (result.stderr + result.stdout).replace(f"{source}{os.sep}", "").strip()
        raise SiteError(f"Sphinx built no site (a warning is an error here):\n{told[-6000:]}")


def built_at() -> str:
    """The date for the pages, UTC: now, or that of SOURCE_DATE_EPOCH, as reproducible builds set it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    when = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return f"{when.day} {when:%B %Y, %H:%M} UTC"


def _finish(output: Path) -> None:
    """Put the date in, and take away what no page uses."""
    date = built_at()
    for page in output.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(BUILT, date), encoding="utf-8", newline="\n")
    unused = [
        *output.rglob("*.map"),
        *output.rglob("*webpack-macros.html"),
        output / ".buildinfo",
        output / "objects.inv",
    ]
    for file in unused:
        file.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m helpers.site.build", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=BUILD / "site", help="the folder of the site (build/site)")
    parser.add_argument("--check-links", action="store_true", help="then ask each external address: needs a network")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        start = build(options.output.resolve(), say=lambda line: print(line, flush=True))
        if options.check_links:
            external_links.check(start.parent)
    except (NotebookError, SiteError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = inspection.total_bytes(start.parent) / 1e6
    print(f"Built in {time.perf_counter() - started:.0f} s, {size:.1f} MB. Open it in a browser, no server needed:")
    print(f"  {start.as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
