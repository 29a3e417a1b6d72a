"""The figures draw the distribution's own numbers, and any token text, without touching what is global."""

import base64
import io
import re
import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from transformers import AutoModelForCausalLM

from helpers import checkpoints, sampling
from helpers.distribution import NextTokenLogits
from helpers.sampling import SamplingSettings
from helpers.views import descriptions, figures
from helpers.views.pictures import label, percent

HOSTILE = (
    "$x$",
    "</script><img src=x onerror=alert(1)>",
    "\u202eright to left \u05d0",
    "\u0301\u0301",
    "\x00\x1b",
    "日本\U0001f600",
    "\\frac{",
    "%&_^{}",
    " a b",
)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(checkpoints.tiny())


def _distribution(model, logits, texts=None, input_ids=(0,), **settings):
    logits = np.asarray(logits, dtype=np.float32)
    texts = tuple(texts or (f"t{i}" for i in range(len(logits))))
    return sampling.distribution(NextTokenLogits(input_ids, logits, texts), SamplingSettings(**settings), model)


@pytest.fixture
def filtered(model):
    logits = np.log([0.4, 0.3, 0.15, 0.1, 0.05])
    return _distribution(model, logits, do_sample=True, temperature=0.5, top_k=4, top_p=0.9, min_p=0.0)


def _every_figure(distribution):
    yield figures.distribution_figure(distribution)
    yield figures.chain_figure(distribution)
    yield figures.cumulative_figure(distribution)
    yield figures.draws_figure(distribution, distribution.draw(seed=0, count=50))


def _texts(figure):
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return found


def test_bars_are_the_raw_and_the_processed_probabilities(filtered):
    axes = figures.distribution_figure(filtered).axes[0]
    widths = sorted(bar.get_width() for bar in axes.patches)
    kept = filtered.probabilities[filtered.probabilities > 0]
    removed = filtered.start.probabilities[filtered.removed_by >= 0]
    assert widths == pytest.approx(sorted([*filtered.start.probabilities, *kept, *removed]))


def test_each_removed_token_has_the_colour_of_the_stage_that_removed_it(filtered):
    colours = figures.stage_colours(filtered)
    removing = [index for index, stage in enumerate(filtered.stages) if len(stage.removed_ids)]
    assert list(colours) == removing
    assert len(removing) == 2
    assert len(set(colours.values())) == 2
    bars = figures.distribution_figure(filtered).axes[0].patches
    drawn = {matplotlib.colors.to_hex(bar.get_facecolor()) for bar in bars if bar.get_hatch()}
    assert drawn == {colour.lower() for colour, _ in colours.values()}
    texts = _texts(figures.distribution_figure(filtered))
    assert {"removed by TopK 4: 1", "removed by TopP 0.9: 1"} <= set(texts)


def test_the_tail_is_one_row_with_its_whole_mass(model):
    result = _distribution(model, np.log(np.arange(1, 41)), do_sample=True, top_k=0)
    figure = figures.distribution_figure(result, top=10)
    assert "the other 30" in _texts(figure)
    tail = np.sort(result.start.probabilities)[:30].sum()
    assert any(bar.get_width() == pytest.approx(tail) for bar in figure.axes[0].patches)


def test_prompt_tokens_are_marked(model):
    result = _distribution(model, [1.0, 0.0], input_ids=(1, 1))
    marked = [text for text in _texts(figures.distribution_figure(result)) if "in the prompt" in text]
    assert marked == ["26.9% (in the prompt)"]


def test_chain_figure_shows_each_stage_once_and_names_the_idle(filtered):
    figure = figures.chain_figure(filtered)
    rows = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert rows == ["raw logits", "1. Temperature 0.5", "2. TopK 4", "3. TopP 0.9", "4. MinP 0 (no change)"]
    entropies = [bar.get_width() for bar in figure.axes[1].patches]
    assert entropies == pytest.approx(list(filtered.chain_table()["entropy_bits"]))


def test_an_empty_chain_says_so(model):
    figure = figures.chain_figure(_distribution(model, [1.0, 0.0]))
    assert figure.get_suptitle().startswith("The chain is empty")


def test_cumulative_lines_end_at_the_kept_tokens_with_all_probability(filtered):
    lines = [line for line in figures.cumulative_figure(filtered).axes[0].lines if len(line.get_xdata()) > 1]
    changed = [filtered.start, *(stage for stage in filtered.stages if stage.changed)]
    assert [line.get_xdata()[-1] for line in lines] == [stage.kept for stage in changed]
    assert [line.get_ydata()[-1] for line in lines] == pytest.approx([1.0] * len(lines))


