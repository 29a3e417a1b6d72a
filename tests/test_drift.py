"""The drift report: the rules of the table, and what it says of a table that does not fit."""

import dataclasses

import pytest

from helpers import checkpoints, doctor, drift, landmarks, scenarios
from helpers.__main__ import main
from helpers.checkpoints import CheckpointError
from helpers.landmarks import Resolution

VARIABLES = {"L": 2, "T": 3, "S": 4, "P": 21, "D": 20}


def pretend_installed(monkeypatch, version: str) -> None:
    monkeypatch.setattr(landmarks, "installed_version", lambda: version)


def landmark_of(landmark_id: str) -> landmarks.Landmark:
    return next(landmark for landmark in landmarks.table() if landmark.id == landmark_id)


# rules ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "at_least", "count"),
    [("0", False, 0), (">=1", True, 1), ("L*T", False, 6), ("(2*L+1)*T", False, 15), (">=P", True, 21)],
)
def test_a_rule_is_a_formula(rule, at_least, count):
    assert drift.evaluate(rule, VARIABLES) == (at_least, count)


@pytest.mark.parametrize(
    "rule", ["", "L*", "X", "L/T", "__import__('os')", "'a'", "True", "1.5", "L**9", "-L", "L if T else 1"]
)
def test_anything_else_is_refused(rule):
    with pytest.raises(ValueError, match="is not made of whole numbers"):
        drift.evaluate(rule, VARIABLES)


def test_every_rule_of_the_table_can_be_read():
    read = [
        drift.evaluate(rule, VARIABLES)
        for landmark in landmarks.table()
        for by_range in landmark.expect.values()
        for rule in (by_range.values() if isinstance(by_range, dict) else [by_range])
    ]
    assert len(read) > 200


# names ---------------------------------------------------------------------------------------------------------------


def resolution(landmark_id: str, target: str) -> Resolution:
    function = landmarks.find(target)
    return Resolution(landmark_of(landmark_id), target, function, landmarks.code_of(function))


def test_no_name_has_drifted_in_the_installed_version():
    assert drift.of_names() == []


def test_a_function_under_another_name_has_moved():
    (found,) = drift.of_names([resolution("dec.decode", "json:dumps"), resolution("gen.sample", "helpers:record")])
    assert (found.landmark, found.kind, found.expected) == ("gen.sample", drift.MOVED, "helpers:record")
    assert found.observed == "helpers.recorder:record"


def test_a_landmark_that_does_not_resolve_is_gone():
    missing = dataclasses.replace(resolution("gen.sample", "json:dumps"), code=None, reason="gone: no json")
    role_without_function = Resolution(landmark_of("load.into_model"), reason="no function plays this part")
    (found,) = drift.of_names([missing, role_without_function])
    assert (found.kind, found.detail) == (drift.GONE, "no json")


# a table that does not fit -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table_of_4_47_on_this_version(tiny_checkpoint):
    with pytest.MonkeyPatch.context() as patch:
        pretend_installed(patch, "4.47.1")
        return drift.report(tiny_checkpoint)


def rows_of(table, kind: str) -> dict[str, dict]:
    return {row["landmark"]: row for row in table[table["kind"] == kind].to_dict("records")}


def test_the_table_of_4_47_on_5_is_seen_to_be_wrong_in_every_way(table_of_4_47_on_this_version):
    table = table_of_4_47_on_this_version
    assert set(table["kind"]) == set(drift.KINDS)
    gone = rows_of(table, drift.GONE)["load.into_model"]
    assert gone["expected"] == "transformers.modeling_utils:_load_state_dict_into_model"
    assert "not in the installed packages" in gone["detail"]
    moved = rows_of(table, drift.MOVED)["config.get_dict"]
    assert moved["expected"].endswith(":PretrainedConfig._get_config_dict")
    assert moved["observed"].endswith(":PreTrainedConfig._get_config_dict")
    silent = rows_of(table, drift.SILENT)["load.state_dict"]
    assert silent["expected"].startswith("load_none 4 (S)")
    assert silent["observed"].startswith("load_none 0")
    miscounted = rows_of(table, drift.MISCOUNTED)["dec.decode"]
    assert (miscounted["expected"], miscounted["observed"]) == ("call 2", "call 1")
    assert "load.tensor_to" in rows_of(table, drift.WRONG_THREAD)
    assert "auto.from_pretrained" not in set(table["landmark"])


