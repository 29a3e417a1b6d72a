"""The checks of the exercises: right, each wrong thought with its explanation, no answer yet, nonsense."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import article, record
from helpers.checkpoints import hub_cache, variants
from helpers.exercises import NOT_ANSWERED, WRONG, Verdict, not_answered, right, wrong
from helpers.exercises import checkpoint_files as files
from helpers.exercises import config_and_class as config
from helpers.exercises import empty_model as empty
from helpers.exercises import loading_weights as loading
from helpers.exercises import the_whole_call as whole
from helpers.safetensors_header import read_header, read_index, shard_files
from tests import tiny_architectures
from tests.recorded_call import NEW_TOKENS, recorded_call


@pytest.fixture(scope="module")
def recording(tiny_checkpoint):
    return recorded_call(tiny_checkpoint)


def assert_explains(verdict: Verdict, words: str) -> None:
    assert verdict.outcome == WRONG
    assert words in verdict.explanation, verdict


def test_a_verdict_is_true_when_right_and_shows_its_explanation():
    assert right("so it is")
    assert not wrong("think again")
    assert not not_answered()
    assert repr(wrong("think again")) == "✗ Not yet: think again"


@pytest.mark.parametrize(
    ("check", "arguments"),
    [
        (config.check_model_class, ("qwen2",)),
        (config.check_weight_lookups, ()),
        (config.check_resolver, (None,)),
        (files.check_first_tensor_byte, (None,)),
        (files.check_place, (None, "x")),
        (files.check_reader, (None,)),
        (empty.check_module_inits, (12,)),
        (empty.check_float16_bytes, ()),
        (empty.check_parameter_count, ()),
        (loading.check_shard_of, (None, "x")),
        (loading.check_cast_bytes, (None,)),
        (loading.check_statuses, (None,)),
        (whole.check_cache_positions, (None, 5)),
        (whole.check_attention_calls, (None,)),
        (whole.check_linear_calls, (None, 100)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_none_is_not_answered_yet_and_looks_at_nothing(check, arguments):
    assert check(None, *arguments).outcome == NOT_ANSWERED


# 00 ------------------------------------------------------------------------------------------------------------------


def test_cache_positions(recording):
    prompt = int(recording.steps()["kv_tokens"].iloc[0])
    assert whole.check_cache_positions(prompt + 2, recording, 2)
    assert_explains(whole.check_cache_positions(prompt, recording, 2), "after the prefill")
    assert_explains(whole.check_cache_positions(2, recording, 2), "positions of the prompt")
    assert_explains(whole.check_cache_positions(prompt + 3, recording, 2), "not in the cache yet")
    assert_explains(whole.check_cache_positions(1000, recording, 2), "kv_tokens")
    assert_explains(whole.check_cache_positions(recording.steps(), recording, 2), "count its rows")


def test_attention_calls(recording):
    layers = 2
    assert whole.check_attention_calls(layers, recording)
    assert_explains(whole.check_attention_calls(layers * NEW_TOKENS, recording), "the prefill is step 0")
    prompt = int(recording.steps()["kv_tokens"].iloc[0])
    assert_explains(whole.check_attention_calls(prompt, recording), "go through one call together")
    assert_explains(whole.check_attention_calls(-1, recording), "step=0")


def test_linear_calls(recording):
    in_one_step = len(recording.find("Linear.forward", step=1))
    assert in_one_step == 15
    assert whole.check_linear_calls(10 * 15, recording, tokens=10)
    assert_explains(whole.check_linear_calls(10 * 14, recording, tokens=10), "lm_head")
    assert_explains(whole.check_linear_calls(11 * 15, recording, tokens=10), "prefill chooses the first token")
    assert_explains(whole.check_linear_calls(15, recording, tokens=10), "one forward pass")
    assert_explains(whole.check_linear_calls(0, recording, tokens=10), "step=1")


def test_linear_calls_of_a_model_that_has_others(tmp_path, tiny_checkpoint):
    """GPT-2's layers have none: its matrices are Conv1D, so that lm_head alone is left."""
    folder = tiny_architectures.write("gpt2", tiny_checkpoint, tmp_path / "gpt2")
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([[1, 2, 3]])
    with record(progress=False) as gpt2:
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2, min_new_tokens=2, do_sample=False)
    assert whole.check_linear_calls(10, gpt2, tokens=10)
    assert_explains(whole.check_linear_calls(10 * 15, gpt2, tokens=10), "in one step")


# 01 ------------------------------------------------------------------------------------------------------------------


