"""Models that have their own forward or prepare_inputs_for_generation in place of the library's."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaForCausalLM, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from helpers import record

IDS = torch.tensor([[5, 6, 7]])
NEW_TOKENS = 6


def observed(recording, landmark):
    rows = recording.landmarks().set_index("landmark")
    return int(rows.loc[landmark, "calls"]), rows.loc[landmark, "observed"]


@pytest.mark.parametrize("zoom", [(), ("landmarks",)], ids=["default", "landmarks"])
def test_a_forward_that_an_overriding_one_calls_did_run(zoom):
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 2 * super().forward(ids)

    model = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4))
    scaled = nn.Sequential(Scaled(9, 4), nn.Linear(4, 4))
    with record(*zoom) as recording:
        model(IDS)
        scaled(IDS)
        scaled(IDS)
    assert observed(recording, "fwd.embed") == (3, "yes")
    assert len(recording.find("fwd.embed")) == 3
    if not zoom:
        assert list(recording.modules()["path"]) == ["", "0", "1"] * 3


@pytest.fixture(scope="module")
def openai_gpt():
    config = OpenAIGPTConfig(vocab_size=320, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    return OpenAIGPTLMHeadModel(config).eval()


def generate(model):
    return model.generate(
        IDS, attention_mask=torch.ones_like(IDS), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS,
        do_sample=True, top_k=5, pad_token_id=0,
    )  # fmt: skip


def test_steps_are_told_of_a_model_that_prepares_its_inputs_itself(openai_gpt):
    with record("modules", "sampling", steps=2) as recording:
        generate(openai_gpt)
        generate(openai_gpt)
    steps = recording.steps()
    assert list(steps["step"]) == [*range(NEW_TOKENS)] * 2
    assert list(steps["kept"]) == [step < 2 for step in range(NEW_TOKENS)] * 2
    assert set(steps["tokens"]) == {1}
    of_a_step = recording.modules(step=1, generation=1)["path"]
    assert {"transformer.h.0", "transformer.h.1", "lm_head"} <= set(of_a_step)
    assert len(of_a_step) == len(recording.modules()) / 4
    assert len(recording.sampling(0, generation=1)) >= 2
    assert observed(recording, "gen.prepare_inputs") == (
        0, "not observed: OpenAIGPTLMHeadModel.prepare_inputs_for_generation ran in its place",
    )  # fmt: skip
    assert recording.warnings == []


def test_one_that_calls_the_librarys_has_each_step_once(tiny_checkpoint):
    class Own(LlamaForCausalLM):
        def prepare_inputs_for_generation(self, *inputs, **kwargs):
            return super().prepare_inputs_for_generation(*inputs, **kwargs)

        def _update_model_kwargs_for_generation(self, *inputs, **kwargs):
            return super()._update_model_kwargs_for_generation(*inputs, **kwargs)

    plain, own = AutoModelForCausalLM.from_pretrained(tiny_checkpoint), Own.from_pretrained(tiny_checkpoint)
    recordings = []
    for model in (plain, own):
        with record("modules") as recording:
            generate(model)
        recordings.append(recording)
    columns = ["generation", "step", "kept", "kv_tokens", "kv_bytes", "tokens"]
    assert recordings[1].steps()[columns].equals(recordings[0].steps()[columns])
    assert observed(recordings[1], "gen.prepare_inputs") == (4, "yes")
