"""The sliders show the library's numbers, refuse in its words, and are labelled."""

import ipywidgets as widgets
import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from helpers import checkpoints, sampling
from helpers.sampling import SamplingError, SamplingSettings
from helpers.views.controls import SamplingControls, sampling_controls

NAMES = ["do_sample", "repetition_penalty", "temperature", "top_k", "top_p", "min_p"]


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(checkpoints.tiny())


@pytest.fixture(scope="module")
def logits(model):
    return sampling.next_token_logits(model, AutoTokenizer.from_pretrained(checkpoints.tiny()), "a b c a")


@pytest.fixture
def knobs(logits, model):
    return sampling_controls(logits, model)


def _html(knobs):
    return " ".join(child.value for child in knobs.children if isinstance(child, widgets.HTML))


def test_untouched_controls_are_the_installed_defaults(knobs, logits, model):
    assert isinstance(knobs, SamplingControls)
    assert list(knobs.controls) == NAMES
    assert knobs.settings == SamplingSettings()
    assert knobs.controls["top_k"].value == sampling.installed_defaults(model).top_k == 50
    direct = sampling.distribution(logits, SamplingSettings(), model)
    assert np.array_equal(knobs.distribution.probabilities, direct.probabilities)


@pytest.mark.parametrize(
    ("name", "value"),
    [("repetition_penalty", 1.5), ("temperature", 0.5), ("top_k", 3), ("top_p", 0.3), ("min_p", 0.5)],
)
def test_moving_one_control_gives_the_library_s_numbers(knobs, logits, model, name, value):
    knobs.controls["do_sample"].value = True
    knobs.controls[name].value = value
    asked = SamplingSettings(do_sample=True, **{name: value})
    assert knobs.settings == asked
    direct = sampling.distribution(logits, asked, model)
    assert np.array_equal(knobs.distribution.probabilities, direct.probabilities)
    assert [stage.label() for stage in knobs.distribution.stages] == [stage.label() for stage in direct.stages]
    assert f"{direct.final.kept:,}" in _html(knobs)


def test_without_do_sample_temperature_moves_nothing(knobs):
    before = knobs.distribution.probabilities
    knobs.controls["temperature"].value = 0.3
    assert np.array_equal(knobs.distribution.probabilities, before)
    assert "the highest score wins" in _html(knobs)


def test_a_refusal_is_shown_in_place_and_goes_away(knobs, logits, model):
    knobs.set(SamplingSettings(do_sample=True, temperature=0.0))
    with pytest.raises(SamplingError) as words:
        sampling.distribution(logits, SamplingSettings(do_sample=True, temperature=0.0), model)
    assert knobs.refusal == str(words.value)
    assert knobs.distribution is None
    assert "strictly positive float" in _html(knobs)
    assert "<img" not in _html(knobs)
    knobs.controls["temperature"].value = 0.5
    assert knobs.refusal == ""
    assert "<img" in _html(knobs)
    assert 'role="alert"' not in _html(knobs)


def test_the_button_goes_back_to_the_defaults(knobs):
    knobs.set(SamplingSettings(do_sample=True, top_k=3, min_p=0.2))
    next(child for child in knobs.children if isinstance(child, widgets.Button)).click()
    assert knobs.settings == SamplingSettings()
    assert knobs.controls["top_k"].value == 50


def test_set_draws_once(knobs, monkeypatch):
    calls = []
    real = sampling.distribution
    monkeypatch.setattr(sampling, "distribution", lambda *given: calls.append(given) or real(*given))
    knobs.set(SamplingSettings(do_sample=True, temperature=0.5, top_k=3))
    assert len(calls) == 1


def test_set_refuses_a_parameter_without_a_control(knobs):
    with pytest.raises(SamplingError, match="no control for typical_p"):
        knobs.set(SamplingSettings(typical_p=0.5))


def test_the_checkpoint_s_own_values_are_the_start(logits, model, monkeypatch):
    monkeypatch.setattr(model, "generation_config", GenerationConfig(do_sample=True, temperature=4.5, top_k=900))
    knobs = sampling_controls(logits, model)
    assert knobs.controls["temperature"].value == 4.5
    assert knobs.controls["top_k"].value == 900
    assert knobs.settings == SamplingSettings()


def test_every_control_is_labelled(knobs):
    for name, control in knobs.controls.items():
        assert control.description == name
        assert len(control.tooltip) > 20


def test_picture_and_text_are_escaped_and_described(model):
    texts = ('<img src=x onerror="alert(1)">', "b")
    given = sampling.NextTokenLogits((0,), np.array([1.0, 0.0], dtype=np.float32), texts)
    shown = _html(sampling_controls(given, model))
    assert "<img src=x" not in shown
    assert "<img␣src=x" not in shown
    assert "&lt;img␣src=x␣onerror=&quot;" in shown
    assert 'alt="Bar chart of next-token probabilities' in shown


def test_no_output_is_captured_and_the_text_form_is_stable(knobs, capsys):
    assert not any(isinstance(child, widgets.Output) for child in knobs.children)
    assert repr(knobs) == "Sampling controls: sliders for " + ", ".join(NAMES)
    knobs.controls["do_sample"].value = True
    assert capsys.readouterr() == ("", "")
