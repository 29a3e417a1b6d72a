"""Whether the weights of a Hub model can be fetched, asked before anything is: are they there, and is there room."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from helpers import safetensors_header
from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints.hub_errors import USE_DEMO, plain_hub_errors
from helpers.folders import nearest_existing

PICKLED_INDEX = "pytorch_model.bin.index.json"
PICKLED_WEIGHTS = ("pytorch_model.bin", PICKLED_INDEX)
INDEXES = (safetensors_header.INDEX, PICKLED_INDEX)


def check_weights_on_hub(model: str) -> None:
    """Ask for the weights' metadata, so that a missing or gated file, or a full disk, is told before the download.

    Raises CheckpointError.
    """
    from huggingface_hub.errors import EntryNotFoundError

    name, size = _weights_file(model)
    if name in INDEXES:
        for shard in _shards(model, name):
            try:
                size += _bytes_to_fetch(model, shard)
            except EntryNotFoundError as error:
                raise CheckpointError(
                    f"{name} of {model} names {shard}, which is not on the Hub: choose another model, {USE_DEMO}"
                ) from error
    _check_space(model, size)


def _weights_file(model: str) -> tuple[str, int]:
    """The file that transformers asks for first among those there are, and its size in bytes."""
    from huggingface_hub.errors import EntryNotFoundError

    for name in (safetensors_header.SINGLE_FILE, safetensors_header.INDEX, *PICKLED_WEIGHTS):
        try:
            return name, _bytes_to_fetch(model, name)
        except EntryNotFoundError:
            continue
    raise CheckpointError(f"{model} has no weights for transformers on the Hub: choose another model, {USE_DEMO}")


def _bytes_to_fetch(model: str, name: str) -> int:
    """The size of a file on the Hub; 0 where it is cached, or where the Hub does not tell it."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(model, name), str):
        return 0
    with plain_hub_errors(model, missing_file_is_error=False):
        return get_hf_file_metadata(hf_hub_url(model, name)).size or 0


def _shards(model: str, index: str) -> list[str]:
    from huggingface_hub import hf_hub_download

    with plain_hub_errors(model):
        path = Path(hf_hub_download(model, index))
    try:
        return sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not an index of shards: choose another model, {USE_DEMO}") from error


def _check_space(model: str, needed: int) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(nearest_existing(cache)).free
    if free < needed:
        raise CheckpointError(
            f"The weights of {model} that are still to be fetched have {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB "
            f"are free in {cache}: free some, set HF_HUB_CACHE to a folder on another disk, {USE_DEMO}"
        )
