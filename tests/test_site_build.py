"""The build of the site on a small notebook of its own: explorers that work by keyboard and tell Python's numbers, the
same bytes twice, no secret, and a failure that names what is wrong.
"""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import sampling
from helpers.notebooks import NotebookError
from helpers.sampling_answers.result import settings_from_text
from helpers.site import SiteError, build, executions, players
from tests.notebook_files import code_cell, markdown_cell, write
from tests.sampling_pages import chain, disagreements, set_all
from tests.site_tools import heading_problems, mount_explorers
from tests.test_export import TABLES
from tests.test_sampling_chain import random_settings

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PROMPT = "Once upon a time, there was a little girl. There was a"
PLANTED = "hf_PlantedByATestToFindItAgain00"
LOAD = """
import os
from transformers import AutoModelForCausalLM, AutoTokenizer
from helpers import checkpoints, explore_sampling, record, step_through

with record("landmarks", "modules", "calls", "memory") as recording:
    model = AutoModelForCausalLM.from_pretrained(checkpoints.demo(), token=os.environ["HF_TOKEN"])
    tokenizer = AutoTokenizer.from_pretrained(checkpoints.demo())
    model.generate(**tokenizer("one", return_tensors="pt"), max_new_tokens=1, do_sample=False)
print("a <b>bold</b> & $x$ line")
"""
CELLS = (
    markdown_cell("# Try both explorers"),
    code_cell(LOAD.strip()),
    markdown_cell("## The player"),
    code_cell("step_through(recording)"),
    code_cell("import pandas\nrecording.landmarks()"),
    code_cell("pandas.DataFrame({'name': ['one', 'two'], 'number': [1.5, 20000.25]})"),
    markdown_cell("## The knobs\n\nSee the [KV cache](../docs/glossary.md#kv-cache)."),
    code_cell(f"explore_sampling(model, tokenizer, {PROMPT!r})"),
)


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A folder with one notebook, and beside it what is kept of its execution."""
    folder = tmp_path_factory.mktemp("course")
    write(folder / "notebooks" / "20_explorers.ipynb", *CELLS)
    take_the_reference_recording(folder / "kept")
    return folder


def take_the_reference_recording(kept: Path) -> None:
    """It is made once, for the whole site too."""
    players.pages(executions.FOLDER)
    kept.mkdir()
    for recording in executions.FOLDER.glob("whole_call_*.json.gz"):
        shutil.copy(recording, kept)


def built(course: Path, name: str, epoch: int) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", str(epoch))
        patch.setenv("HF_TOKEN", PLANTED)
        paths = [course / "notebooks" / "20_explorers.ipynb"]
        build.build(course / name / "site", paths, course / "kept")
    return course / name / "site"


@pytest.fixture(scope="module")
def small_site(course) -> Path:
    return built(course, "first", 1_000_000_000)


@pytest.fixture
def opened(small_site, open_offline):
    page = open_offline(small_site / "notebooks" / "20_explorers.html", small_site)
    mount_explorers(page)
    yield page
    assert page.problems == page.requests == []


def test_the_page_is_whole_and_its_text_is_text(opened, axe):
    assert heading_problems(opened) == []
    assert opened.problems == opened.requests == []
    assert axe(opened) == []
    opened.problems.clear()  # axe asks for the style sheets, which a page opened from disk may not
    opened.requests.clear()
    assert "a <b>bold</b> & $x$ line" in opened.inner_text("main")
    assert opened.locator(".explorer-twin").count() == 2
    assert "No Python runs behind this page" in opened.inner_text(".what-this-is")


def test_heads_stand_over_their_cells(opened):
    tables = [table for table in opened.evaluate(TABLES) if {"calls", "number"} & set(table["heads"])]
    assert len(tables) == 2
    for table in tables:
        assert [side for side in table["sides"] if len(set(side)) > 1] == []
        assert {"right"} in [set(side) for side in table["sides"]], "numbers are there"


def test_the_table_of_steps_fits_beside_the_sidebar(small_site, open_offline):
    page = open_offline(small_site / "landmarks.html", small_site, width=1280)
    assert page.locator(".scrolls").evaluate_all("all => all.filter((one) => one.scrollWidth > one.clientWidth)") == []


def test_the_player_is_walked_by_keyboard(opened):
    counter = opened.locator(".explorer .counter").first
    first = counter.inner_text()
    opened.locator("[data-explorer=player] button").first.focus()
    opened.keyboard.press("ArrowRight")
    second = counter.inner_text()
    assert second != first
    opened.keyboard.press("ArrowLeft")
    assert counter.inner_text() == first
    opened.keyboard.press("End")
    assert counter.inner_text() not in (first, second)


@pytest.fixture(scope="module")
def model(demo_checkpoint):
    return AutoModelForCausalLM.from_pretrained(demo_checkpoint)


@pytest.fixture(scope="module")
def logits(model, demo_checkpoint):
    """What the page has of its prompt."""
    return sampling.next_token_logits(model, AutoTokenizer.from_pretrained(demo_checkpoint), PROMPT)


def test_the_sampling_explorer_is_used_by_keyboard(opened, logits):
    field = opened.locator("[data-explorer=sampling_explorer]").get_by_label("top_k", exact=True)
    field.focus()
    opened.keyboard.press("ControlOrMeta+a")
    opened.keyboard.type("3")
    opened.keyboard.press("Enter")
    kept = (logits.logits >= np.sort(logits.logits)[-3]).sum()  # more than 3 where logits in bfloat16 tie
    assert chain(opened)[-1][0] == str(kept)
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.closest('.explorer') !== null")


def test_for_twenty_settings_the_exported_explorer_says_what_python_says(opened, model, logits):
    some = random_settings(120, sampling.parameter_names(), seed=11)
    shallow = [asked for asked in some if 0 < int(asked.get("top_k", "50")) <= 1000][:20]  # none cuts deep in the tail
    assert len(shallow) == 20
    for asked in shallow:
        set_all(opened, asked)
        distribution = sampling.distribution(logits, settings_from_text(asked), model)
        assert disagreements(chain(opened), distribution) == [], asked


def test_no_file_holds_a_planted_secret_or_a_folder_of_this_machine(small_site):
    looked_at = 0
    for file in small_site.rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            text = gzip.decompress(data) if file.suffix == ".gz" else data
            assert PLANTED.encode() not in text, file
            assert os.fsencode(Path.home()) + b"/" not in text or "_static" in file.parts, file
            looked_at += 1
    assert looked_at > 50
    assert list((small_site / "downloads" / "recordings").glob("20_explorers-1.json.gz"))


def test_two_builds_of_the_same_executions_differ_in_the_date_only(course, small_site):
    second = built(course, "second", 1_100_000_000)
    files = [{file.relative_to(site) for file in site.rglob("*") if file.is_file()} for site in (small_site, second)]
    assert files[0] == files[1]
    dates = (b"9 September 2001, 01:46 UTC", b"9 November 2004, 11:33 UTC")
    differing = set()
    for name in files[0]:
        old, new = (small_site / name).read_bytes(), (second / name).read_bytes()
        differing |= {name} if old != new else set()
        assert old.replace(dates[0], b"") == new.replace(dates[1], b""), name
    assert Path("notebooks/20_explorers.html") in differing


# what must fail ------------------------------------------------------------------------------------------------------


def site_of(tmp_path: Path, *cells) -> Path:
    path = write(tmp_path / "notebooks" / "20_wrong.ipynb", *cells)
    take_the_reference_recording(tmp_path / "kept")
    return build.build(tmp_path / "site", [path], tmp_path / "kept")


def test_a_notebook_that_fails_stops_the_build_and_is_named(tmp_path):
    with pytest.raises(NotebookError, match=r"20_wrong\.ipynb(.|\n)*This does not hold here: one is two"):
        site_of(tmp_path, code_cell('from helpers import check\ncheck(1 == 2, "one is two")'))
    assert not (tmp_path / "site").exists()


def test_a_missing_picture_and_a_dead_link_stop_the_build_and_are_named(tmp_path):
    wrong = markdown_cell("# Title\n\n![a figure](missing.png) and [a page](nowhere.md) and [a word](#nothing)")
    with pytest.raises(SiteError) as told:
        site_of(tmp_path, wrong, code_cell("1"))
    words = str(told.value)
    assert "20_wrong.ipynb" in words
    assert "missing.png" in words
    assert "nowhere" in words
    assert not (tmp_path / "site").exists()
