"""Tensor parallelism as transformers does it: one model over several ranks, each with a part of every matrix.

The ranks are processes of this machine under torch.distributed.run: with a GPU each (nccl) where there are enough, else
on the CPU (gloo). What shards the weights and adds the collectives is transformers' own plan (`DistributedConfig`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from . import compat
from .ranks import RankError, checked_ranks, record_ranks
from .recording.recording import Recording

SCRIPT = Path(__file__).parent / "rank_scripts" / "tensor_parallel_generate.py"
PROMPT = "The capital of France is"


@dataclass(frozen=True)
class TensorParallelRun:
    """A run over several ranks: `recording` of all of them, `logits` (positions, vocabulary) of the prompt's forward
    pass and `tokens` (prompt and generated ids), both as rank 0 has them, float32 and int64."""

    recording: Recording
    logits: torch.Tensor
    tokens: torch.Tensor


def record_tensor_parallel(
    checkpoint: str | Path,
    ranks: int,
    *,
    prompt: str = PROMPT,
    new_tokens: int = 4,
    port: int | None = None,
    seconds: float = 600,
) -> TensorParallelRun:
    """Load `checkpoint` in float32 over `ranks` processes, run one prefill and a greedy generate(), all recorded.

    `port`: where the ranks meet; None takes a free one. `seconds`: how long the run may take.
    Raises RankError before anything starts when the checkpoint's config cannot be read, when the model has no heads or
    they cannot be divided by `ranks`, when `new_tokens` is below 1, when the installed transformers has no
    DistributedConfig(tp_size=…), on Apple's GPUs, or when `port` is in use; and when a rank dies or the time is over.
    """
    checked_ranks(ranks)
    if not isinstance(new_tokens, int) or new_tokens < 1:
        raise RankError(f"new_tokens={new_tokens!r}: give a whole number above 0.")
    _check_division(checkpoint, ranks)
    if torch.backends.mps.is_available():
        raise RankError("transformers takes Apple's GPU for its ranks, and PyTorch has no tensor parallelism there.")
    try:
        compat.tensor_parallel_arguments(ranks)
    except NotImplementedError as error:
        raise RankError(str(error)) from None
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.safetensors")
        arguments = [str(checkpoint), prompt, str(new_tokens), str(result)]
        paths = record_ranks(
            SCRIPT,
            arguments,
            ranks,
            Path(folder, "run.json.gz"),
            port=port,
            seconds=seconds,
            environment={} if torch.cuda.device_count() >= ranks else {"CUDA_VISIBLE_DEVICES": ""},
        )
        tensors = load_file(result)
        return TensorParallelRun(Recording.merge(paths), tensors["logits"], tensors["tokens"])


def _check_division(checkpoint: str | Path, ranks: int) -> None:
    """Raises RankError unless each rank gets as many whole heads as the others."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(checkpoint).get_text_config()
    except (OSError, ValueError) as error:
        raise RankError(
            f"{checkpoint} has no config that transformers can read: {' '.join(str(error).split())}"
        ) from error
    query = getattr(config, "num_attention_heads", None)
    if not isinstance(query, int):
        raise RankError(f"A {config.model_type} model has no attention heads to be divided over ranks.")
    key_value = getattr(config, "num_key_value_heads", None) or query
    if query % ranks or key_value % ranks:
        fitting = [str(count) for count in range(2, key_value + 1) if not (query % count or key_value % count)]
        raise RankError(
            f"{query} query heads and {key_value} key/value heads cannot be divided over {ranks} ranks: "
            + (f"take {' or '.join(fitting)} of them." if fitting else "this model cannot be split by its heads.")
        )
