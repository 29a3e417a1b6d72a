"""torch.compile beside a recording: what is compiled is the reader's model alone; what is not seen of it is said."""

import warnings

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import record

IDS = torch.tensor([[5, 6, 7]])


@pytest.fixture
def model(tiny_checkpoint):
    torch._dynamo.reset()
    yield AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    torch._dynamo.reset()


def frames_of(work) -> tuple[dict, int]:
    """What torch.compile looked at meanwhile: frames by outcome, and graph breaks."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with torch.no_grad():
        work()
    counters = torch._dynamo.utils.counters
    return dict(counters["frames"]), sum(counters["graph_break"].values())


def test_the_probes_are_not_compiled(model):
    compiled = torch.compile(model, backend="eager")
    plain = frames_of(lambda: compiled(IDS))

    def recorded():
        with warnings.catch_warnings(record=True) as told, record("calls", "modules", "functions"):
            compiled(IDS)
        assert not [one for one in told if "helpers" in str(one.message)]
        assert not [one for one in told if "Dynamo" in str(one.message)]

    assert frames_of(recorded) == plain
    assert plain[0]["ok"] >= 1


def test_a_model_that_is_called_compiled_is_said_to_be_unseen(model):
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(IDS)
        with pytest.warns(UserWarning, match="The calls inside the model are missing"), record() as recording:
            compiled(IDS)
    assert recording.modules()["class"].tolist() == ["OptimizedModule", type(model).__name__]
    with torch.no_grad(), torch.compiler.set_stance("force_eager"), record() as recording:
        compiled(IDS)
    assert recording.warnings == []
    assert len(recording.modules()) > 10
