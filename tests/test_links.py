"""The Markdown of the repository, read where it is hosted: links lead to files, and pictures are whole."""

import re
import subprocess
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers.project import ROOT

MADE_BY_THE_BUILD = "docs/site/index.md"
"""Its links lead to pages of the site, which inspects them itself."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
NO_PROSE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def texts() -> list[str]:
    command = ["git", "ls-files", "*.md", "*.ipynb"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    return [name for name in listed.stdout.splitlines() if name != MADE_BY_THE_BUILD and (ROOT / name).is_file()]


def prose(path: Path) -> str:
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("name", texts())
def test_every_link_into_the_repository_leads_to_a_file(name):
    links = LINK.findall(NO_PROSE.sub("", prose(ROOT / name)))
    inside = [link.partition("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in inside if not (ROOT / name).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_no_word_of_the_stages_picture_is_cut_off_at_its_side(side):
    """A word that runs out of the picture has ink in the outermost column."""
    pixels = np.asarray(Image.open(ROOT / "docs" / "stages.png").convert("L"))
    assert len(set(pixels[:, 0 if side == "left" else -1].tolist())) == 1
