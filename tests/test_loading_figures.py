"""The tree of calls, and the figures of stages 1 to 4."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import record, safetensors_header
from helpers.events import RecordingError
from helpers.queries.call_tree import TreeRow, call_tree
from helpers.recording.recording import Recording
from helpers.views import loading_figures as figures
from helpers.views.pictures import png


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint):
    with record() as recording:
        model = AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))
    return recording, model


def test_the_tree_has_each_function_under_its_nearest_caller(loaded):
    recording, model = loaded
    rows = call_tree(recording, stages=[3])
    place = next(place for place, row in enumerate(rows) if row.function == "LlamaForCausalLM.__init__")
    depth = rows[place].depth
    assert (rows[place + 1].function, rows[place + 1].depth) == ("PreTrainedModel.__init__", depth + 1)
    assert (rows[place + 2].function, rows[place + 2].depth) == ("Module.__init__", depth + 2)
    assert sum(row.calls for row in rows if row.function == "Module.__init__") == len(list(model.modules()))


def test_calls_of_one_function_under_one_caller_are_one_row(loaded):
    rows = call_tree(loaded[0], stages=[3])
    layers = [row for row in rows if row.function == "LlamaDecoderLayer.__init__"]
    assert [row.calls for row in layers] == [2]


def test_stages_that_were_not_asked_for_are_passed_over(loaded):
    rows = call_tree(loaded[0], stages=[2])
    assert {row.stage for row in rows} == {2}
    assert rows[0].depth == 0


def test_a_running_recording_has_no_tree_yet():
    with pytest.raises(RecordingError, match="still running"):
        call_tree(Recording(), stages=[1])


def test_the_figure_of_a_tree_and_its_words(loaded):
    rows = call_tree(loaded[0], stages=[1, 2])
    assert png(figures.call_tree_figure(rows, "Who calls whom")).startswith(b"\x89PNG")
    words = figures.call_tree_description([TreeRow(0, "first", 1, 1), TreeRow(1, "second", 3, 1)])
    assert words.endswith("first [0], second [1] × 3.")
    with pytest.raises(ValueError, match="no call to draw"):
        figures.call_tree_figure([], "Nothing")


def test_the_map_of_the_shards(tiny_checkpoint):
    shards = {
        path.name: safetensors_header.read_header(path) for path in safetensors_header.shard_files(tiny_checkpoint)
    }
    name, tensors = next(iter(shards.items()))
    figure = figures.shard_figure(shards, tensors[0].name, "Shards")
    bars = [patch for patch in figure.axes[0].patches if round(patch.get_height(), 2) == 0.45]
    assert len(bars) == sum(map(len, shards.values()))
    assert png(figure).startswith(b"\x89PNG")
    assert f"{tensors[0].name} lies in {name}, bytes {tensors[0].begin:,} to" in figures.shard_description(
        shards, tensors[0].name
    )
    with pytest.raises(ValueError, match="No shard holds 'nothing'"):
        figures.shard_figure(shards, "nothing", "Shards")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("model.embed_tokens.weight", "embedding"),
        ("model.layers.3.self_attn.k_proj.weight", "attention"),
        ("model.layers.3.mlp.up_proj.weight", "MLP"),
        ("model.layers.3.post_attention_layernorm.weight", "norm"),
        ("model.norm.weight", "norm"),
        ("lm_head.weight", "lm_head"),
        ("transformer.h.0.attn.c_attn.weight", "attention"),
        ("transformer.h.0.ln_1.weight", "norm"),
        ("score.weight", "other"),
    ],
)
def test_a_parameter_belongs_to_the_part_that_its_name_tells(name, part):
    assert figures.part_of(name) == part


def test_the_shares_of_the_parts_are_one_together(loaded):
    shares = figures.parameter_shares(loaded[1])
    assert sum(shares.values()) == pytest.approx(1)
    embedding = loaded[1].get_input_embeddings().weight.numel() / sum(p.numel() for p in loaded[1].parameters())
    assert shares["embedding"] == pytest.approx(embedding)
    assert png(figures.parameter_figure({"tiny": shares}, "Shares")).startswith(b"\x89PNG")
    assert "tiny: embedding" in figures.parameter_description({"tiny": shares})


def test_a_module_without_known_names_is_other():
    assert figures.parameter_shares(torch.nn.Linear(2, 2)) == {"other": 1.0}
