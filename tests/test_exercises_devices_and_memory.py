"""The checks of notebook 09: every verdict, and no exception for any answer."""

import pytest
import torch
from transformers import AutoConfig

from helpers import forecast, placement, record
from helpers.exercises import NOT_ANSWERED, RIGHT, WRONG
from helpers.exercises.devices_and_memory import check_bytes_moved, check_shard_shape, check_weight_bytes

ODD = ["text", [1, 2], object(), True, -1, 0.5, float("nan"), 1j]
SHAPE, PLACEMENT = (64, 128), "Shard(dim=1) of 2"


@pytest.fixture(scope="module")
def fits(tiny_checkpoint):
    return forecast(AutoConfig.from_pretrained(tiny_checkpoint), dtype="float32")


@pytest.fixture(scope="module")
def recording(tiny_checkpoint, tmp_path_factory):
    on_cpu = ("model.embed_tokens", "model.rotary_emb", "model.layers.0", "model.norm", "lm_head")
    device_map = dict.fromkeys(on_cpu, "cpu") | {"model.layers.1": "disk"}
    model = placement.load(tiny_checkpoint, device_map=device_map, offload_folder=tmp_path_factory.mktemp("offload"))
    ids = torch.arange(3, 9)[None]
    with record() as recording:
        model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=2, min_new_tokens=2)
    return recording


def test_the_bytes_of_the_weights(fits):
    count = fits.parameters
    for answer, outcome, told in (
        (None, NOT_ANSWERED, ""),
        (count * 2, RIGHT, "2 bytes each"),
        (count, WRONG, "how many parameters"),
        (count * 16, WRONG, "bits"),
        (count * 4, WRONG, "half-precision"),
        (7, WRONG, "Multiply"),
    ):
        verdict = check_weight_bytes(answer, fits, torch.bfloat16)
        assert verdict.outcome == outcome
        assert told in verdict.explanation


def test_the_bytes_that_are_moved(recording):
    once = int(recording.transfers(step=0)["nbytes"].sum())
    assert once > 0
    for answer, outcome, told in (
        (None, NOT_ANSWERED, ""),
        (once * 5, RIGHT, "pays anew"),
        (once, WRONG, "one forward pass"),
        (len(recording.transfers(step=0)) * 5, WRONG, "how many calls"),
        (7, WRONG, "Sum the bytes"),
    ):
        verdict = check_bytes_moved(answer, recording, 5)
        assert verdict.outcome == outcome
        assert told in verdict.explanation


def test_the_shape_of_a_shard():
    for answer, outcome, told in (
        (None, NOT_ANSWERED, ""),
        ((64, 64), RIGHT, "Dimension 1 is divided"),
        (torch.Size([64, 64]), RIGHT, "Dimension 1"),
        (SHAPE, WRONG, "in the checkpoint"),
        ((32, 64), WRONG, "both dimensions"),
        ((32, 128), WRONG, "the wrong dimension"),
        ((7,), WRONG, "Divide the dimension"),
        ("64, 64", WRONG, "a tuple"),
    ):
        verdict = check_shard_shape(answer, SHAPE, PLACEMENT)
        assert verdict.outcome == outcome, answer
        assert told in verdict.explanation


@pytest.mark.parametrize("answer", ODD, ids=repr)
def test_no_answer_raises(fits, recording, answer):
    assert not check_weight_bytes(answer, fits, torch.float16)
    assert not check_bytes_moved(answer, recording, 5)
    assert not check_shard_shape(answer, SHAPE, PLACEMENT)
