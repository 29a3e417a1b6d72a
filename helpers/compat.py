"""The few spellings that differ between library versions. Nothing else in this project asks for a version."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import Cache, PretrainedConfig, PreTrainedModel

# `dtype=` and `torch_dtype=` are both accepted from 4.56 on; before, `dtype=` reached the model class and
# failed.
FIRST_WITH_DTYPE = (4, 56)

# The names under which a model takes its KV cache and gives it back: the second from 5.24 on. Models with a state in
# place of keys and values, as Mamba, have a name of their own for it before.
KV_CACHE_NAMES = ("past_key_values", "cache")
STATE_NAME = "cache_params"
RWKV_STATE_NAME = "state"

# Where the model classes keep their list of decoder layers, most common first.
DECODER_LAYER_PATHS = (
    "model.layers",  # Llama, Mistral, Qwen, Gemma, Phi, OLMo ...
    "model.decoder.layers",  # OPT
    "model.language_model.layers",  # multimodal models that also generate text
    "transformer.h",  # GPT-2, Falcon, Bloom
    "transformer.blocks",  # MPT
    "gpt_neox.layers",  # GPT-NeoX, Pythia
    "backbone.layers",  # Mamba
)


def transformers_version() -> tuple[int, int, int]:
    """The installed transformers as (major, minor, patch)."""
    from packaging.version import Version

    installed = Version(version("transformers"))
    return installed.major, installed.minor, installed.micro


def dtype_argument(dtype: torch.dtype | str) -> dict[str, torch.dtype | str]:
    """What gives `from_pretrained` the dtype: {"dtype": ...}, or {"torch_dtype": ...} before 4.56."""
    return {"dtype" if transformers_version() >= FIRST_WITH_DTYPE else "torch_dtype": dtype}


def hub_connection_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises when the Hub cannot be reached: OSErrors, httpx's own from 1.0 on."""
    try:
        import httpx
    except ModuleNotFoundError:
        return (OSError,)
    return (OSError, httpx.HTTPError)


def decoder_layers(model: torch.nn.Module) -> torch.nn.ModuleList:
    """The decoder layers of a causal LM, in the order in which they run.

    Raises TypeError when the model keeps them in none of the places that this project knows.
    """
    from torch.nn import ModuleList

    for path in DECODER_LAYER_PATHS:
        place = model
        for name in path.split("."):
            place = getattr(place, name, None)
        if isinstance(place, ModuleList):
            return place
    raise TypeError(
        f"{type(model).__name__} keeps its decoder layers in none of {', '.join(DECODER_LAYER_PATHS)}: "
        "add its path to DECODER_LAYER_PATHS in helpers/compat.py"
    )


def pipeline_device(model: torch.nn.Module, device: torch.device | str) -> dict[str, torch.device | str]:
    """The argument that keeps a pipeline's model on `device`: {"device": device}, or {} where it must not be given.

    5.x moves a model that was loaded with a one-device map to the first GPU unless told; 4.x dispatches such a model
    with accelerate, records `hf_device_map`, and refuses to be told.
    """
    return {} if getattr(model, "hf_device_map", None) else {"device": device}


def rope_type_and_theta(config: PretrainedConfig) -> tuple[str, float]:
    """("default", 10000.0): how a Llama's rotary embedding is scaled, and the base of its frequencies.

    `rope_parameters` from 5.0 on; before, `rope_theta` and, where it is scaled, `rope_scaling`.
    """
    parameters = getattr(config, "rope_parameters", None)
    if parameters:
        return parameters["rope_type"], parameters["rope_theta"]
    scaling = getattr(config, "rope_scaling", None) or {}
    return scaling.get("rope_type", scaling.get("type", "default")), config.rope_theta


