"""The exercises of notebook 10: right answers are right, and each wrong one is explained."""

import pytest

from helpers import across_versions, landmarks
from helpers.exercises.across_versions import check_lost, check_takes_in_threads, check_untested_version

PLACE_PARAM = ("load.place_param", "4.50.3")


@pytest.fixture(scope="module")
def versions():
    return across_versions.recordings()


def _wrong(verdict, hint):
    assert not verdict
    assert hint in verdict.explanation


def test_the_version_that_takes_tensors_in_threads(versions):
    assert check_takes_in_threads("5.0.0", versions)
    assert "Not answered" in repr(check_takes_in_threads(None, versions))
    _wrong(check_takes_in_threads("4.57.6", versions), "by one thread")
    _wrong(check_takes_in_threads("5.23.0", versions), "'5.0.0' comes before")
    _wrong(check_takes_in_threads("5.1.0", versions), "you gave the text '5.1.0'")
    _wrong(check_takes_in_threads(5.23, versions), "as text ('4.47.1'")
    _wrong(check_takes_in_threads(["5.0.0"], versions), "as text")


def test_a_version_that_was_not_recorded():
    right = "accelerate.utils.modeling:set_module_tensor_to_device"
    candidates = next(one.candidates for one in landmarks.table() if one.id == PLACE_PARAM[0])
    assert landmarks.pick(candidates, PLACE_PARAM[1]) == right
    assert check_untested_version(right, *PLACE_PARAM)
    assert "Not answered" in repr(check_untested_version(None, *PLACE_PARAM))
    later = landmarks.pick(candidates, "4.57.6")
    _wrong(check_untested_version(later, *PLACE_PARAM), "the function of >=4.51,<5, and 4.50.3 is not in this range")
    _wrong(check_untested_version("set_module_tensor_to_device", *PLACE_PARAM), "give the module as well")
    _wrong(check_untested_version("torch:nothing", *PLACE_PARAM), "no range of this landmark")
    _wrong(check_untested_version(4, *PLACE_PARAM), "with a text, module:qualname: you gave 4")


def lost(before, after):
    old, new = (one.landmarks().set_index("landmark") for one in (before, after))
    missing = [name for name in old.index if old["calls"][name] and not new["calls"][name]]
    gone = {name for name in missing if not new["function"][name]}
    return {"gone": gone, "silent": set(missing) - gone}


def test_a_drift_report_of_ones_own(versions):
    assert check_lost(lost, versions)
    assert "Not answered" in repr(check_lost(None, versions))
    silent = lost(versions["4.57.6"], versions["5.0.0"])["silent"]
    assert silent == {"load.dispatch", "pipe.load_model"}


def test_wrong_drift_reports(versions):
    def all_are(kind, other):
        return lambda *pair: {kind: set().union(*lost(*pair).values()), other: set()}

    def fails(before, after):
        raise KeyError("calls")

    def too_many(*pair):
        found = lost(*pair)
        return {**found, "gone": found["gone"] | {"gen.sample"}}

    _wrong(check_lost({"gone": set(), "silent": set()}, versions), "without brackets")
    _wrong(check_lost(fails, versions), "your function raised KeyError: 'calls'")
    _wrong(check_lost(lambda *pair: None, versions), 'with the keys "gone" and "silent"')
    _wrong(check_lost(lambda *pair: {"gone": 1, "silent": 2}, versions), "each value is a set")
    _wrong(check_lost(lambda *pair: {"gone": [[]], "silent": []}, versions), "each value is a set")
    _wrong(check_lost(all_are("gone", "silent"), versions), "is not gone: it has a function there that did not run")
    _wrong(check_lost(all_are("silent", "gone"), versions), "is not silent: it has no function there")
    _wrong(check_lost(too_many, versions), "gen.sample ran in both")
    _wrong(check_lost(lambda *pair: {"gone": set(), "silent": set()}, versions), "gone of 4 are missing")
