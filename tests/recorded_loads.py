"""Loads that are recorded, for the tests of the loading ledger, and a checkpoint that they may change."""

import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.recording.recording import Recording

IS_5 = transformers.__version__.startswith("5")


def load(checkpoint, **arguments) -> Recording:
    with record() as recording:
        AutoModelForCausalLM.from_pretrained(checkpoint, **arguments)
    return recording


def weights_of(checkpoint) -> dict[str, torch.Tensor]:
    return {key: value for file in checkpoint.glob("*.safetensors") for key, value in load_file(file).items()}


@pytest.fixture
def one_file(tiny_checkpoint, tmp_path):
    """A copy of the tiny checkpoint, to be changed, with its weights in one file."""
    folder = tmp_path / "copy"
    shutil.copytree(tiny_checkpoint, folder)
    weights = weights_of(folder)
    for file in [*folder.glob("*.safetensors"), folder / "model.safetensors.index.json"]:
        file.unlink()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
