"""Several models in one recording, and parts of a model that are called before it: each module by its own name once."""

import gzip
import json

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from helpers import Recording, record

IDS = torch.tensor([[5, 6, 7]])


def llama(kind=LlamaForCausalLM):
    config = LlamaConfig(
        vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
    )
    return kind(config).eval()


def held(*models):
    tensors = [tensor for model in models for tensor in (*model.parameters(), *model.buffers())]
    return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in tensors}.values())


@pytest.fixture(scope="module")
def t5():
    config = T5Config(vocab_size=320, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


def test_an_encoder_that_generate_calls_first_is_a_part_of_its_model(t5):
    with record() as recording:
        for _ in range(2):
            t5.generate(IDS, max_new_tokens=3, min_new_tokens=3)
    modules = recording.modules()
    assert "model" not in modules
    first, second = (set(modules.loc[modules["generation"] == number, "path"]) for number in (0, 1))
    assert first == second <= {name for name, _ in t5.named_modules()}
    assert "encoder.block.0" in first
    weights = recording.weights()
    assert weights["nbytes"].sum() == held(t5)
    assert len(weights) == weights["path"].nunique()


def test_the_cache_of_an_encoder_decoder_is_that_of_both_attentions(t5):
    with record("landmarks", "memory") as recording:
        result = t5.generate(IDS, max_new_tokens=3, min_new_tokens=3, return_dict_in_generate=True)
    cache = result.past_key_values
    layers = [layer for part in (cache.self_attention_cache, cache.cross_attention_cache) for layer in part.layers]
    nbytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
    assert recording.steps()["kv_bytes"].iloc[-1] == recording.kv_cache(2)["nbytes"].sum() == nbytes
    assert recording.memory()["kv_cache"].max() == nbytes


def test_parts_that_are_called_before_their_model_count_once(t5):
    model = llama()
    with record() as recording:
        model.get_input_embeddings()(IDS)
        model.model(IDS)
        model(IDS)
    assert recording.weights()["nbytes"].sum() == held(model) == recording.memory()["parameters"].iloc[-1]
    assert list(recording.modules()["model"].unique()) == [0, 1, 2]


def test_parts_of_a_model_that_was_loaded_in_the_recording_have_their_names_in_it(tiny_checkpoint):
    with record() as recording:
        model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
        model.model.layers[0].mlp(torch.zeros(1, 3, model.config.hidden_size))
        model(IDS)
    assert recording.modules()["path"].iloc[0] == "model.layers.0.mlp"
    assert "model" not in recording.modules()
    assert recording.weights()["nbytes"].sum() == held(model)


def test_two_models_of_one_class_are_told_apart_in_each_table(tmp_path):
    teacher, student = llama(), llama()
    with record("values") as recording:
        teacher(IDS)
        student(IDS)
    recording = Recording.load(recording.save(tmp_path / "run.json.gz"))
    for table in (recording.modules(), recording.values(), recording.weights()):
        columns = [name for name in ("path", "output") if name in table]
        assert not table.duplicated(["model", *columns]).any()
        assert table.duplicated(columns).any()
        assert list(table["model"].unique()) == [0, 1]
    assert recording.values("model.norm")["model"].tolist() == [0, 1]
    assert recording.weights()["nbytes"].sum() == held(teacher, student)


def test_a_freed_model_does_not_lend_its_bytes_to_the_next_one():
    with record() as recording:
        for _ in range(4):
            nn.Linear(4, 4)(torch.zeros(1, 4))
    assert list(recording.weights()["nbytes"]) == [4 * (4 * 4 + 4)] * 4


def test_the_class_is_the_modules_own_not_that_of_the_forward_it_inherits():
    class OwnModel(LlamaForCausalLM):
        pass

    model = llama(OwnModel)
    with record() as recording:
        model(IDS)
    modules = recording.modules().set_index("path")
    assert modules.loc["", "class"] == "OwnModel"
    classes = {path: type(module).__name__ for path, module in model.named_modules()}
    assert modules["class"].to_dict() == {path: classes[path] for path in modules.index}


def test_calls_that_an_exception_left_say_so():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(3, 3))
    with pytest.raises(RuntimeError), record() as recording:
        model(torch.zeros(1, 2))
    assert dict(zip(recording.modules()["path"], recording.modules()["status"], strict=True)) == {
        "": "raised", "0": "returned", "1": "raised",
    }  # fmt: skip


def test_an_older_file_tells_the_class_of_the_forward(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2))
    with record() as recording:
        model(torch.zeros(1, 2))
    document = json.loads(gzip.decompress(recording.save(tmp_path / "new.json.gz").read_bytes()))
    del document["modules"], document["weights"]["model"]
    (tmp_path / "old.json").write_text(json.dumps(document))
    old = Recording.load(tmp_path / "old.json")
    assert list(old.modules()["class"]) == ["Sequential", "Linear"]
    assert list(old.weights()["path"]) == ["0"]


def test_more_inputs_than_usual_are_all_told():
    class Adds(nn.Module):
        def forward(self, *tensors):
            return sum(tensors)

    with record() as recording:
        Adds()(*[torch.zeros(1)] * 12)
    assert recording.modules()["inputs"].iloc[0].count("input.") == 12
