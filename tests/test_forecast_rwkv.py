"""RWKV keeps a state in place of keys and values, in a list of tensors that have all layers."""

import torch
from transformers import RwkvConfig, RwkvForCausalLM

from helpers import forecast

SIZES = {"vocab_size": 384, "hidden_size": 64, "attention_hidden_size": 64, "intermediate_size": 96}


def test_the_forecast_has_the_state_that_the_model_gives_and_it_does_not_grow():
    config = RwkvConfig(num_hidden_layers=2, **SIZES)
    with torch.no_grad():
        state = RwkvForCausalLM(config).eval()(torch.zeros(3, 5, dtype=torch.long), use_cache=True).state
    found = forecast(config, dtype="float32", prompt_tokens=5, new_tokens=7, batch=3)
    assert found.kv_cache == sum(tensor.nbytes for tensor in state)
    assert found.kv_cache_per_token == 0
    assert found.decode_activations is not None
    assert found.fits
    assert any("are the state of 2 layers" in note for note in found.notes)
