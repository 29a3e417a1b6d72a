"""Checkpoints with the shape of a published model and random weights: what a load and a generation cost, without it.

    python -m helpers checkpoint --shape llama-2-7b FOLDER      13.5 GB: float16, two shards, 291 tensors

Every tensor is written as it is made, so that the largest one (262 MB) is what it takes of the memory. The tokenizer
is trained here, on the article's prompt, which is 173 of its tokens as it is of Llama-2's. What such a model writes is
noise, and it may stop early: give `min_new_tokens` too.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import article, safetensors_header
from helpers.checkpoint_error import CheckpointError
from helpers.forecasting.settings import PROMPT_TOKENS
from helpers.model_shapes import LLAMA_2_7B

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

SHAPES = {
    "llama-2-7b": LLAMA_2_7B,
    # the same layout, scaled down: for tests
    "llama-2-7b-scaled": LLAMA_2_7B
    | {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2, "num_attention_heads": 4}
    | {"num_key_value_heads": 4},
    # a gigabyte: for measurements on a GPU
    "llama-2-7b-middle": LLAMA_2_7B
    | {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 8, "num_attention_heads": 16}
    | {"num_key_value_heads": 16},
}
SHARDS = 2
DTYPE_BYTES = 2  # float16
SEED = 0
DEVIATION = LLAMA_2_7B["initializer_range"]
SPACE_TO_SPARE = 100_000_000
"""Bytes that must stay free on the disk beside the checkpoint."""
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
COLUMNS = 1 << 22
"""Random numbers made at a time: 16 MiB in float32."""


def write(shape: str, folder: str | Path, *, progress: bool | None = None) -> Path:
    """Write the checkpoint of a shape (one of SHAPES) into `folder`, which must be absent or empty; return it.

    It is written beside its place and moved there when it is whole. progress: a bar on stderr; None shows it only on a
    terminal. Raises CheckpointError for an unknown shape, a folder that holds something, and a disk without the room.
    """
    if shape not in SHAPES:
        raise CheckpointError(f"there is no shape {shape!r}: give one of {', '.join(SHAPES)}")
    folder = Path(folder).expanduser().absolute()
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise CheckpointError(f"{folder} holds something already: give a folder that does not exist, or is empty")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_space(shape, folder.parent)
        if unfinished.exists():
            shutil.rmtree(unfinished)  # left by a run that was killed
        unfinished.mkdir()
        _write_files(SHAPES[shape], unfinished, progress)
        if folder.exists():
            folder.rmdir()  # empty
        unfinished.rename(folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder} cannot be written ({error.strerror or error}): free disk space, or give another folder"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def checkpoint_bytes(shape: str) -> int:
    """Bytes of a shape's tensors."""
    return sum(DTYPE_BYTES * _count(size) for _, size in _tensors(SHAPES[shape]))


def _check_space(shape: str, folder: Path) -> None:
    needed, free = checkpoint_bytes(shape) + SPACE_TO_SPARE, shutil.disk_usage(folder).free
    if free < needed:
        raise CheckpointError(
            f"a checkpoint of the shape {shape} needs {needed / 1e9:.1f} GB in {folder}, and {free / 1e9:.1f} GB are "
            "free: free some, or give a folder on another disk"
        )


