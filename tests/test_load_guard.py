"""The guard: a load that cannot fit is refused before it starts, and can be forced."""

import pytest
from transformers import AutoModelForCausalLM

from helpers.load_guard import DoesNotFitError, require_fit

CARD = {"device_map": "cuda:0", "memory": {"cuda:0": "1MB"}}


@pytest.fixture(autouse=True)
def _not_forced(monkeypatch):
    monkeypatch.delenv("TRACE_FORCE_LOAD", raising=False)


def test_what_fits_goes_through_with_its_forecast(tiny_checkpoint):
    assert require_fit(tiny_checkpoint, dtype="float32").fits is True


def test_what_does_not_fit_is_refused_with_the_forecast_as_the_message(tiny_checkpoint, monkeypatch):
    began = []
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *given, **named: began.append(given))

    def cell():
        require_fit(tiny_checkpoint, dtype="float32", **CARD)
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint)

    with pytest.raises(DoesNotFitError) as error:
        cell()
    assert began == []
    assert str(error.value.forecast) in str(error.value)
    assert "DOES NOT FIT" in str(error.value)
    assert "force=True" in str(error.value)


@pytest.mark.parametrize(("force", "variable"), [(True, None), (None, "1")])
def test_it_can_be_forced_and_then_warns(tiny_checkpoint, monkeypatch, force, variable):
    if variable:
        monkeypatch.setenv("TRACE_FORCE_LOAD", variable)
    with pytest.warns(UserWarning, match="forced, although it cannot fit"):
        assert require_fit(tiny_checkpoint, force=force, **CARD).fits is False


def test_the_variable_does_not_overrule_force_false(tiny_checkpoint, monkeypatch):
    monkeypatch.setenv("TRACE_FORCE_LOAD", "1")
    with pytest.raises(DoesNotFitError):
        require_fit(tiny_checkpoint, force=False, **CARD)


@pytest.mark.parametrize("force", ["no", "", "1", [], 2])
def test_a_force_that_is_neither_true_nor_false_is_refused(tiny_checkpoint, force):
    with pytest.raises(TypeError, match="give True, False or None"):
        require_fit(tiny_checkpoint, force=force, **CARD)
