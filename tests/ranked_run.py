"""What holds of a model over several ranks, whatever their devices: checks of a run of record_tensor_parallel()."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers import compat
from helpers.tensor_parallel import PROMPT, TensorParallelRun

NEW_TOKENS = 4
LARGEST_DIFFERENCE = 1e-4
SYNCHRONOUS_SUM = "torch.distributed.distributed_c10d:all_reduce"  # a functional one returns at once, and waits later
CLOCK_ERROR = 1e5  # nanoseconds; without a common clock the ranks were milliseconds apart

try:
    compat.tensor_parallel_arguments(2)
except NotImplementedError as error:
    sharded = pytest.mark.skip(reason=str(error))
else:
    sharded = pytest.mark.slow


def check_run(run: TensorParallelRun, checkpoint, ranks: int, device: str = "cpu") -> None:
    """Logits and tokens are those of one process on `device`; ledger, collectives and KV cache are those of `ranks`."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, **compat.dtype_argument(torch.float32)).to(device)
    inputs = AutoTokenizer.from_pretrained(checkpoint)(PROMPT, return_tensors="pt").to(device)
    with torch.no_grad():
        logits = model(**inputs).logits[0].cpu()
    assert run.logits.shape == logits.shape
    assert (run.logits - logits).abs().max() < LARGEST_DIFFERENCE
    tokens = model.generate(**inputs, do_sample=False, min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS)
    assert run.tokens.tolist() == tokens[0].tolist()

    recording = run.recording
    assert sorted(set(recording.to_frame()["rank"])) == list(range(ranks))
    check_ledger(recording.parameters(), dict(model.named_parameters()), ranks)
    check_collectives(recording, len(compat.decoder_layers(model)), ranks)
    check_one_clock(recording.to_frame())
    heads = model.config.num_key_value_heads
    in_one = 2 * 4 * heads * model.config.head_dim * model.config.num_hidden_layers  # bytes of a position, float32
    steps = recording.steps()
    assert set(steps["kv_bytes"] / steps["kv_tokens"]) == {in_one / ranks}


def check_ledger(ledger, parameters: dict[str, torch.nn.Parameter], ranks: int) -> None:
    """Each rank holds its part of what its plan shards, and all of the rest; the parts are the whole."""
    loaded = ledger[ledger["status"] == "loaded"]
    assert len(loaded) == ranks * loaded["parameter"].nunique()
    for name, rows in loaded.groupby("parameter"):
        whole = tuple(parameters[name].shape)
        assert set(rows["disk_shape"]) == {whole}
        if rows["placement"].isna().all():
            assert set(rows["shape"]) == {whole}
            continue
        dimension = int(re.fullmatch(rf"Shard\(dim=(\d)\) of {ranks}", rows["placement"].iloc[0])[1])
        assert sum(shape[dimension] for shape in rows["shape"]) == whole[dimension]
        assert sum(math.prod(shape) for shape in rows["shape"]) == math.prod(whole)
        assert list(rows["nbytes"]) == [4 * math.prod(shape) for shape in rows["shape"]]
    projections = loaded[loaded["parameter"].str.contains("_proj")]
    assert projections["placement"].notna().all()
    assert loaded[loaded["parameter"].str.contains("norm")]["placement"].isna().all()


def check_collectives(recording, layers: int, ranks: int) -> None:
    """In each forward pass and rank: one all_reduce after the embedding, and two per layer."""
    for step in range(NEW_TOKENS):
        reduced = recording.find("all_reduce", step=step)
        assert set(reduced["function"]) == {"all_reduce"}
        assert reduced.groupby("rank").size().to_dict() == dict.fromkeys(range(ranks), 1 + 2 * layers)
        gathered = recording.find("all_gather", step=step)  # each rank has the logits of a part of the vocabulary
        assert len(gathered) == ranks


def check_one_clock(events) -> None:
    """A sum over all ranks ends in none before every rank has begun it: so the ranks are told on one clock."""
    sums = events[events["function"] == SYNCHRONOUS_SUM].sort_values("start")
    of_ranks = [own[["start", "end"]].to_numpy() for _, own in sums.groupby("rank")]
    first_end, last_begin = np.min(of_ranks, axis=0)[:, 1], np.max(of_ranks, axis=0)[:, 0]
    assert len(first_end) > 0
    assert (last_begin - first_end).max() < CLOCK_ERROR
