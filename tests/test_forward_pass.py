"""Values kept for a comparison by hand, and the operators that really ran."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from helpers import forward_pass

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def model(tiny_checkpoint):
    return AutoModelForCausalLM.from_pretrained(tiny_checkpoint, attn_implementation="sdpa").eval()


def _config(cls, **changes):
    settings = {
        "vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }  # fmt: skip
    return cls(**settings, **changes)


def test_kept_tensors_are_what_the_modules_were_given_and_gave(model):
    with forward_pass.kept_tensors(model) as kept, torch.no_grad():
        outputs = model(input_ids=IDS)
    embedding = model.model.embed_tokens.weight[IDS]
    assert torch.equal(kept.outputs["model.embed_tokens"], embedding)
    assert torch.equal(kept.inputs["model.embed_tokens"]["input"], IDS)
    assert torch.equal(kept.outputs["lm_head"], outputs.logits)
    assert torch.equal(kept.inputs["model.layers.1"]["hidden_states"], kept.outputs["model.layers.0"])
    cos, sin = kept.outputs["model.rotary_emb"]
    assert cos.shape == sin.shape == (1, 4, model.config.head_dim)
    assert kept.inputs["model.layers.0.self_attn.o_proj"]["input"].shape == (1, 4, 64)


def test_no_hook_is_left_also_after_an_exception(model):
    with forward_pass.kept_tensors(model):
        assert model.lm_head._forward_hooks
    assert not model.lm_head._forward_hooks
    with pytest.raises(IndexError), forward_pass.kept_tensors(model):
        model(input_ids=IDS + model.config.vocab_size)  # ids beyond the vocabulary
    assert not any(module._forward_hooks for module in model.modules())


def test_operators_tell_the_kernel_of_sdpa_and_the_softmax_of_eager(tiny_checkpoint, model):
    layers = model.config.num_hidden_layers
    with torch.no_grad(), forward_pass.operators() as ran:
        model(input_ids=IDS)
    assert sum(count for name, count in ran.items() if "scaled_dot_product" in name) == layers
    assert ran["aten::_softmax"] == 0
    eager = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, attn_implementation="eager").eval()
    with torch.no_grad(), forward_pass.operators() as ran_eagerly:
        eager(input_ids=IDS)
    assert ran_eagerly["aten::_softmax"] == layers
    assert not any("scaled_dot_product" in name for name in ran_eagerly)


def test_operators_are_counted_within_the_block_only():
    with forward_pass.operators() as ran:
        torch.ones(2) + 1
    torch.ones(2) + 1
    assert ran["aten::add.Tensor"] == 1


def test_another_architecture_and_another_llama_are_refused(model):
    forward_pass.require_llama(model)  # no error
    with pytest.raises(forward_pass.ForwardPassError, match=r"MistralForCausalLM is another model.*TRACE_MODEL"):
        forward_pass.require_llama(MistralForCausalLM(_config(MistralConfig)))
    for changes in ({"attention_bias": True}, {"mlp_bias": True}, {"hidden_act": "gelu"}):
        with pytest.raises(forward_pass.ForwardPassError, match="without biases"):
            forward_pass.require_llama(LlamaForCausalLM(_config(LlamaConfig, **changes)))
