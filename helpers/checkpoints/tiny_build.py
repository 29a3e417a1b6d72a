"""A random Llama small enough to be made in a moment: the checkpoint of the fast tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.checkpoints import stored

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

RECIPE = "tiny-1"
REMEDY = "remove the folder, and it is made again"
SEED = 0
LARGEST_SHARD = "150KB"
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = 384  # 3 special tokens, 256 bytes, the rest merges

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TOKENIZER_TEXT = (
    "The capital of France is Paris. You walk one mile south, one mile west and one mile north and end up "
    "where you started: where are you? The model reads the tokens of the prompt at once, and then it writes "
    "one token at a time. The key and value of each token stay in the cache, so that the next step computes "
    "only what is new."
)
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 16,
    "hidden_act": "silu",
    "hidden_size": 64,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
    "vocab_size": VOCABULARY,
}


def tiny(folder: Path, *, rebuild: bool = False) -> Path:
    """Return `folder` with the tiny checkpoint, verified by hash; make it there if it is absent."""
    return stored.stored(folder, RECIPE, _write, remedy=REMEDY, rebuild=rebuild)


def _write(folder: Path) -> None:
    from huggingface_hub import save_torch_state_dict

    save_torch_state_dict(random_weights(), folder, max_shard_size=LARGEST_SHARD)
    _write_json(folder / "config.json", CONFIG)
    _write_json(folder / "generation_config.json", {key: CONFIG[key] for key in CONFIG if key.endswith("token_id")})
    byte_level_tokenizer().save(str(folder / "tokenizer.json"))
    end_of_text, start, end = SPECIAL_TOKENS
    _write_json(
        folder / "tokenizer_config.json",
        {
            "bos_token": start,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": end,
            # Without it 4.x adds token_type_ids, which generate refuses.
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": CONFIG["max_position_embeddings"],
            "pad_token": end,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": end_of_text,
        },
    )


def random_weights() -> dict[str, torch.Tensor]:
    """The state dict, float32: norms near 1, the rest normal with deviation 0.1, for uneven logits."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    weights = {}
    for name, shape in _shapes().items():
        noise = 0.1 * torch.randn(shape, generator=generator)
        weights[name] = 1 + noise if len(shape) == 1 else noise
    return weights


def _shapes() -> dict[str, tuple[int, ...]]:
    hidden, intermediate = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    query = CONFIG["num_attention_heads"] * CONFIG["head_dim"]
    key_value = CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    layer = {
        "input_layernorm": (hidden,),
        "self_attn.q_proj": (query, hidden),
        "self_attn.k_proj": (key_value, hidden),
        "self_attn.v_proj": (key_value, hidden),
        "self_attn.o_proj": (hidden, query),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    shapes = {"model.embed_tokens.weight": (VOCABULARY, hidden)}
    for index in range(CONFIG["num_hidden_layers"]):
        shapes |= {f"model.layers.{index}.{name}.weight": shape for name, shape in layer.items()}
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (VOCABULARY, hidden)}


def byte_level_tokenizer() -> Tokenizer:
    """Byte-level BPE like GPT-2's, with tokens learnt from TOKENIZER_TEXT; nothing is added to a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TOKENIZER_TEXT], trainer)
    return tokenizer


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
