"""Models with their tokenizers, in float32, for tests: loaded once, not to be changed."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import compat


def _load(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, **compat.dtype_argument(torch.float32))
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_pair(tiny_checkpoint):
    return _load(tiny_checkpoint)


@pytest.fixture(scope="session")
def demo_pair(demo_checkpoint):
    return _load(demo_checkpoint)


@pytest.fixture(params=["tiny_pair", "demo_pair"], ids=["tiny", "demo"])
def pair(request):
    """Each of the two in turn."""
    return request.getfixturevalue(request.param)
