"""`python -m helpers export`: what it takes, and which notebook becomes which page. Light: imported for --help too."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from helpers.site import SiteError

SUFFIXES = (".html", ".htm")


STOPS = """\
what stops an export, with the cell it is in:
  a cell that fails, a notebook in another language than Python
  a picture without words: put a line "# alt: what it shows" into the cell that draws it, one for each picture;
    in a text write ![what it shows](picture.png)
  a link to a file, or a picture that is no file beside the notebook: neither travels with the page
  a link to a place that the page has not
  what the page would fetch: scripts, styles and pictures of other addresses
  an access token or a password, and a path of this machine
  more than 3 MB

what its author hid stays so: cells tagged remove-cell, remove-input or remove-output are left out, those tagged
hide-cell, hide-input or hide-output, and what is collapsed in JupyterLab, are folded"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `export` takes on the command line."""
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, STOPS
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK.ipynb", help="what to export")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="PAGE",
        help="page.html, or with several notebooks a folder (default: here)",
    )
    parser.add_argument(
        "--language",
        default="en",
        type=_language,
        metavar="CODE",
        help="of the texts: de, fr, pt-BR … (default: en); with it screen readers choose their voice",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--again", action="store_true", help="run it though it is kept from before: files that it reads have changed"
    )
    how.add_argument("--as-it-is", action="store_true", help="do not run it: show the outputs that the file holds")


def _language(code: str) -> str:
    """The code, where it is one as HTML takes it. Raises ArgumentTypeError."""
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", code):
        raise argparse.ArgumentTypeError(f"{code!r} is no code of a language: give one like de or pt-BR")
    return code


def command(options: argparse.Namespace) -> int:
    """Run `python -m helpers export` as parsed. Raises SiteError."""
    pages = _pages(options.notebooks, options.output)
    from helpers.notebooks import NotebookError
    from helpers.site.export import export

    for notebook, page in pages:
        try:
            how = {"run": not options.as_it_is, "again": options.again, "language": options.language}
            written = export(notebook, page, **how, say=print)
        except NotebookError as error:
            raise SiteError(str(error)) from error
        print(f"{written} ({written.stat().st_size / 1e6:.1f} MB); open it in a browser, it needs no network.")
    return 0


def _pages(chosen: list[Path], output: Path | None) -> list[tuple[Path, Path]]:
    """(notebook, page) for each; nothing is run where one of them cannot be."""
    for notebook in chosen:
        if notebook.suffix != ".ipynb" or not notebook.is_file():
            raise SiteError(f"There is no notebook {notebook}: give the path of a file that ends in .ipynb.")
    if output is not None and output.suffix.lower() in SUFFIXES:
        if len(chosen) > 1:
            raise SiteError(f"-o {output} is one page, for {len(chosen)} notebooks: give a folder.")
        if output.is_dir() or not output.absolute().parent.is_dir():
            raise SiteError(f"-o {output}: give the name of a page in a folder that exists.")
        return [(chosen[0], output)]
    folder = output or Path.cwd()
    if folder.is_file() or (folder.suffix and not folder.is_dir()):  # there may be a folder "course 1.2"
        raise SiteError(f"-o {folder}: give the name of a page (page.html), or a folder.")
    pages: dict[Path, Path] = {}
    for notebook in chosen:
        page = folder / f"{notebook.stem}.html"
        if page in pages:
            raise SiteError(
                f"{pages[page]} and {notebook} would both become {page}: export one of them to another place."
            )
        pages[page] = notebook
    return [(notebook, page) for page, notebook in pages.items()]