def cached_key_and_value(cache: Cache | tuple, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What a KV cache holds of one layer: keys and values, (sequences, key/value heads, positions, head size).

    An object per layer from 4.54 on; before, a pair per layer, also in the tuple that a model called by itself gives.
    """
    if hasattr(cache, "layers"):
        return cache.layers[layer].keys, cache.layers[layer].values
    return cache[layer][0], cache[layer][1]


def tensor_parallel_arguments(ranks: int) -> dict[str, object]:
    """What tells `from_pretrained` to shard a model over all `ranks` of the process group.

    `distributed_config=DistributedConfig(tp_size=…)`, as in 5.23. Raises NotImplementedError where the installed
    version has no such setting; 4.57.6 and 5.0.0 have none.
    """
    import dataclasses

    try:
        from transformers.distributed import DistributedConfig
    except ImportError:
        fields = set()
    else:
        fields = {field.name for field in dataclasses.fields(DistributedConfig)}
    if "tp_size" not in fields:
        raise NotImplementedError(
            f"transformers {version('transformers')} has no DistributedConfig(tp_size=…), which shards a model over "
            "ranks: tensor parallelism is not supported here before that. It is there in 5.23.0."
        )
    return {"distributed_config": DistributedConfig(tp_size=ranks)}


def names_after_renaming(model: PreTrainedModel, keys: Iterable[str]) -> set[str]:
    """The names that a load gives to keys of a checkpoint whose tensors it takes as they are; before 5.0 they stay.

    Keys that it merges or splits keep a name that is no parameter's.
    """
    if transformers_version() < (5,):
        return set(keys)
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [entry for entry in get_model_conversion_mapping(model) if isinstance(entry, WeightRenaming)]
    own = model.base_model_prefix, model.state_dict()
    return {rename_source_key(key, renamings, [], *own)[0] for key in keys}


def continuous_batch_method() -> Callable | None:
    """The method that runs one batch of continuous batching (`generate_batch`, paged caches); None where there is none.

    transformers.generation.utils imports it, from 4.53 on; it is not imported for being looked for.
    """
    package = sys.modules.get("transformers.generation.continuous_batching")
    return getattr(getattr(package, "ContinuousBatchingManager", None), "_generation_step", None)


def cache_name(parameters: Iterable[str]) -> str:
    """Of the parameters of a model's forward, the one that takes its cache; the oldest name where there is none."""
    names = frozenset(parameters)
    known = (STATE_NAME, *KV_CACHE_NAMES[::-1], RWKV_STATE_NAME)
    return next((name for name in known if name in names), KV_CACHE_NAMES[0])


def kv_cache_argument() -> str:
    """The name of the KV cache where a layer of Llama takes it."""
    return KV_CACHE_NAMES[transformers_version() >= (5, 24)]


def cache_of_generate(model: PreTrainedModel, held: Cache | tuple | None) -> Cache | tuple | None:
    """What a forward pass gave as its KV cache, as generate() goes on with it: in 4.47 a model that was given no cache
    gives tuples, which keep what a Cache replaces step by step."""
    if isinstance(held, tuple) and getattr(model, "_supports_cache_class", False):
        from transformers import DynamicCache

        return DynamicCache.from_legacy_cache(held)
    return held


def static_cache_positions(prompt_tokens: int, new_tokens: int) -> int:
    """The positions of the static cache that generate() makes; from 4.49 on without the last token, never cached."""
    return prompt_tokens + new_tokens - (transformers_version() >= (4, 49))


def static_cache(config: PretrainedConfig, batch: int, positions: int, dtype: torch.dtype) -> Cache:
    """A static KV cache as generate() makes it; from 4.56 on its size and dtype come with the first keys."""
    from transformers import StaticCache

    if "max_batch_size" in inspect.signature(StaticCache.__init__).parameters:
        sizes = {"max_batch_size": batch, "device": "cpu", "dtype": dtype}
        return StaticCache(config=config, max_cache_len=positions, **sizes)
    return StaticCache(config=config, max_cache_len=positions)


def kept_in_float32(model: PreTrainedModel, dtype: torch.dtype) -> re.Pattern | None:
    """What is in the names of those tensors that `from_pretrained` keeps in float32 when it is asked for `dtype`; None
    where there are none.

    Before 5.0 the model's class names whole modules or parameters; from then on its words fit anywhere in a name
    ("gate" fits "gate_proj" too), with * for anything. 5.0 itself keeps them in whatever dtype is asked for.
    """
    import torch
    from transformers import PreTrainedModel

    if hasattr(model, "_get_dtype_plan"):
        words = list(model._get_dtype_plan(dtype))
    elif hasattr(model, "dtype_plan"):
        words = list(model.dtype_plan or ())
    else:
        words = list(getattr(model, "_keep_in_fp32_modules", None) or ()) if dtype is torch.float16 else []
        if dtype in (torch.float16, torch.bfloat16) and hasattr(PreTrainedModel, "_keep_in_fp32_modules_strict"):
            words += model._keep_in_fp32_modules_strict or ()
        words = [rf"(^|\.){word}($|\.)" for word in words]
    return re.compile("|".join(word.replace("*", ".*") for word in words)) if words else None


def loads_in_the_checkpoint_s_dtype() -> bool:
    """Whether from_pretrained without a dtype takes the checkpoint's own (from 5.0 on), else float32."""
    return transformers_version() >= (5,)


def config_dtype(config: PretrainedConfig) -> torch.dtype | None:
    """The dtype that a config names, if any: its `dtype`, spelt `torch_dtype` before 4.56."""
    return getattr(config, "dtype" if transformers_version() >= FIRST_WITH_DTYPE else "torch_dtype", None)


def loads_in_worker_threads(version: str) -> bool:
    """Whether this version of transformers loads weights with a pool of threads (from 5.0 on)."""
    from packaging.version import Version

    return Version(version) >= Version("5")


def reads_shard_by_shard() -> bool:
    """Whether a load lets go of a shard before it opens the next (before 5.0); since then all stay open to its end."""
    return transformers_version() < (5,)


def unsplit_modules(model: PreTrainedModel, strategy: str = "auto") -> list[str]:
    """The classes of modules that stay on one device, those that a part of the model names too; from 5.0 on the model
    itself has them all. Raises ValueError for a model that takes no automatic device map."""
    if transformers_version() >= (5,):
        return list(model._no_split_modules or ())
    return list(model._get_no_split_modules(strategy))


def automatic_device_map(
    model: PreTrainedModel, strategy: str, max_memory: dict[int | str, int] | None, dtype: torch.dtype
) -> dict[str, int | str]:
    """The map that from_pretrained makes for device_map="auto" and its like: module name to device.

    transformers' own function from 5.0 on; before, accelerate's, called as in from_pretrained of 4.47.
    """
    if transformers_version() >= (5,):
        from transformers.integrations.accelerate import _get_device_map

        return _get_device_map(model, strategy, max_memory, None)
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory, get_max_memory

    whole = {"dtype": dtype, "no_split_module_classes": unsplit_modules(model, strategy)}
    gpus = sum(isinstance(device, int) for device in max_memory or ())
    if strategy == "sequential" or (max_memory and gpus <= 1):  # nothing to balance; GPUs may be of another machine
        limits = get_max_memory(max_memory)
    else:
        low_zero = strategy == "balanced_low_0"
        limits = get_balanced_memory(model, max_memory=max_memory, low_zero=low_zero, **whole)
    return infer_auto_device_map(model, max_memory=limits, **whole)
