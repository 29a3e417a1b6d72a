"""The figures of placement: what is drawn is what the tables say."""

import pandas as pd
import pytest
import torch

from helpers import Recording, placement, record
from helpers.events import RecordingError
from helpers.process_group import BEGAN
from helpers.views import placement_figures
from helpers.views.pictures import png

ON_CPU = ("model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.norm", "lm_head")


@pytest.fixture(scope="module")
def offloaded(tiny_checkpoint, tmp_path_factory):
    device_map = dict.fromkeys(ON_CPU, "cpu") | {"model.layers.1": "disk"}
    model = placement.load(tiny_checkpoint, device_map=device_map, offload_folder=tmp_path_factory.mktemp("offload"))
    with record() as recording:
        model(torch.arange(3, 9)[None])
    return model, recording


def bars(figure) -> list[tuple[float, float]]:
    """(left end, width) of each bar, in the order in which they were drawn."""
    return [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches]


def test_the_map_is_as_long_as_the_weights_without_gaps(offloaded):
    where = placement.where(offloaded[0])
    figure = placement_figures.placement_figure(where)
    total, ends = where["nbytes"].sum(), []
    for left, width in bars(figure):
        ends.append(left + width)
        assert left in (0, *ends)
    assert ends.count(total) == 2  # the last part, and the last place
    by_place = where.groupby("device")["nbytes"].sum()
    assert {width for _, width in bars(figure)[-2:]} == set(by_place)
    assert png(figure).startswith(b"\x89PNG")


def test_the_recorded_weights_draw_the_same_places(offloaded):
    drawn = placement_figures.placement_description(offloaded[1].weights())
    assert drawn == placement_figures.placement_description(placement.where(offloaded[0]))
    assert "144.5 KiB on disk" in drawn


def test_the_transfers_are_one_bar_per_layer(offloaded):
    moved = int(offloaded[1].transfers()["nbytes"].sum())
    figure = placement_figures.transfer_figure(offloaded[1])
    assert bars(figure) == [(0, moved)]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["layer 1"]
    assert placement_figures.transfer_description(offloaded[1]).startswith("1 bars")


def test_a_recording_that_moved_nothing_has_no_figure():
    with record() as nothing:
        torch.nn.Linear(2, 2)(torch.zeros(1, 2))
    with pytest.raises(RecordingError, match="No hook moved weights"):
        placement_figures.transfer_figure(nothing)


def test_lanes_of_ranks_need_a_recording_of_ranks_with_that_step(offloaded, tmp_path):
    copies = [Recording.load(offloaded[1].save(tmp_path / f"{rank}.json.gz")) for rank in (0, 1)]
    for rank, copy in enumerate(copies):
        copy.environment |= {"rank": rank, "world_size": 2, BEGAN: rank}
    merged = Recording.merge(copies)
    for asked in (placement_figures.rank_figure, placement_figures.rank_description):
        with pytest.raises(RecordingError, match=r"of one process: give Recording\.merge"):
            asked(offloaded[1])
        with pytest.raises(RecordingError, match="no decoder layer in step 0"):
            asked(merged)


class TwoRanks:
    """Two ranks of one layer, in two generations; rank 1 is in its layer while rank 0 is still in the embedding."""

    def to_frame(self):
        reduce = "torch.distributed.distributed_c10d:all_reduce"
        rows = [
            (0, "call", reduce, "", 4, 5),
            (0, "call", reduce, "", 5, 6),
            (0, "module", "LlamaDecoderLayer.forward", "model.layers.0", 7, 12),
            (0, "call", reduce, "", 8, 9),
            (1, "call", reduce, "", 1, 2),
            (1, "module", "LlamaDecoderLayer.forward", "model.layers.0", 3, 11),
            (1, "call", reduce, "", 8, 9),
        ]
        first = pd.DataFrame(rows, columns=["rank", "kind", "function", "path", "start", "end"])
        return pd.concat([first.assign(generation=0, step=1), first.assign(generation=1, step=1)])


def test_the_collectives_of_a_rank_are_those_within_its_own_layers():
    told = placement_figures.rank_description(TwoRanks(), step=1)
    assert told.endswith("1 decoder layers each, with 1 collectives in them.")
