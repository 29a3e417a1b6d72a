"""The figure of forecasts: its bars are the table's bytes, its line is the free memory."""

import pytest
from transformers import LlamaConfig

from helpers import forecast
from helpers.forecasting.result import COMPONENTS
from helpers.views.forecast_figures import forecast_description, forecast_figure
from helpers.views.pictures import png

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def forecasts():
    config = LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, vocab_size=20000
    )
    return [
        forecast(config, dtype=dtype, device_map="cuda:0", memory={"cuda:0": "70MB"}, prompt_tokens=64, new_tokens=8)
        for dtype in ("float32", "float16")
    ]


def test_bars_are_the_bytes_of_the_table(forecasts):
    axes = forecast_figure(*forecasts).axes[0]
    widths = [bar.get_width() * MEBIBYTE for bar in axes.patches]
    expected = [row[name] for one in forecasts for row in one.table().to_dict("records") for name in COMPONENTS]
    assert widths == pytest.approx(expected)
    assert axes.get_xlabel() == "MiB"


def test_the_verdict_and_the_free_memory_are_drawn(forecasts):
    axes = forecast_figure(*forecasts).axes[0]
    assert [one.fits for one in forecasts] == [False, True]
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("does not fit") == texts.count("fits") == 1
    assert [line.get_xdata()[0] * MEBIBYTE for line in axes.lines] == pytest.approx([70e6, 70e6])
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["float32 on cuda:0:  load", "prefill", "decode", "float16 on cuda:0:  load", "prefill", "decode"]


def test_free_memory_far_beyond_the_need_is_not_drawn_and_not_in_the_legend(forecasts):
    plenty = forecast(LlamaConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4))
    for figure, drawn in ((forecast_figure(plenty), False), (forecast_figure(*forecasts), True)):
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert ("free memory" in legend) is bool(figure.axes[0].lines) is drawn


def test_it_is_drawn_and_described(forecasts):
    assert png(forecast_figure(*forecasts)).startswith(b"\x89PNG")
    assert "float32 on cuda:0; float16 on cuda:0" in forecast_description(*forecasts)
    with pytest.raises(ValueError, match="give one forecast or more"):
        forecast_figure()
