"""The five questions of the course: what a committed notebook printed answers each, rightly."""

import nbformat
import pytest
from transformers import AutoConfig

from helpers import checkpoints, course_frame, notebooks, safetensors_header


def cells(number: str) -> list:
    path = next(path for path in notebooks.paths() if path.stem.startswith(number))
    return nbformat.read(path, as_version=4).cells


def printed(number: str) -> str:
    """What the cells of a notebook wrote, as text."""
    texts = [output.get("text", "") for cell in cells(number) if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(texts)


def prose(number: str) -> str:
    return "\n".join(cell.source for cell in cells(number) if cell.cell_type == "markdown")


@pytest.fixture(scope="module")
def demo():
    return checkpoints.demo()


def test_why_is_memory_low_after_loading_and_high_after_the_first_forward():
    """04 measured both, and says mmap."""
    claims = (
        "✓ the load allocated less than a tenth of the weights' bytes",
        "✓ after the first forward pass the weights are in RAM, as pages of the shards",
    )
    assert all(claim in printed("04") for claim in claims)
    assert "The shards were mapped into memory ([mmap](../docs/glossary.md#mmap)), not read" in prose("04")


def test_which_file_and_byte_range_hold_layer_7s_k_proj(demo):
    """02 printed the place that the header of the demo checkpoint's shard has."""
    name = "model.layers.7.self_attn.k_proj.weight"
    for shard in safetensors_header.shard_files(demo):
        for tensor in safetensors_header.read_header(shard):
            if tensor.name == name:
                assert f"{shard.name} bytes {tensor.begin} to {tensor.end} (exclusive)\n" in printed("02")
                return
    raise AssertionError(f"{name} is in no shard")


def test_what_shape_has_the_key_in_sdpa_at_decode_step_3_and_why_not_all_heads(demo):
    """07 printed the recorded shape, says whose heads, and shows the version that had a head for each query."""
    config, positions = AutoConfig.from_pretrained(demo), 173 + 3
    size = config.hidden_size // config.num_attention_heads
    key = (1, config.num_key_value_heads, positions, size)
    copied = (1, config.num_attention_heads, positions, size)
    assert f"key {key}\n" in printed("07").partition("5.23.0")[2]
    assert f"4.47.1  decode step 3: query (1, 9, 1, {size}), key {copied}\n" in printed("07")
    assert "enable_gqa=True\n" in printed("07")
    assert "each head of the key serves its group of query heads" in prose("07")


def test_which_sampling_arguments_do_nothing_without_do_sample():
    """06 gave them to a greedy run and got the same tokens; 08 says so of the chain, and asks for others."""
    assert "✓ greedy: temperature, top-k and top-p were set, and are not there" in printed("06")
    assert "✓ with them or without, the tokens are the same" in printed("06")
    assert "Without `do_sample`, temperature, top-k, top-p and min-p do nothing." in prose("08")
    assert "✓ the chain is empty" in printed("08")
    solved = [one.solved for one in course_frame.exercises(cells("08"))]
    assert any('answer = {"typical_p", "epsilon_cutoff", "eta_cutoff"}' in answer for answer in solved)


def test_what_would_break_first_if_sample_were_renamed():
    """10 renamed it in the table: the look-up by name first, then the chosen token, and nothing else."""
    in_order = (
        "1 gone (gen.sample)",
        "gone · 0 calls",
        "✓ of all landmarks, this one is missing",
        "✓ prefill and decode steps are still told apart",
        "✓ which token was chosen is no longer observed",
    )
    places = [printed("10").find(text) for text in in_order]
    assert -1 not in places
    assert places == sorted(places)
