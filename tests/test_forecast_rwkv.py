"""Models with a state in place of keys and values: RWKV's is a list of tensors that have all layers; that of
RecurrentGemma stays in its modules."""

import torch
from transformers import RecurrentGemmaConfig, RwkvConfig, RwkvForCausalLM

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


def test_a_state_that_stays_in_the_modules_is_told():
    config = RecurrentGemmaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=384, lru_width=64
    )
    found = forecast(config, dtype="float32", prompt_tokens=5, new_tokens=3)
    assert found.kv_cache is None
    assert found.fits is None
    assert "KV cache not known: it keeps its state in its modules, from where it is not read" in found.notes
