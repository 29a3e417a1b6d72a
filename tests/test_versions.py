"""The landmark table holds in the installed version: what it names is there, and fires where and as often as it says.

Run in every tested version: here in the one that requirements.txt pins, in the others by `make test-versions`.
"""

import subprocess
import sys

import pytest
import versions
from packaging.requirements import Requirement
from transformers import __version__

from helpers import drift, landmarks, project, scenarios

TABLE_VERSION = landmarks.table_version(__version__)


@pytest.fixture(scope="module")
def on_tiny(tiny_checkpoint) -> scenarios.Scenarios:
    return scenarios.run(tiny_checkpoint)


def expected(variables) -> dict[str, list[drift.Expectation]]:
    return {
        landmark.id: drift.expectations(landmark, TABLE_VERSION, variables)
        for landmark in landmarks.table()
        if landmark.kind != "fact" and landmarks.pick(landmark.candidates, TABLE_VERSION)
    }


def test_this_is_a_tested_version():
    assert landmarks.installed_version() == __version__
    assert __version__ in landmarks.tested_versions()


def test_every_scenario_of_the_table_ran(on_tiny):
    described = {name for landmark in landmarks.table() for name in landmark.expect}
    assert described == set(on_tiny.recordings)
    assert set(landmarks.scenarios()) == set(on_tiny.recordings)
    assert all(len(recording) for recording in on_tiny.recordings.values())


def test_every_landmark_of_this_version_has_an_expectation(on_tiny):
    without = [landmark for landmark, rules in expected(on_tiny.variables).items() if not rules]
    never = [landmark for landmark, rules in expected(on_tiny.variables).items() if not any(r.count for r in rules)]
    assert without == []
    assert never == []


def test_the_table_holds_on_the_tiny_checkpoint(on_tiny):
    assert on_tiny.variables["L"] == 2
    assert on_tiny.variables["S"] > 1
    assert 0 < on_tiny.variables["D"] < on_tiny.variables["P"]
    assert drift.compare(on_tiny).to_dict("records") == []


@pytest.mark.slow
@pytest.mark.in_older_versions
def test_the_table_holds_on_the_demo_checkpoint(demo_checkpoint):
    done = scenarios.run(demo_checkpoint)
    assert {name: done.variables[name] for name in "LSP"} == {"L": 30, "S": 3, "P": 272}
    assert 0 < done.variables["D"] < done.variables["P"]
    assert drift.compare(done).to_dict("records") == []


def test_a_landmark_that_nothing_watches_would_be_noticed(on_tiny, monkeypatch):
    """The comparison itself: one event more or less in the recordings, and it says so."""
    recording = on_tiny.recordings["call"]
    (layer,) = [status.function for status in recording.landmark_statuses if status.id == "fwd.layer"]
    functions = recording.events["function"].copy()
    functions[(functions == layer).nonzero()[0][0]] = len(recording.functions)  # a function that is no landmark
    monkeypatch.setitem(recording.events, "function", functions)
    (row,) = drift.compare(on_tiny).to_dict("records")
    assert (row["landmark"], row["kind"]) == ("fwd.layer", "miscounted")
    assert (row["expected"], row["observed"]) == ("call 6 (L*T)", "call 5")


# the overlays of the other versions ----------------------------------------------------------------------------------


def test_the_pinned_versions_and_the_overlays_are_the_tested_ones():
    lines = (project.ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (newest,) = [line for line in lines if line.startswith("transformers==")]
    assert [*versions.PINS, newest.partition("==")[2].split()[0]] == landmarks.tested_versions()


def test_each_overlay_pins_the_packages_that_change_with_transformers():
    for version, pins in versions.PINS.items():
        assert pins["transformers"] == version
        assert set(pins) == {"transformers", "tokenizers", "huggingface_hub", "accelerate", "safetensors"}
        for line in versions.pin_lines(version):
            assert str(Requirement(line)) == line


def test_an_overlay_is_made_once_and_again_when_its_pins_change(tmp_path, monkeypatch):
    made = []

    def pip(command, *, check):
        made.append(command)
        folder = tmp_path / command[command.index("--target") + 1]
        folder.mkdir()
        (folder / "module.py").write_text("", encoding="utf-8")

    monkeypatch.setattr(versions.subprocess, "run", pip)
    place = versions.overlay("4.47.1", tmp_path)
    assert versions.overlay("4.47.1", tmp_path) == place == tmp_path / "4.47.1"
    assert len(made) == 1
    assert made[0][-5:] == versions.pin_lines("4.47.1")
    monkeypatch.setitem(versions.PINS["4.47.1"], "accelerate", "1.2.0")
    versions.overlay("4.47.1", tmp_path)
    assert len(made) == 2
    assert "accelerate==1.2.0" in (place / "pins.txt").read_text(encoding="utf-8")
    assert [entry.name for entry in tmp_path.iterdir()] == ["4.47.1"]


def test_an_overlay_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch):
    def pip(command, *, check):
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(versions.subprocess, "run", pip)
    with pytest.raises(subprocess.CalledProcessError):
        versions.overlay("5.0.0", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_version_without_pins_is_refused():
    command = [sys.executable, str(project.ROOT / "tests" / "versions.py"), "4.11.0"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "no pins for 4.11.0; there are 4.47.1, 4.57.6, 5.0.0" in result.stderr
