"""Reading a GGUF file of a Llama model: its tensors, dequantised, and its tokenizer, in Hugging Face's form.

Read with the `gguf` package and not through transformers' `gguf_file=`, which parses the file once for the
config, once for the tensors and once for the tokenizer, and whose result depends on the transformers
version. The tests hold this result to the model that transformers loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import torch
    from gguf import GGUFReader
    from tokenizers import Tokenizer

# GGUF's tensor names, without the block number, and Hugging Face's: gguf-py, constants.py and
# tensor_mapping.py.
OUTSIDE_BLOCKS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
INSIDE_BLOCKS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
CONTROL_TOKEN = 3  # gguf.TokenType.CONTROL


def value(reader: GGUFReader, key: str):
    """One metadata value of the file as a plain Python value; KeyError when the file does not have it."""
    return reader.fields[key].contents()


def huggingface_name(gguf_name: str) -> str:
    """'blk.3.attn_q.weight' -> 'model.layers.3.self_attn.q_proj.weight'. KeyError for what no Llama has."""
    parts = gguf_name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{int(parts[1])}.{INSIDE_BLOCKS[parts[2]]}.{parts[3]}"
    return f"{OUTSIDE_BLOCKS[parts[0]]}.{parts[1]}"


def dequantised(reader: GGUFReader) -> Iterator[tuple[str, torch.Tensor]]:
    """Each tensor as (Hugging Face name, float32 tensor), in the order of the model's layers.

    Dequantising is one multiplication and one addition per weight in float32, so every machine gives the
    same bits.
    """
    import gguf
    import torch

    heads = {
        "attn_q": value(reader, "llama.attention.head_count"),
        "attn_k": value(reader, "llama.attention.head_count_kv"),
    }
    for tensor in sorted(reader.tensors, key=_layer_order):
        weights = gguf.dequantize(tensor.data, tensor.tensor_type)
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            weights = _halves_apart(weights, heads[kind])
        yield huggingface_name(tensor.name), torch.from_numpy(weights.copy())


def _layer_order(tensor) -> tuple[int, int]:
    """Embedding, layers, last norm, head; inside a layer the order of INSIDE_BLOCKS, as the forward runs."""
    parts = tensor.name.split(".")
    if parts[0] == "blk":
        return int(parts[1]), list(INSIDE_BLOCKS).index(parts[2])
    return (-1, 0) if parts[0] == "token_embd" else (1_000_000, list(OUTSIDE_BLOCKS).index(parts[0]))


def _halves_apart(weights: numpy.ndarray, heads: int) -> numpy.ndarray:
    """Undo GGUF's order of the query and key rows.

    llama.cpp rotates neighbouring rows (0, 1), (2, 3), ...; transformers rotates row i with row i + head_dim
    / 2.
    """
    rows = weights.shape[0]
    return weights.reshape(heads, rows // heads // 2, 2, -1).swapaxes(1, 2).reshape(weights.shape)


def byte_level_tokenizer(reader: GGUFReader) -> Tokenizer:
    """The byte-level BPE tokenizer of a file whose pre-tokenizer is "smollm".

    "smollm" means: every digit stands alone, then GPT-2's splitting (llama.cpp, src/llama-vocab.cpp).
    transformers' own conversion of GGUF tokenizers leaves the first part out.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = value(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in value(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = value(reader, "tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    return tokenizer
