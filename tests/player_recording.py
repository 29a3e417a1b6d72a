"""A recording for the player's tests: a random Llama of six layers in several shards, loaded, asked and recorded."""

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from helpers.recording.recording import Recording
from tests.recorded_call import recorded_call

LAYERS = 6
ZOOM = ("landmarks", "modules", "functions", "lines", "memory", "sampling", "values")


def six_layers(tiny_checkpoint: Path, folder: Path) -> Path:
    """The tiny checkpoint's shape and tokenizer, with LAYERS layers: enough for equal ones to fold."""
    config = AutoConfig.from_pretrained(tiny_checkpoint)
    config.num_hidden_layers = LAYERS
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size="100KB")
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    return folder


def player_recording(tiny_checkpoint: Path, folder: Path) -> Recording:
    """Every zoom but calls; two generation steps in full, the later ones as summary rows."""
    return recorded_call(six_layers(tiny_checkpoint, folder), *ZOOM, steps=2)