def test_model_class():
    assert config.check_model_class("Qwen2ForCausalLM", "qwen2")
    assert_explains(config.check_model_class("Qwen2Model", "qwen2"), "without the head")
    assert_explains(config.check_model_class(torch.nn.Linear, "qwen2"), "a text")
    assert_explains(config.check_model_class("Qwen3ForCausalLM", "qwen2"), "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


def test_weight_lookups():
    names = ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]
    assert config.check_weight_lookups(names)
    assert_explains(config.check_weight_lookups(names[::-1]), "in another order")
    assert_explains(config.check_weight_lookups(set(names)), "in order: you gave a set")
    assert_explains(config.check_weight_lookups([*names, "pytorch_model.bin.index.json"]), "ends the search")
    assert_explains(config.check_weight_lookups(names[2:]), "asks for safetensors first")
    assert_explains(config.check_weight_lookups([names[0], names[2]]), "in several shards")
    assert_explains(config.check_weight_lookups([]), "lookups()")
    assert_explains(config.check_weight_lookups(5), "a list of file names, in order: you gave 5")


def test_resolver(tiny_checkpoint, tmp_path):
    folder = hub_cache.write(tiny_checkpoint, tmp_path, "example/tiny", absent=("model.safetensors",))
    commit = (folder / "refs" / "main").read_text()

    def resolve(name, absent=None):
        path = folder / "snapshots" / commit / name
        if path.exists():
            return path
        if (folder / ".no_exist" / commit / name).exists():
            return absent
        raise FileNotFoundError(name)

    assert config.check_resolver(resolve, folder)
    assert_explains(config.check_resolver("resolve", folder), "a function")
    assert_explains(config.check_resolver(lambda name: folder / name, folder), "snapshots/")
    assert_explains(config.check_resolver(lambda name: resolve(name, "there"), folder), "return None")
    assert_explains(config.check_resolver(lambda name: 1 / 0, folder), "raised ZeroDivisionError")

    def forgiving(name):
        return resolve(name) if name != "never_asked_for.json" else None

    assert_explains(config.check_resolver(forgiving, folder), "the Hub would be asked")
    only_config = {"config.json": resolve("config.json")}.__getitem__
    assert_explains(config.check_resolver(only_config, folder), "model.safetensors your function raised KeyError")
    assert_explains(config.check_resolver(lambda name: 5, folder), "give its path, not 5")


@pytest.mark.parametrize("pick", [min, max])
def test_resolver_that_does_not_ask_refs_which_commit_main_is(tiny_checkpoint, tmp_path, pick):
    folder = hub_cache.write(tiny_checkpoint, tmp_path, "example/tiny", absent=("model.safetensors",))
    before = sorted(folder.rglob("*"))

    def any_snapshot(name):
        return pick((folder / "snapshots").iterdir()) / name

    def any_marker(name):
        path = folder / "snapshots" / (folder / "refs" / "main").read_text() / name
        if path.exists():
            return path
        if list((folder / ".no_exist").rglob(name)):
            return None
        raise FileNotFoundError(name)

    assert_explains(config.check_resolver(any_snapshot, folder), "refs/main says which one is main's")
    assert_explains(config.check_resolver(any_marker, folder), "the cache knows nothing")
    assert sorted(folder.rglob("*")) == before


def test_resolver_of_a_checkpoint_in_one_file(tiny_checkpoint, tmp_path):
    """Nothing is marked absent there, and its model.safetensors has a path."""
    single = variants.as_single_file(tiny_checkpoint, tmp_path / "single")
    folder = hub_cache.write(single, tmp_path, "example/single")
    commit = (folder / "refs" / "main").read_text()

    def resolve(name):
        path = folder / "snapshots" / commit / name
        if not path.exists():
            raise FileNotFoundError(name)
        return path

    assert config.check_resolver(resolve, folder)


# 02 ------------------------------------------------------------------------------------------------------------------


def test_first_tensor_byte(tiny_checkpoint):
    shard = shard_files(tiny_checkpoint)[0]
    begin = read_header(shard)[0].begin
    assert files.check_first_tensor_byte(begin, shard)
    assert_explains(files.check_first_tensor_byte(begin - 8, shard), "length of the header")
    assert_explains(files.check_first_tensor_byte(8, shard), "after both")
    assert_explains(files.check_first_tensor_byte(9, shard), "little-endian")


def test_place(tiny_checkpoint):
    name = "model.norm.weight"
    shard = read_index(tiny_checkpoint)[name]
    tensors = read_header(tiny_checkpoint / shard)
    tensor, start = next(one for one in tensors if one.name == name), tensors[0].begin
    other = next(path.name for path in shard_files(tiny_checkpoint) if path.name != shard)
    assert files.check_place((shard, tensor.begin, tensor.end), tiny_checkpoint, name)
    assert files.check_place((tiny_checkpoint / shard, tensor.begin, tensor.end), tiny_checkpoint, name)
    offsets = (shard, tensor.begin - start, tensor.end - start)
    assert_explains(files.check_place(offsets, tiny_checkpoint, name), "add 8 and the header's length")
    assert_explains(files.check_place((other, tensor.begin, tensor.end), tiny_checkpoint, name), "in another file")
    assert_explains(files.check_place((shard, tensor.begin, tensor.nbytes), tiny_checkpoint, name), "number of bytes")
    assert_explains(files.check_place((shard, 1, 2), tiny_checkpoint, name), "data_offsets")
    assert_explains(files.check_place(shard, tiny_checkpoint, name), "three parts")


