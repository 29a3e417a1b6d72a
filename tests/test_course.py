"""The course: its order, the generated cells, the two tables of each frame."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import checks, course, notebooks, reference_recording
from helpers import landmarks as landmark_table
from helpers.course import A_CHECK, ARTICLE_RECORDING, INLINE, NOWHERE, THE_SAME, THIS_RUN, CourseError
from helpers.recording.recording import Recording
from tests.recorded_call import recorded_call


@pytest.fixture(scope="module")
def recording(tiny_checkpoint):
    return recorded_call(tiny_checkpoint)


def test_the_course_has_eleven_notebooks_numbered_in_reading_order():
    assert [one.number for one in course.LESSONS] == [f"{number:02}" for number in range(11)]


def test_every_notebook_of_the_folder_is_a_lesson():
    assert {path.stem for path in notebooks.paths()} <= {one.name for one in course.LESSONS}


def test_every_landmark_is_met_in_a_notebook_of_the_course():
    names = {one.name for one in course.LESSONS}
    assert {landmark.notebook for landmark in landmark_table.table()} <= names


def test_an_unknown_notebook_is_a_clear_error():
    with pytest.raises(CourseError, match="has no notebook '99'; it has 00, 01"):
        course.lesson("99")


# generated cells -----------------------------------------------------------------------------------------------------


def test_the_map_marks_the_notebook_and_links_all_others():
    text = course.map_text(course.lesson("04"))
    assert "you are here: **04 loading weights**" in text
    assert "(04_loading_weights.ipynb)" not in text
    assert all(f"({one.name}.ipynb)" in text for one in course.LESSONS if one.number != "04")


def test_the_first_has_nothing_before_it_and_the_last_nothing_after_it():
    assert "**Previous**" not in course.navigation_text(course.lesson("00"))
    assert "**Next** [01 config and class](01_config_and_class.ipynb)" in course.navigation_text(course.lesson("00"))
    assert "**Next**" not in course.navigation_text(course.lesson("10"))
    assert "**Previous** [09 devices and memory]" in course.navigation_text(course.lesson("10"))


def test_generated_cells_replace_those_that_are_there():
    here = course.lesson("02")
    cells = [
        new_markdown_cell("# Read"),
        new_markdown_cell("**Map** of old"),
        new_code_cell("x"),
        new_markdown_cell("**Next** x"),
    ]
    notebook = new_notebook(cells=cells)
    course.write_generated_cells(notebook, here)
    course.write_generated_cells(notebook, here)
    sources = [cell.source for cell in notebook.cells]
    assert sources == ["# Read", course.map_text(here), "x", course.navigation_text(here)]
    nbformat.validate(notebook)


# in your version -----------------------------------------------------------------------------------------------------


def rows_of(table) -> dict[str, dict]:
    return {row["landmark"]: row for row in table.to_dict("records")}


def test_what_ran_is_shown_from_this_run(recording):
    rows = rows_of(course.in_your_version("05", recording))
    assert set(rows) == {landmark.id for landmark in course.landmarks_of("05")}
    single = rows["call.run_single"]
    assert (single["function_4_47_1"], single["here"]) == ("Pipeline.run_single", THE_SAME)
    assert (single["calls"], single["seen_in"]) == (1, THIS_RUN)
    assert single["article"] == "Pipeline.run_single"


def test_what_is_gone_is_shown_from_the_recording_of_the_articles_version(recording):
    rows = rows_of(course.in_your_version("04", recording))
    gone = {name for name, row in rows.items() if row["seen_in"] == ARTICLE_RECORDING}
    articles = {landmark.id for landmark in landmark_table.table() if landmark.in_article}
    assert gone & articles == {
        "load.state_dict", "load.safetensors_file", "load.into_model", "load.assign_check", "load.gc",
    }  # fmt: skip
    assert all(rows[name]["calls"] > 0 and rows[name]["here"] == INLINE for name in gone)
    assert rows["load.loop"]["function_4_47_1"] == INLINE
    assert rows["load.into_meta"]["here"] == "convert_and_load_state_dict_in_model"


def test_what_did_not_run_is_not_observed(recording):
    assert rows_of(course.in_your_version("08", recording))["smp.argmax"]["seen_in"] == NOWHERE


def test_a_fact_is_shown_by_the_check_that_names_it(recording, monkeypatch):
    monkeypatch.setattr(checks, "facts_checked", set())
    assert rows_of(course.in_your_version("07", recording))["fact.shape"]["seen_in"] == NOWHERE
    checks.check(True, "a claim", fact="fact.shape")
    assert rows_of(course.in_your_version("07", recording))["fact.shape"]["seen_in"] == A_CHECK


def test_a_fact_whose_check_failed_is_not_shown(monkeypatch):
    monkeypatch.setattr(checks, "facts_checked", set())
    with pytest.raises(AssertionError):
        checks.check(False, "a claim", fact="fact.shape")
    assert checks.facts_checked == set()


def test_a_check_of_an_unknown_fact_is_a_clear_error():
    with pytest.raises(ValueError, match=r"no such fact; it has .*fact\.shape"):
        checks.check(True, "a claim", fact="smp.softmax")


def test_the_first_notebook_lists_what_differs_on_the_whole_path(recording):
    rows = rows_of(course.in_your_version("00", recording))
    assert THE_SAME not in {row["here"] for row in rows.values()}
    assert {"load.gc", "load.loop", "call.encode_plus"} <= set(rows)
    assert "gen.generate" not in rows


def test_in_the_articles_own_version_nothing_differs():
    then = reference_recording.committed()
    rows = rows_of(course.in_your_version("04", then))
    assert {row["here"] for row in rows.values()} <= {THE_SAME, ""}


@pytest.mark.parametrize("table", [course.in_your_version, course.where_to_look])
def test_a_table_without_a_recording_is_a_clear_error(table):
    with pytest.raises(CourseError, match="give it those that this notebook made"):
        table("04")


def test_where_to_look_has_each_function_once_with_its_lines(recording):
    table = course.where_to_look("05", recording)
    assert table["function"].is_unique
    row = table.set_index("function").loc["Pipeline.run_single"]
    assert row["location"].startswith("transformers/pipelines/base.py:")
    assert "/src/transformers/pipelines/base.py#L" in row["permalink"]
    assert f'<a href="{row["permalink"]}"' in table._repr_html_()


def test_where_to_look_of_the_whole_has_a_function_for_each_stage(recording):
    assert len(course.where_to_look("00", recording)) == len(landmark_table.stages())


def test_an_empty_recording_gives_tables_without_calls():
    empty = Recording(finished=True)
    assert set(course.in_your_version("05", empty)["seen_in"]) <= {NOWHERE, A_CHECK, ARTICLE_RECORDING}
    assert course.where_to_look("05", empty).empty
