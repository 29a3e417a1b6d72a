"""The figures of two settings and of the penalty draw the distributions' own numbers."""

import numpy as np
import pytest
from transformers import AutoModelForCausalLM

from helpers import sampling
from helpers.distribution import NextTokenLogits
from helpers.sampling import SamplingError, SamplingSettings
from helpers.views import comparison_figures as figures
from helpers.views.pictures import png


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint)


@pytest.fixture(scope="module")
def logits():
    texts = ("$x$", "b", "c", "d", "e")
    return NextTokenLogits((0, 1, 0), np.log([0.4, 0.3, 0.15, 0.1, 0.05]).astype(np.float32), texts)


def test_the_bars_are_the_probabilities(model, logits):
    a = sampling.distribution(logits, SamplingSettings(do_sample=True, top_k=2), model)
    b = sampling.distribution(logits, SamplingSettings(do_sample=True, temperature=2.0), model)
    figure = figures.comparison_figure(a, b, top=3)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    for values, place in ((a.final.probabilities, 0), (b.final.probabilities, 4), (a.start.probabilities, 8)):
        assert widths[place : place + 4] == pytest.approx([*values[:3], values[3:].sum()])
    assert figure.axes[0].get_yticklabels()[3].get_text() == "the other 2"
    assert png(figure).startswith(b"\x89PNG")
    words = figures.describe_comparison(a, b)
    assert "A keeps 2 tokens" in words
    assert "$x$ 57.1% and" in words


def test_two_prompts_are_not_compared(model, logits):
    a = sampling.distribution(logits, SamplingSettings(), model)
    other = NextTokenLogits((0,), np.zeros(5, dtype=np.float32), logits.token_texts)
    b = sampling.distribution(other, SamplingSettings(), model)
    with pytest.raises(SamplingError, match="different logits"):
        figures.comparison_figure(a, b)


def test_the_penalty_is_drawn_for_the_prompts_own_tokens(model, logits):
    after = sampling.distribution(logits, SamplingSettings(do_sample=False, repetition_penalty=2.0), model)
    figure = figures.penalty_figure(after)
    before_dots, after_dots = (line.get_xdata() for line in figure.axes[0].lines)
    assert list(before_dots) == pytest.approx(list(logits.logits[[0, 1]]))
    assert list(after_dots) == pytest.approx(list(2 * logits.logits[[0, 1]]))
    assert png(figure).startswith(b"\x89PNG")
    assert "$x$ from -0.92 to -1.83" in figures.describe_penalty(after)


def test_a_chain_without_a_penalty_is_refused(model, logits):
    plain = sampling.distribution(logits, SamplingSettings(), model)
    with pytest.raises(SamplingError, match="no repetition penalty"):
        figures.penalty_figure(plain)