def test_draws_figure_counts_the_draws(filtered):
    drawn = np.array([0, 0, 1])
    axes = figures.draws_figure(filtered, drawn).axes[0]
    dots = next(line for line in axes.lines if line.get_label() == "drawn")
    assert list(dots.get_xdata()) == [2, 1, 0]
    expected = [bar.get_width() for bar in axes.patches]
    assert expected == pytest.approx(list(3 * filtered.probabilities[:3]), abs=1e-4)


def test_any_token_text_is_drawn_without_a_warning(model):
    result = _distribution(model, np.arange(len(HOSTILE)), HOSTILE, do_sample=True, top_k=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in _every_figure(result):
            assert figures.png(figure).startswith(b"\x89PNG")
    rows = [text.get_text() for text in figures.distribution_figure(result).axes[0].get_yticklabels()]
    assert r"\$x\$" in rows
    assert r"\u65e5\u672c\U0001f600" in rows
    assert "␣a␣b" in rows


@pytest.mark.parametrize("vocabulary", [2, 300_000])
def test_small_and_large_vocabularies(model, vocabulary):
    result = _distribution(model, np.zeros(vocabulary), do_sample=True)
    for figure in _every_figure(result):
        assert figures.png(figure).startswith(b"\x89PNG")


def test_nothing_global_changes_and_no_window_is_opened(filtered):
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    for figure in _every_figure(filtered):
        figures.png(figure)
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_the_picture_is_opaque_and_the_same_each_time(filtered):
    first, second = (figures.png(figures.chain_figure(filtered)) for _ in range(2))
    assert first == second
    picture = Image.open(io.BytesIO(first)).convert("RGBA")
    assert picture.getpixel((0, 0))[3] == 255
    assert min(picture.getpixel((0, 0))[:3]) >= 253


def test_fonts_are_legible(filtered):
    for figure in _every_figure(filtered):
        FigureCanvasAgg(figure).draw()
        sizes = [text.get_fontsize() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
        assert min(sizes) >= 9


def test_show_gives_an_image_with_its_words_and_nothing_else(filtered, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append((data, raw)))
    result = figures.show(figures.chain_figure(filtered), 'Says "less" < than $all$')
    assert result is None
    [(data, raw)] = shown
    assert raw
    assert data["text/plain"] == 'Says "less" < than $all$'
    assert set(data) == {"text/plain", "text/html"}
    assert 'alt="Says &quot;less&quot; &lt; than $all$"' in data["text/html"]
    encoded = re.search(r'src="data:image/png;base64,([^"]+)"', data["text/html"]).group(1)
    assert base64.b64decode(encoded) == figures.png(figures.chain_figure(filtered))


def test_a_picture_without_words_is_refused(filtered):
    with pytest.raises(ValueError, match="alt is empty"):
        figures.show(figures.chain_figure(filtered), "  ")


def test_descriptions_say_the_numbers(filtered):
    said = descriptions.of_distribution(filtered)
    assert "before and after 4 processors" in said
    assert "3 of 5 tokens can still be chosen" in said
    assert "TopK 4 removed 1; TopP 0.9 removed 1" in said
    assert f"t0 {filtered.probabilities[0]:.1%}" in said
    assert "TopP 0.9 cuts after 3 tokens" in descriptions.of_cumulative(filtered)
    assert f"{filtered.start.entropy:.2f} bits" in descriptions.of_chain(filtered)
    assert "t0 2 times" in descriptions.of_draws(filtered, np.array([0, 0, 1]))


def test_a_token_ruled_out_by_the_model_is_said_and_drawn(model):
    result = _distribution(model, [0.0, -np.inf])
    assert "the model itself rules out 1" in descriptions.of_distribution(result)
    assert any("never possible" in text for text in _texts(figures.distribution_figure(result)))


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.7725, "77.2%"), (0.00052, "0.052%"), (0.0, "0%"), (1e-9, "<0.001%"), (1.0, "100.0%")],
)
def test_percent(probability, text):
    assert percent(probability) == text


def test_label_escapes_what_matplotlib_would_read():
    assert label("a $ b") == r"a \$ b"
    assert label("␣Paris") == "␣Paris"
