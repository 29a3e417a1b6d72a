"""A GGUF file: its header, the ledger of its load, and what is said where one stands in the place of a folder."""

import shutil

import gguf
import numpy
import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import compat, record
from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints.gguf_weights import INSIDE_BLOCKS, OUTSIDE_BLOCKS
from helpers.checkpoints.tiny_build import CONFIG, VOCABULARY
from helpers.gguf_header import read_gguf_header
from helpers.safetensors_header import read_header, shard_files

QUANTISED = gguf.GGMLQuantizationType.Q4_0


def gguf_name(key: str) -> str:
    """'model.layers.0.mlp.up_proj.weight' -> 'blk.0.ffn_up.weight'."""
    parts = key.split(".")
    if parts[1] == "layers":
        inside = {own: name for name, own in INSIDE_BLOCKS.items()}
        return f"blk.{parts[2]}.{inside['.'.join(parts[3:-1])]}.weight"
    outside = {own: name for name, own in OUTSIDE_BLOCKS.items()}
    return f"{outside['.'.join(parts[:-1])]}.weight"


def shapes(checkpoint) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape for file in shard_files(checkpoint) for tensor in read_header(file)}


@pytest.fixture(scope="module")
def gguf_file(tiny_checkpoint, tmp_path_factory):
    """The shapes of the tiny checkpoint in one GGUF file, its matrices in Q4_0."""
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_name("tiny")  # 4.47 asks for it
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_rope_freq_base(CONFIG["rope_theta"])
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{number}" for number in range(VOCABULARY)])
    writer.add_token_types([1] * VOCABULARY)
    numbers = numpy.random.default_rng(0)
    for key, shape in shapes(tiny_checkpoint).items():
        values = numbers.standard_normal(shape, dtype=numpy.float32)
        if len(shape) == 1:
            writer.add_tensor(gguf_name(key), values)
        else:
            writer.add_tensor(gguf_name(key), gguf.quants.quantize(values, QUANTISED), raw_dtype=QUANTISED)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_the_header_is_that_of_gguf_s_own_reader(gguf_file):
    header, reader = read_gguf_header(gguf_file), gguf.GGUFReader(gguf_file)
    own = {tensor.name: tensor for tensor in header.tensors}
    assert set(own) == {tensor.name for tensor in reader.tensors}
    for tensor in reader.tensors:
        found = own[tensor.name]
        assert (found.begin, found.nbytes) == (tensor.data_offset, tensor.n_bytes)
        assert list(found.shape) == tensor.shape.tolist()[::-1]
        assert found.dtype == {"F32": "float32"}.get(tensor.tensor_type.name, tensor.tensor_type.name)
    assert header.metadata["llama.block_count"] == CONFIG["num_hidden_layers"]
    assert header.nbytes == sum(tensor.n_bytes for tensor in reader.tensors)


def test_a_damaged_file_is_told(gguf_file, tmp_path):
    whole = gguf_file.read_bytes()
    for content, says in (
        (b"", "does not begin with GGUF"),
        (b"GGUF", "ends too early"),
        (whole[:200], "ends too early"),
        (whole[:-1000], "truncated or altered"),
        (whole[:4] + b"\x00\x00\x00\x03" + whole[8:], "version"),
    ):
        (tmp_path / "damaged.gguf").write_bytes(content)
        with pytest.raises(CheckpointError, match=says):
            read_gguf_header(tmp_path / "damaged.gguf")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_gguf_header(tmp_path / "nothing.gguf")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_ledger_has_the_types_and_bytes_of_the_file(gguf_file, dtype):
    with record("landmarks") as recording:
        AutoModelForCausalLM.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name, **compat.dtype_argument(dtype))
    stored = {tensor.name: tensor for tensor in read_gguf_header(gguf_file).tensors}
    ledger = recording.parameters().set_index("key")
    assert len(ledger) == len(stored)
    for key, row in ledger.iterrows():
        tensor = stored[gguf_name(key)]
        assert (row["begin"], row["end"], row["disk_dtype"]) == (tensor.begin, tensor.end, tensor.dtype)
        assert row["cast"] == (row["disk_dtype"] != row["dtype"])
    assert set(ledger["disk_dtype"]) == {"Q4_0", "float32"}
    (shard,) = recording.shards().to_dict("records")
    assert shard["disk_bytes"] == sum(tensor.nbytes for tensor in stored.values())
    assert shard["casts"] == len(stored) if dtype is torch.bfloat16 else (ledger["disk_dtype"] == "Q4_0").sum()


def test_a_file_that_is_gone_when_the_recording_ends_leaves_the_rows_without_its_bytes(gguf_file, tmp_path):
    copy = shutil.copy(gguf_file, tmp_path / "copy.gguf")
    with record("landmarks") as recording:
        AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=copy.name)
        copy.unlink()
    ledger = recording.parameters()
    assert len(ledger) == len(read_gguf_header(gguf_file).tensors)
    assert set(ledger["status"]) == {"loaded"}
    assert set(ledger["file"]) == {"copy.gguf"}
    assert ledger["disk_dtype"].isna().all()  # not the float32 that transformers makes of any
    (warning,) = recording.warnings
    assert "loading ledger: byte ranges not observed" in warning
