"""The same call in several versions: the landmarks then and now, the sampled tokens, and a function as if renamed."""

import contextlib
import dataclasses

import pytest

from helpers import across_versions, drift, landmarks, record, reference_recording
from helpers.across_versions import AS_LEFT, DID_NOT_RUN, NONE, OTHER, SAME
from helpers.events import RecordingError

OLDEST, NEWEST = landmarks.tested_versions()[0], landmarks.tested_versions()[-1]


@pytest.fixture(scope="module")
def versions():
    return across_versions.recordings()


@pytest.fixture(scope="module")
def history(versions):
    return across_versions.then_and_now(versions).set_index("landmark")


def test_the_recordings_are_those_of_the_tested_versions_oldest_first(versions):
    assert list(versions) == landmarks.tested_versions()
    assert [recording.environment["transformers"] for recording in versions.values()] == list(versions)
    table = across_versions.environments(versions)
    assert list(table["transformers"]) == list(versions)
    assert set(table["new_tokens"]) == {reference_recording.NEW_TOKENS}
    assert table["torch"].nunique() == table["python"].nunique() == 1


@pytest.mark.parametrize(
    ("version", "nearest"),
    [("4.30.0", "4.47.1"), ("4.47.1", "4.47.1"), ("4.57.5", "4.47.1"), ("5.12.0", "5.0.0"), ("6.1.0.dev0", "5.23.0")],
)
def test_the_nearest_version_is_the_newest_that_is_not_newer(versions, version, nearest):
    assert across_versions.nearest(versions, version) == nearest


# landmarks -----------------------------------------------------------------------------------------------------------


def test_every_landmark_of_the_article_that_is_a_call_has_a_row(history):
    named = [one for one in landmarks.table() if one.in_article]
    assert len(named) == 73
    assert list(history.index) == [one.id for one in named if one.kind != "fact"]
    assert list(history.columns) == ["stage", "article", *landmarks.tested_versions()]
    assert not history.isna().any(axis=None)


def test_a_function_is_named_where_it_changes(history):
    told = history.loc["load.into_meta", landmarks.tested_versions()].tolist()
    assert told == ["_load_state_dict_into_meta_model", AS_LEFT, "convert_and_load_state_dict_in_model", AS_LEFT]
    assert history.loc["gen.sample", OLDEST] == "GenerationMixin._sample"
    assert set(history.loc["gen.sample", landmarks.tested_versions()[1:]]) == {AS_LEFT}


def test_long_names_may_break_so_that_four_versions_fit_a_page(versions):
    html = across_versions.then_and_now(versions)._repr_html_()
    assert "convert_<wbr>and_<wbr>load_<wbr>state_<wbr>dict_<wbr>in_<wbr>model" in html


def test_what_is_gone_or_not_yet_there_is_told(history):
    assert history.loc["load.gc", landmarks.tested_versions()].tolist() == ["collect", NONE, AS_LEFT, AS_LEFT]
    assert history.loc["gen.prefill", landmarks.tested_versions()].tolist() == [
        NONE,
        AS_LEFT,
        "GenerationMixin._prefill",
        AS_LEFT,
    ]


def test_a_function_of_the_same_name_elsewhere_has_its_module(history):
    assert history.loc["init.meta", OLDEST] == "init_empty_weights"
    assert history.loc["init.meta", "4.57.6"] == "transformers.integrations.accelerate:init_empty_weights"


def test_what_did_not_run_is_told(history):
    assert history.loc["smp.argmax", OLDEST] == f"argmax {DID_NOT_RUN}"
    assert history.loc["pipe.load_model", "5.0.0"] == f"load_model {DID_NOT_RUN}"
    assert history.loc["pipe.load_model", NEWEST] == f"{AS_LEFT} {DID_NOT_RUN}"


def test_the_table_says_what_the_landmark_table_says(versions):
    """A recording's functions are those that landmarks.json names for its version."""
    for version, recording in versions.items():
        found = across_versions._functions(recording)
        for one in across_versions.article_landmarks():
            assert (one.id in found) == bool(landmarks.pick(one.candidates, version)), (version, one.id)