def test_reader(tiny_checkpoint):
    from safetensors.torch import load_file

    tensors = {name: tensor for path in shard_files(tiny_checkpoint) for name, tensor in load_file(path).items()}
    assert files.check_reader(tensors.get, tiny_checkpoint)
    assert_explains(files.check_reader(tensors, tiny_checkpoint), "a function")
    assert_explains(files.check_reader(lambda name: None, tiny_checkpoint), "gave None")
    assert_explains(files.check_reader(lambda name: tensors[name].half(), tiny_checkpoint), "tells the dtype")
    assert_explains(files.check_reader(lambda name: tensors[name].flatten()[:1], tiny_checkpoint), "has the shape")
    assert_explains(files.check_reader(lambda name: tensors[name] + 1, tiny_checkpoint), "other values")
    assert_explains(files.check_reader(lambda name: tensors["?"], tiny_checkpoint), "raised KeyError")


# 03 ------------------------------------------------------------------------------------------------------------------


def test_module_inits():
    per_layer, around = (
        len(list(empty.empty_llama(**article.LLAMA_2_7B | {"num_hidden_layers": layers}).modules()))
        for layers in (1, 0)
    )
    per_layer -= around
    assert empty.check_module_inits(12 * per_layer + around, layers=12)
    assert_explains(empty.check_module_inits(12 * per_layer, layers=12), "some around them")
    assert_explains(empty.check_module_inits(3, layers=12), "an object of its own")
    assert_explains(empty.check_module_inits(1, layers=12), "differ by one")


def test_float16_bytes():
    count = 6_738_415_616  # Llama-2-7B
    assert empty.check_float16_bytes(2 * count)
    assert_explains(empty.check_float16_bytes(4 * count), "that is float32")
    assert_explains(empty.check_float16_bytes(count), "two bytes")
    assert_explains(empty.check_float16_bytes(14_000_000_000), "rounded")
    assert_explains(empty.check_float16_bytes(2 * (count - 32000 * 4096)), "not tied")
    assert_explains(empty.check_float16_bytes(1), "numel()")


def test_parameter_count():
    def count(config, ties=True, groups=True, own_head=True):
        hidden, head = config.hidden_size, config.head_dim
        head = head if own_head else hidden // config.num_attention_heads
        query, keys = config.num_attention_heads * head, config.num_key_value_heads * head
        attention = 2 * hidden * query + 2 * hidden * (keys if groups else query)
        layers = config.num_hidden_layers * (attention + 3 * hidden * config.intermediate_size + 2 * hidden)
        return layers + hidden + config.vocab_size * hidden * (1 if ties and config.tie_word_embeddings else 2)

    assert empty.check_parameter_count(count)
    assert_explains(empty.check_parameter_count(lambda config: count(config, ties=False)), "a tied model")
    assert_explains(empty.check_parameter_count(lambda config: count(config, groups=False)), "fewer key heads")
    assert_explains(empty.check_parameter_count(lambda config: count(config, own_head=False)), "narrower heads")
    assert_explains(empty.check_parameter_count(lambda config: 1.5), "whole number for Llama-2-7B: you gave 1.5")
    assert_explains(empty.check_parameter_count(lambda config: None), "you gave None")
    assert_explains(empty.check_parameter_count(lambda config: config.nothing), "raised AttributeError")
    assert_explains(empty.check_parameter_count(7), "a function")


# 04 ------------------------------------------------------------------------------------------------------------------


def test_shard_of(recording):
    ledger = recording.parameters().set_index("parameter")
    file = ledger.loc["lm_head.weight", "file"]
    other = next(name for name in ledger["file"].dropna() if name != file)
    assert loading.check_shard_of(file, recording, "lm_head.weight")
    assert_explains(loading.check_shard_of(other, recording, "lm_head.weight"), "another one")
    assert_explains(loading.check_shard_of("model.bin", recording, "lm_head.weight"), "column `file`")


def test_cast_bytes(tiny_checkpoint):
    casting = recorded_call(tiny_checkpoint, dtype=torch.float64)
    ledger = casting.parameters()
    total = int(ledger["nbytes"].sum())
    assert loading.check_cast_bytes(total, casting)
    assert_explains(loading.check_cast_bytes(total // 2, casting), "on the disk")
    assert_explains(loading.check_cast_bytes(0, casting), "`nbytes`")


def test_statuses(recording):
    count = len(recording.parameters())
    assert loading.check_statuses({"loaded": count, "missing": 0}, recording)
    assert_explains(loading.check_statuses({"loaded": count - 1}, recording), "count again")
    assert_explains(loading.check_statuses({"loaded": count, "tied": 1}, recording), "tied")
    assert_explains(loading.check_statuses(count, recording), "a dictionary")