def test_the_rows_stand_in_the_order_of_the_call_path(table_of_4_47_on_this_version):
    order = [landmark.id for landmark in landmarks.table()]
    positions = [order.index(landmark) for landmark in table_of_4_47_on_this_version["landmark"]]
    assert positions == sorted(positions)


def test_a_load_without_workers_is_told_by_its_thread(tiny_checkpoint, monkeypatch):
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")
    rows = drift.report(tiny_checkpoint).to_dict("records")
    assert {row["landmark"] for row in rows} == {"load.materialize", "load.tensor_to"}
    assert {row["kind"] for row in rows} == {drift.WRONG_THREAD}
    assert {row["detail"] for row in rows} == {"HF_DEACTIVATE_ASYNC_LOAD is set"}


def test_a_cache_under_a_new_name_is_drift(tiny_checkpoint, monkeypatch):
    monkeypatch.setattr("helpers.probes.steps.KV_CACHE_NAMES", ("some_old_name",))
    (row,) = drift.report(tiny_checkpoint).to_dict("records")
    assert (row["landmark"], row["kind"]) == ("gen.update_kwargs", drift.MISCOUNTED)
    assert row["observed"].startswith("greedy not observed, not observed")


# versions outside the tested range -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:transformers .* is outside the tested range")
@pytest.mark.parametrize(("version", "nearest"), [("6.1.0", "5.23.0"), ("4.30.0", "4.47.1")])
def test_an_untested_version_is_read_as_the_nearest(tiny_checkpoint, monkeypatch, version, nearest):
    pretend_installed(monkeypatch, version)
    done = scenarios.run(tiny_checkpoint)
    table = drift.compare(done)
    assert table.empty == (nearest == "5.23.0")
    for recording in done.recordings.values():
        assert any(version in warning and nearest in warning for warning in recording.warnings)
    observed = done.recordings["load_none"].landmarks().set_index("landmark")["observed"]
    for landmark in rows_of(table, drift.GONE):
        assert observed[landmark] != "yes"
        assert observed[landmark]
    assert observed["auto.from_pretrained"] == "yes"


# bad input -----------------------------------------------------------------------------------------------------------


def test_a_folder_without_shards_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json"):
        drift.report(tmp_path)


# the command line ----------------------------------------------------------------------------------------------------


def test_the_report_is_printed_and_drift_makes_the_exit_status_1(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "tiny", lambda: tiny_checkpoint)
    assert main(["doctor", "--drift"]) == 0
    version = landmarks.installed_version()
    nothing = "0 gone, 0 moved, 0 silent, 0 miscounted, 0 wrong thread"
    assert capsys.readouterr().out == f"The landmark table and transformers {version}: {nothing}.\n"
    monkeypatch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")
    assert main(["doctor", "--drift"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "wrong thread  load.materialize      expected a worker thread, observed MainThread "
        "(HF_DEACTIVATE_ASYNC_LOAD is set)"
    )
    assert lines[-1].endswith("0 miscounted, 2 wrong thread.")


def test_doctor_has_a_line_on_the_landmarks(monkeypatch):
    (finding,) = doctor.check_landmarks()
    named = [resolution for resolution in landmarks.resolve() if resolution.target is not None]
    version = landmarks.installed_version()
    assert finding.status == doctor.OK
    assert finding.text.startswith(f"{len(named)} of the call path in {version}, {len(named)} where the table says")
    assert "doctor --drift" in finding.text
    pretend_installed(monkeypatch, "4.47.1")
    (finding,) = doctor.check_landmarks()
    assert finding.status == doctor.WARN
    assert " gone (dtype.set_default, " in finding.text
    assert " moved (config.get_dict, " in finding.text
    assert "doctor --drift" in finding.advice


def test_doctor_leaves_the_landmarks_out_where_transformers_cannot_be_imported(monkeypatch):
    monkeypatch.setattr(doctor, "_import_problem", lambda name: "broken")
    assert list(doctor.check_landmarks()) == []
