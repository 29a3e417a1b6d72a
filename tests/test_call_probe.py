"""The call probe: the same events from both backends, on every Python that is installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("call_probe_scenarios.py")


def pythons() -> dict[str, str]:
    """Python versions that can be started here: by name on the path, or as pyenv keeps them."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for minor in (11, 12, 13):
        name = f"3.{minor}"
        candidates = sorted(Path.home().glob(f".pyenv/versions/{name}.*/bin/python"))
        python = candidates[-1] if candidates else shutil.which(f"python{name}")
        if python and name not in found:
            found[name] = str(python)
    return found


def run_scenarios(python: str) -> dict:
    finished = subprocess.run([python, str(SCRIPT)], capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(scope="module")
def results() -> dict:
    return run_scenarios(sys.executable)


@pytest.fixture(scope="module")
def events(results) -> list[tuple]:
    return [tuple(event) for event in results["events"]]


def of(events, function):
    return [event for event in events if event[0] == function]


def test_arguments_and_results_are_read(events):
    assert of(events, "plain") == [
        ("plain", "", "MainThread", "returned", "a=1, b=3, *rest.0=5, c=4", "result=5"),
    ]


def test_an_alias_is_the_same_function(events):
    assert ("inner", "", "MainThread", "returned", "a=7", "result=8") in events


def test_none_is_a_result_and_an_exception_is_not(events):
    assert of(events, "returns_none")[0][3:] == ("returned", "a=1", "result=None")
    assert of(events, "fails")[0][3:] == ("raised", "a=3", "")
    assert of(events, "passes_through")[0][3:] == ("raised", "a=3", "")


def test_recursion_nests(events):
    assert [event[1] for event in of(events, "factorial")] == ["", "factorial", "factorial"]


def test_resumes_of_a_generator_are_not_calls(events):
    assert of(events, "numbers") == [("numbers", "", "MainThread", "yielded", "n=3", "result=0")]
    assert [event[3] for event in of(events, "managed")] == ["yielded", "yielded"]


def test_a_call_after_a_generator_has_no_stale_parent(events):
    assert ("inner", "", "MainThread", "returned", "a=5", "result=6") in events


def test_builtins_are_seen_with_their_callers_locals(events):
    assert [event[3:] for event in of(events, "gcd")] == [
        ("returned", "x=12, y=18", ""),
        ("returned", "function=<built-in function gcd>, x=6, y=4", ""),
        ("returned", "function=<built-in function gcd>, x=6, y=4", ""),
        ("raised", "x=1, y='x'", ""),
    ]
    assert of(events, "upper")[0][4] == "text='abc'"


def test_threads_are_seen_and_named(events):
    assert ("inner", "in_worker", "worker", "returned", "a=9", "result=10") in events


def test_a_caller_condition_is_kept(events):
    assert of(events, "only_from_plain") == [("only_from_plain", "", "MainThread", "returned", "a=1", "result=1")]


def test_nothing_is_recorded_after_the_end(events):
    assert len(of(events, "plain")) == 1  # the script runs its scenario once more without the probe


def test_functions_are_found_as_they_are_called_and_asked_about_once(results):
    assert results["interface"]["functions"][:2] == [["found", "a=1"]] * 2
    assert results["interface"]["looked at"] == [1, 1]


def test_the_lines_of_a_named_function(results):
    lines = results["interface"]["lines"]
    assert [line for line, _ in lines] == [1, 2, 3, 2, 3, 2, 4]
    assert [changed for _, changed in lines if "total" in changed] == ["total=0", "total=1"]


def test_where_nothing_is_kept_the_boundaries_are_told_all_the_same(results):
    interface = results["interface"]
    assert interface["functions"][2:] == [
        ["counts", "n=2"], ["plain", "a=True, b=2"], ["found", "a=True"], ["boundary", "a=True"],
        ["gcd", "x=True, y=1"],
    ]  # fmt: skip
    assert [text for text in interface["hooks"] if text != "told"] == [
        "enters with False", "leaves with False", "enters with True", "leaves with True",
    ]  # fmt: skip


def test_a_hook_that_is_added_while_the_probe_runs_is_called_in_every_step(results):
    assert results["interface"]["hooks"].count("told") == 3


def test_what_cannot_be_read_is_noted_and_disturbs_nothing(results):
    seen = results["failing readers"]
    assert seen["result"] == 6
    assert seen["starts"] == [[0, "a=1, b=2", -1]]
    assert seen["ends"] == 1
    assert seen["problems"] == [
        f"{name} not observed (ValueError: nobody may look)" for name in ("calls_builtin", "gcd")
    ]


def test_both_backends_give_equal_events():
    results = {name: run_scenarios(python) for name, python in pythons().items()}
    if len({result["probe"] for result in results.values()}) < 2:
        pytest.skip(f"only one backend can run here: found Python {', '.join(results)}; the other needs 3.11 or 3.12+")
    first, *others = results.values()
    for other in others:
        for what in ("events", "interface", "failing readers"):
            assert other[what] == first[what], f"{what}: {other['python']} differs from {first['python']}"
