"""The figures of calls, of a forward pass and of a generation draw what was recorded, and refuse what they cannot."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, pipeline

from helpers import record
from helpers.events import RecordingError
from helpers.queries.recorded_calls import call_of
from helpers.views import call_figures, forward_figures, generation_figures
from helpers.views.pictures import png

NEW_TOKENS = 4


@pytest.fixture(scope="module")
def recording(tiny_checkpoint):
    pipe = pipeline("text-generation", model=str(tiny_checkpoint), device="cpu")
    with record("landmarks", "modules", "memory", "functions", steps=None) as recording:
        pipe("hello there", max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False)
    return recording


def _texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_route_carries_the_recorded_shapes(recording):
    figure = forward_figures.route_figure(recording)
    modules = recording.modules(step=0).set_index("path")
    texts = _texts(figure)
    assert "2 decoder layers" in texts
    for path in ("model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.gate_proj", "lm_head"):
        assert recording.tensors(modules.loc[path, "event"])[1][0].shape_text in texts
    key = call_of(recording, "fwd.cache_update", step=0).inputs["key_states"].shape_text
    assert f"key and value {key}" in texts
    assert png(figure).startswith(b"\x89PNG")
    assert "2 decoder layers" in forward_figures.route_description(recording)


def test_without_a_forward_pass_there_is_no_route(tiny_checkpoint):
    with record("modules") as loading:
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    with pytest.raises(RecordingError, match="no forward pass of a Llama"):
        forward_figures.route_figure(loading)


def test_rotation_is_the_cosine_of_the_angles():
    angles = np.array([[0.0, 0.0], [np.pi, np.pi / 3]])
    image = forward_figures.rotation_figure(angles).axes[0].images[0].get_array()
    assert np.allclose(image, np.cos(angles).T)


def test_attention_leaves_the_future_white_and_writes_the_shares():
    weights = torch.tensor([[[1.0, 0.0], [0.25, 0.75]]])
    figure = forward_figures.attention_figure(weights, ["$a", "b"], ["query head 0"], "Layer 0")
    axes = figure.axes[0]
    assert np.ma.getmaskarray(axes.images[0].get_array()).tolist() == [[False, True], [False, False]]
    assert [text.get_text() for text in axes.texts] == ["1.00", "0.25", "0.75"]
    assert axes.get_xticklabels()[0].get_text() == r"\$a"  # a token's text is data, no mathematics
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("weights", "tokens"), [(np.zeros((0, 2, 2)), "ab"), (np.eye(2), "ab"), (np.eye(2)[None], "a")]
)
def test_shares_that_are_no_squares_are_refused(weights, tokens):
    with pytest.raises(ValueError, match=r"\(heads, positions, positions\).*not \("):
        forward_figures.attention_figure(weights, list(tokens), ["head"] * len(weights), "title")


def test_the_axis_of_one_layer_and_of_one_step_has_whole_numbers():
    layer = forward_figures.layer_figure([1.0], "difference", "title")
    step = generation_figures.step_time_figure({"one": [3.0]})
    for figure in (layer, step):
        png(figure)  # only then the ticks are known
        assert [place for place in figure.axes[0].get_xticks() if abs(place) < 0.5] == [0]


def test_layers_are_drawn_with_their_limit_and_zeros_apart():
    axes = forward_figures.layer_figure([0.0, 1e-6, 2e-6], "difference", "title", limit=1e-3).axes[0]
    curve, zeros, limit = axes.lines
    assert np.array_equal(curve.get_ydata(), [np.nan, 1e-6, 2e-6], equal_nan=True)
    assert zeros.get_xdata().tolist() == [0]
    assert set(limit.get_ydata()) == {1e-3}
    assert forward_figures.layer_figure([0.0], "difference", "title", limit=1.0).axes
    for values in ([0.0, 0.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="logarithmic scale"):
            forward_figures.layer_figure(values, "difference", "title")
    with pytest.raises(ValueError, match="that of layer 1 is nan"):
        forward_figures.layer_figure([1.0, np.nan], "difference", "title")


def test_the_cache_is_a_line_and_points_on_it(recording):
    steps = recording.steps()
    per_position = int(steps["kv_bytes"].iloc[0] / steps["kv_tokens"].iloc[0])
    line, points = generation_figures.cache_figure(steps, per_position).axes[0].lines
    assert len(points.get_xdata()) == NEW_TOKENS
    slope = line.get_ydata()[1] / line.get_xdata()[1]
    assert np.allclose(points.get_ydata(), slope * points.get_xdata())
    with pytest.raises(ValueError, match="use_cache=True"):
        generation_figures.cache_figure(steps.assign(kv_bytes=0), per_position)
    with pytest.raises(ValueError, match="use_cache=True"):
        generation_figures.cache_figure(steps.head(0), per_position)


def test_step_times_are_one_line_per_run():
    axes = generation_figures.step_time_figure({"with": [3.0, 1.0], "without": [3.0, 4.0]}).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[3.0, 1.0], [3.0, 4.0]]
    for runs in ({}, {name: [1.0] for name in "abcd"}):
        with pytest.raises(ValueError, match="compares 1 to 3 runs"):
            generation_figures.step_time_figure(runs)


def test_spans_are_nested_as_the_calls_were(recording):
    landmarks = ["call.run_single", "call.forward", "gen.generate", "call.postprocess"]
    figure = call_figures.span_figure(recording, landmarks, "title")
    axes = figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert [len(name) - len(name.lstrip()) for name in names] == [0, 2, 4, 2]
    for bar, landmark in zip(axes.patches, landmarks, strict=True):
        assert bar.get_width() == pytest.approx(call_of(recording, landmark).milliseconds)
    outer, inner = axes.patches[0], axes.patches[2]
    assert outer.get_x() <= inner.get_x()
    assert inner.get_x() + inner.get_width() <= outer.get_x() + outer.get_width()
    assert "GenerationMixin.generate (depth 2)" in call_figures.span_description(recording, landmarks)
    with pytest.raises(RecordingError, match=r"pipe\.factory is not observed"):
        call_figures.span_figure(recording, ["pipe.factory"], "title")
    with pytest.raises(RecordingError, match="give the landmarks"):
        call_figures.span_figure(recording, [], "title")
