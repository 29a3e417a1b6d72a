"""The backend of attention, as it ran: told apart on the CPU, where torch has two."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModelForCausalLM

from helpers import compat
from helpers.attention_backend import attention_backends

LAYERS = 2


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), **compat.dtype_argument(torch.float32))


@pytest.mark.parametrize(("forced", "name"), [(SDPBackend.FLASH_ATTENTION, "flash"), (SDPBackend.MATH, "math")])
def test_the_backend_that_ran_is_told(model, forced, name):
    with sdpa_kernel(forced):
        table = attention_backends(lambda: model(torch.arange(3, 20)[None]))
    assert list(table["backend"]) == [name]
    assert list(table["calls"]) == [LAYERS]


def test_eager_attention_takes_none(tiny_checkpoint):
    eager = AutoModelForCausalLM.from_pretrained(
        str(tiny_checkpoint), attn_implementation="eager", **compat.dtype_argument(torch.float32)
    )
    assert len(attention_backends(lambda: eager(torch.arange(3, 20)[None]))) == 0


def test_an_error_of_the_work_is_its_own():
    with pytest.raises(ZeroDivisionError):
        attention_backends(lambda: 1 / 0)
