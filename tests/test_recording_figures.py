"""Figures of a recording: what they draw is what was recorded."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import Recording, record
from helpers.process_group import BEGAN
from helpers.views import recording_figures as figures
from helpers.views.pictures import png


@pytest.fixture(scope="module")
def recording(tiny_checkpoint):
    with record(steps=2) as recording:
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
        ids = torch.tensor([[5, 6, 7]])
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=5, min_new_tokens=5, do_sample=False
        )
    return recording


def test_a_bar_for_each_stage_and_one_for_the_summarised_steps(recording):
    axes = figures.stage_figure(recording).axes[0]
    stages = recording.stages()
    assert len(axes.patches) == len(stages) == 11
    forward = stages.index[stages["name"] == "forward pass"][0]
    assert axes.patches[forward].get_width() == pytest.approx(stages.loc[forward, "milliseconds"])
    texts = [text.get_text() for text in axes.texts]
    assert texts[-1].endswith("ms")
    assert "not observed" in texts  # no pipeline was built
    assert "3 later steps, kept as summary rows" in [label.get_text() for label in axes.get_yticklabels()]


def test_the_words_beside_the_longest_bar_are_within_the_picture(recording, tmp_path):
    copy = Recording.load(recording.save(tmp_path / "copy.json.gz"))
    copy.events["end"] = copy.events["start"] + 1_000_000 * (copy.events["end"] - copy.events["start"])
    for shown in (copy, recording):
        figure = figures.stage_figure(shown)
        png(figure)  # only then the places are known
        assert all(text.get_window_extent().x1 < figure.bbox.x1 for text in figure.axes[0].texts)


def test_memory_that_was_not_read_is_not_observed(tiny_checkpoint):
    with record("landmarks") as load:
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    texts = [text.get_text() for text in figures.stage_figure(load).axes[0].texts]
    seen = [text for text in texts if text != "not observed"]
    assert seen
    assert all(text.endswith(" · memory not observed") for text in seen)


def test_the_names_of_a_prefill_of_no_time_and_of_the_decoding_do_not_overlap(recording, tmp_path):
    copy = Recording.load(recording.save(tmp_path / "copy.json.gz"))
    copy.step_rows["start"] = copy.step_rows["start"].copy()
    copy.step_rows["start"][1] = copy.step_rows["start"][0]
    figure = figures.memory_figure(copy)
    png(figure)  # only then the places are known
    prefill, decode = (text.get_window_extent() for text in figure.axes[0].texts)
    assert not prefill.overlaps(decode)


def test_memory_curves_are_the_series(recording):
    axes = figures.memory_figure(recording).axes[0]
    series = recording.memory()
    curves = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert "parameters" in curves
    assert not any(name.startswith("CUDA") for name in curves) or torch.cuda.is_available()
    expected = series["parameters"].to_numpy(dtype=float) / 2**20
    assert np.allclose(curves["parameters"].get_ydata(), expected)


def test_of_several_ranks_each_has_a_curve_of_its_own(recording, tmp_path):
    copies = [Recording.load(recording.save(tmp_path / f"{rank}.json.gz")) for rank in (0, 1)]
    for rank, copy in enumerate(copies):
        copy.environment |= {"rank": rank, "world_size": 2, BEGAN: rank * 1_000_000}
    axes = figures.memory_figure(Recording.merge(copies)).axes[0]
    curves = [line for line in axes.lines if line.get_label().endswith("parameters")]
    assert [np.all(np.diff(curve.get_xdata()) >= 0) for curve in curves] == [True, True]
    assert [curve.get_label() for curve in curves] == ["parameters", "_parameters"], "once in the legend"


def test_a_load_alone_has_no_curve_of_a_kv_cache(recording, tiny_checkpoint):
    with record() as load:
        AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    curves = {line.get_label() for line in figures.memory_figure(load).axes[0].lines}
    assert "KV cache" not in curves
    assert "KV cache" not in figures.memory_description(load)
    assert "KV cache" in figures.memory_description(recording)


def test_descriptions_do_not_change_from_run_to_run(recording):
    assert figures.stage_description(recording) == (
        "Bar chart of the 10 stages of the call path, each with its own time, recorded calls and memory gained; "
        "7 stages were observed."
    )
    assert "parameters" in figures.memory_description(recording)


def test_figures_are_drawn(recording):
    for figure in (figures.stage_figure(recording), figures.memory_figure(recording)):
        assert png(figure).startswith(b"\x89PNG")
