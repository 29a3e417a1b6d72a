"""What a recording keeps: no tensor alive, and numbers that grow by a fixed amount with each token."""

import gc
import sys
import weakref

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import compat, record

PROMPT = (torch.arange(173) + 5).unsqueeze(0)
IN_FULL, IN_SUMMARY = (16_000, 100_000), (1_000, 400)
"""For each token that is kept in full, and for each of which only a summary row is kept: the most bytes in the file,
and in memory."""
TOKENS = (8, 24, 40)


@pytest.fixture(scope="module")
def model(demo_checkpoint):
    return AutoModelForCausalLM.from_pretrained(demo_checkpoint, **compat.dtype_argument(torch.float32))


@pytest.fixture(scope="module")
def tiny(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint, **compat.dtype_argument(torch.float32))


def recorded(model, tokens: int, steps: int | None, *zoom: str):
    settings = {"do_sample": False, "max_new_tokens": tokens, "min_new_tokens": tokens}
    with record(*zoom, steps=steps) as recording:
        model.generate(input_ids=PROMPT, attention_mask=torch.ones_like(PROMPT), **settings)
    assert len(recording.steps()) == tokens
    return recording


def living_bytes() -> int:
    """Bytes of all tensors that are alive, each storage once."""
    gc.collect()
    plain = (torch.Tensor, torch.nn.Parameter)  # other tests may have left sparse, quantised or fake ones
    tensors = [one for one in gc.get_objects() if type(one) in plain and one.device.type == "cpu"]
    tensors = [one for one in tensors if one.layout == torch.strided]
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


def held_bytes(value: object, seen: set[int] | None = None) -> int:
    """Bytes of memory that a recording, or a part of it, holds: of each object once."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return sys.getsizeof(value) if value.base is None else value.nbytes + held_bytes(value.base, seen)
    parts = []
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, (list, tuple, set)):
        parts = list(value)
    elif hasattr(value, "__dict__"):
        parts = list(vars(value).values())
    return sys.getsizeof(value) + sum(held_bytes(part, seen) for part in parts)


@pytest.mark.parametrize("steps", [None, 4], ids=["in full", "in summary"])
def test_the_memory_of_a_recording_grows_by_the_same_for_each_token(tiny, steps):
    """Of the tiny model, so that it is fast; how much each token takes is of the demo model, below."""
    small, middle, large = (held_bytes(recorded(tiny, tokens, steps)) for tokens in TOKENS)
    assert 0 < large - middle <= 1.25 * (middle - small) + 4_000  # lists have some room to spare
    assert large - middle >= 0.75 * (middle - small) - 4_000


@pytest.mark.parametrize("zoom", [("sampling",), ("functions", "values")], ids="+".join)
def test_the_other_zooms_grow_by_the_same_for_each_token_too(tiny, zoom):
    small, middle, large = (held_bytes(recorded(tiny, tokens, None, *zoom)) for tokens in TOKENS)
    assert 0 < large - middle <= 1.25 * (middle - small) + 4_000


@pytest.mark.slow
def test_64_tokens_leave_no_tensor_alive(model):
    outputs: list[weakref.ref] = []

    def watch(module, arguments, output):
        if isinstance(output, torch.Tensor):
            outputs.append(weakref.ref(output))

    hooks = [module.register_forward_hook(watch) for module in model.modules()]
    before = living_bytes()
    try:
        recording = recorded(model, 64, None)
    finally:
        for hook in hooks:
            hook.remove()
    assert living_bytes() == before
    assert len(outputs) > 64 * 300
    assert [reference for reference in outputs if reference() is not None] == []
    assert len(recording.modules(step=63)) > 300  # and it is all in there


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "most"), [(None, IN_FULL), (4, IN_SUMMARY)], ids=["in full", "in summary"])
def test_file_and_memory_grow_by_the_same_for_each_token(model, tmp_path, steps, most):
    def sizes(tokens: int) -> np.ndarray:
        """Bytes of the compressed file, of the plain one, and in memory."""
        recording = recorded(model, tokens, steps)
        files = [recording.save(tmp_path / f"{tokens}.{ending}").stat().st_size for ending in ("json.gz", "json")]
        return np.array([*files, held_bytes(recording)])

    small, middle, large = sizes(6), sizes(14), sizes(22)
    compressed, plain, held = (large - small) / 16
    assert compressed <= most[0]
    assert 0 < held <= most[1]
    assert plain > 0  # compressed, 16 rows are fewer bytes than two runs differ by
    assert (large - middle <= 1.5 * (middle - small) + 2_000).all()  # not faster and faster; gzip's blocks vary