def _write_files(config: dict, folder: Path, progress: bool | None) -> None:
    tokenizer = prompt_tokenizer(config["vocab_size"])
    tokenizer.save(str(folder / "tokenizer.json"))
    ids = {name: config[name] for name in ("bos_token_id", "eos_token_id")}
    contents = {
        "config.json": config,
        "generation_config.json": ids,
        "tokenizer_config.json": {
            "bos_token": SPECIAL_TOKENS[1],
            "clean_up_tokenization_spaces": False,
            "eos_token": SPECIAL_TOKENS[2],
            # Without it 4.x adds token_type_ids, which generate refuses.
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": config["max_position_embeddings"],
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": SPECIAL_TOKENS[0],
        },
    }
    _write_weights(config, folder, progress)
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_weights(config: dict, folder: Path, progress: bool | None) -> None:
    import torch
    from tqdm import tqdm

    generator = torch.Generator().manual_seed(SEED)
    index, shards = {}, _shards(list(_tensors(config)))
    total = sum(DTYPE_BYTES * _count(size) for shard in shards for _, size in shard)
    with tqdm(
        total=total, desc="Writing", unit="B", unit_scale=True, disable=None if progress is None else not progress
    ) as bar:
        for number, shard in enumerate(shards, 1):
            file = f"model-{number:05}-of-{len(shards):05}.safetensors"
            with open(folder / file, "wb") as stream:
                stream.write(_header(shard))
                for name, size in shard:
                    for part in _random_parts(name, _count(size), generator):
                        bar.update(stream.write(part.numpy()))
                    index[name] = file
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (folder / safetensors_header.INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _header(shard: list[tuple[str, tuple[int, ...]]]) -> bytes:
    """The beginning of a safetensors file; its layout is told in helpers/safetensors_header.py."""
    entries, begin = {"__metadata__": {"format": "pt"}}, 0
    for name, size in shard:
        end = begin + DTYPE_BYTES * _count(size)
        entries[name] = {"dtype": "F16", "shape": list(size), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _random_parts(name: str, count: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """`count` float16 numbers in pieces: ones for a norm, else normal with the model's initial deviation."""
    import torch

    for begin in range(0, count, COLUMNS):
        size = min(COLUMNS, count - begin)
        if name.endswith("norm.weight"):
            yield torch.ones(size, dtype=torch.float16)
        else:
            yield torch.empty(size).normal_(0, DEVIATION, generator=generator).half()


def _tensors(config: dict) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of each parameter, in the model's own order, as the library builds it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**{name: value for name, value in config.items() if name != "model_type"}))
    for name, tensor in model.named_parameters():
        yield name, tuple(tensor.shape)


def _shards(tensors: list[tuple[str, tuple[int, ...]]]) -> list[list[tuple[str, tuple[int, ...]]]]:
    """Cut where three quarters of the bytes are through: the published checkpoint has 9.98 and 3.50 GB."""
    total, sofar, shards = sum(_count(size) for _, size in tensors), 0, [[] for _ in range(SHARDS)]
    for name, size in tensors:
        shards[0 if sofar + _count(size) <= total * 0.75 else 1].append((name, size))
        sofar += _count(size)
    return shards


def _count(size: tuple[int, ...]) -> int:
    count = 1
    for length in size:
        count *= length
    return count


def prompt_tokenizer(vocabulary: int) -> Tokenizer:
    """A byte-level BPE tokenizer of `vocabulary` tokens, with which the article's prompt is PROMPT_TOKENS long.

    It learns merges from that prompt, as many as give that length; the tokens that no text uses are reserved ones.
    Raises CheckpointError where no number of merges does.
    """
    text = article.prompt(None)
    smallest = len(SPECIAL_TOKENS) + 256
    low, high = smallest, vocabulary
    while low < high:  # the length falls as merges are added
        middle = (low + high) // 2
        if len(_trained(text, middle).encode(text)) > PROMPT_TOKENS:
            low = middle + 1
        else:
            high = middle
    trained = _trained(text, low)
    found = len(trained.encode(text))
    if found != PROMPT_TOKENS:
        raise CheckpointError(f"the prompt is {found} tokens with the tokenizer trained here, not {PROMPT_TOKENS}")
    return _filled_up(trained, vocabulary)


def _trained(text: str, vocabulary: int) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        [text],
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
        ),
    )
    return tokenizer


def _filled_up(tokenizer: Tokenizer, vocabulary: int) -> Tokenizer:
    """The same tokenizer with reserved tokens up to `vocabulary`, so that any id of the model has a text."""
    from tokenizers import Tokenizer

    content = json.loads(tokenizer.to_str())
    tokens = content["model"]["vocab"]
    tokens |= {f"<reserved_{number:05}>": number for number in range(len(tokens), vocabulary)}
    return Tokenizer.from_str(json.dumps(content))
