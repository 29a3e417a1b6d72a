"""What pyproject.toml says about the project itself."""

import tomllib
from importlib import metadata
from pathlib import Path

DISTRIBUTION = "transformers-call-path"
ROOT = Path(__file__).resolve().parent.parent
"""The checkout that this package runs from; of use only where it holds pyproject.toml."""
INSTALL = (
    "python -m pip install -r requirements.txt"
    if (ROOT / "requirements.txt").is_file()
    else f"python -m pip install <the checkout or wheel of {DISTRIBUTION}>"
)
"""The command that installs what is needed, as advice names it. Where there is no checkout it names no index: nobody
said that the package is on one, and a stranger may have its name there."""


def repository_url() -> str | None:
    """The repository's address, or None while pyproject.toml names none: links to it are then left out.

    Read from the checkout's pyproject.toml, since the metadata of an editable installation is as old as that
    installation; from the metadata where there is no checkout. None too where the package is not installed.
    """
    pyproject = ROOT / "pyproject.toml"
    if pyproject.is_file():
        urls = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"].get("urls", {})
        return urls.get("Repository") or None
    try:
        entries = metadata.metadata(DISTRIBUTION).get_all("Project-URL") or []
    except metadata.PackageNotFoundError:
        return None
    named = dict(entry.split(", ", 1) for entry in entries)
    return named.get("Repository")