def test_fates_are_held_against_the_oldest_version(versions):
    fates = across_versions.fates(versions).set_index("landmark")
    assert set(fates[OLDEST]) == {SAME, NONE}
    gone = fates.index[(fates[OLDEST] == SAME) & (fates[NEWEST] == NONE)]
    assert set(gone) == {
        "load.state_dict",
        "load.safetensors_file",
        "load.into_model",
        "load.assign_check",
        "load.gc",
    }
    assert fates.loc["ckpt.resolve", [OLDEST, NEWEST]].tolist() == [NONE, OTHER]
    assert fates.loc["init.meta", ["4.57.6", NEWEST]].tolist() == [OTHER, OTHER]
    assert set(fates.loc["gen.sample", landmarks.tested_versions()]) == {SAME}


def test_calls_are_counted_where_the_function_is_the_same_in_all(versions):
    counts = across_versions.call_counts(versions).set_index("landmark")
    assert "load.into_meta" not in counts.index
    assert "gen.prefill" not in counts.index
    assert counts.loc["dec.decode", landmarks.tested_versions()].tolist() == [2, 2, 2, 1]
    assert set(counts.loc["fwd.causal_lm", landmarks.tested_versions()]) == {4}
    for version, recording in versions.items():
        calls = recording.landmarks().set_index("landmark")["calls"]
        assert (counts[version] == calls[counts.index]).all()


# text ----------------------------------------------------------------------------------------------------------------


def test_the_sampled_tokens_are_equal_in_all_versions(versions):
    tables = [across_versions.sampled_tokens(recording) for recording in versions.values()]
    first = tables[0]
    assert list(first["step"]) == list(range(reference_recording.NEW_TOKENS))
    for table in tables:
        assert list(table["token"]) == list(first["token"])
        assert table["probability"].astype(float).sub(first["probability"].astype(float)).abs().max() < 1e-4
        assert (table["probability"] <= table["p_top"]).all()
        assert set(table["chosen_by"]) == {"multinomial"}


def test_a_token_outside_the_recorded_few_has_no_probability(versions):
    recording = dataclasses.replace(versions[NEWEST])
    recording.samples = [row._replace(top=()) for row in recording.samples]
    table = across_versions.sampled_tokens(recording)
    assert len(table) == reference_recording.NEW_TOKENS
    assert table["probability"].isna().all()


def test_without_the_zoom_the_tokens_are_refused(versions):
    recording = dataclasses.replace(versions[NEWEST], environment={"zoom": ["landmarks"]})
    with pytest.raises(RecordingError, match=r'record\("sampling"\)'):
        across_versions.sampled_tokens(recording)


# a renamed function --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipe(tiny_checkpoint):
    from transformers import pipeline

    length = {"min_new_tokens": 3, "max_new_tokens": 3}
    return pipeline("text-generation", model=str(tiny_checkpoint), device="cpu", do_sample=True, **length)


def test_a_renamed_function_is_gone_and_the_rest_is_recorded(pipe):
    with record("sampling") as as_it_is:
        pipe("hello there")
    with across_versions.as_if_renamed("gen.sample") as old_name, record("sampling") as renamed:
        (found,) = drift.of_names()
        pipe("hello there")
    assert (found.landmark, found.kind, found.expected) == ("gen.sample", drift.GONE, old_name)
    seen = [set(one.landmarks(observed_only=True)["landmark"]) for one in (as_it_is, renamed)]
    assert seen[0] - seen[1] == {"gen.sample"}
    assert len(renamed.steps()) == len(as_it_is.steps()) == 3
    assert renamed.sampling()["token"].isna().all()
    assert as_it_is.sampling()["token"].notna().sum() == 3


def test_the_table_is_as_before_also_after_an_error():
    before = landmarks.table
    with contextlib.suppress(ZeroDivisionError), across_versions.as_if_renamed("gen.sample"):
        assert landmarks.table is not before
        raise ZeroDivisionError
    assert landmarks.table is before
    assert drift.of_names() == []


@pytest.mark.parametrize("landmark", ["no.such", "fact.shape", "load.gc", "fwd.sdpa"])
def test_what_has_no_python_function_here_cannot_be_renamed(landmark):
    with pytest.raises(ValueError, match="has no Python function of its own"), across_versions.as_if_renamed(landmark):
        pass
