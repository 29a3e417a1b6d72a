"""What a check says of an answer of another type: the same of the same number, and never an error."""

import importlib
import pkgutil

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, pipeline

from helpers import across_versions, article, exercises, forecast, sampling
from helpers.checkpoints import hub_cache
from helpers.exercises import NOT_ANSWERED, WRONG, Verdict, answers
from helpers.exercises.generate import check_cache_positions
from helpers.safetensors_header import shard_files
from helpers.tables import Table
from tests.recorded_call import recorded_call

CHECKS = {
    f"{module.name}.{name}": check
    for module in pkgutil.iter_modules(exercises.__path__)
    for name, check in vars(importlib.import_module(f"helpers.exercises.{module.name}")).items()
    if name.startswith("check_")
}


def raises(*given, **named):
    raise KeyError("mine")


def gives(result):
    return lambda *given, **named: result


MALFORMED = {
    "a text": "fifteen",
    "the number as a text": "15",
    "an empty list": [],
    "a list of objects": [object(), object()],
    "a pair of tables": (pd.DataFrame({"a": [1, 2]}), pd.DataFrame()),
    "a dictionary": {1: "a", "b": pd.DataFrame({"a": [1, 2]})},
    "an object": object(),
    "a table": pd.DataFrame({"a": range(30)}),
    "a Table": Table.of([{"a": 1}]),
    "a column": pd.Series([1, 2]),
    "nan": float("nan"),
    "infinity": float("inf"),
    "a fraction": 2.5,
    "a complex number": 1j,
    "a truth value": True,
    "no value of pandas": pd.NA,
    "two elements": torch.tensor([1, 1]),
    "nan in a tensor": torch.tensor(float("nan")),
    "without values": torch.empty((), device="meta"),
    "an array": np.array([[1, 2], [3, 4]]),
    "it raises": raises,
    "no parameters": lambda: 5,
    "many parameters": lambda a, b, c, d, e, f: 5,
    "it leaves": exit,
    "it gives 5": gives(5),
    "it gives None": gives(None),
    "it gives a text": gives("text"),
    "it gives a table": gives(pd.DataFrame({"a": [1, 2]})),
    "it gives two elements": gives(torch.tensor([1, 1])),
    "it gives a dictionary": gives({"gone": [[1], 2], "silent": {1, "a"}}),
}


@pytest.fixture(scope="module")
def material(tiny_checkpoint, tmp_path_factory):
    """What each check is given beside the answer."""
    recording = recorded_call(tiny_checkpoint)
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint).eval()
    logits = sampling.next_token_logits(model, AutoTokenizer.from_pretrained(tiny_checkpoint), "hello there")
    repository = hub_cache.write(
        tiny_checkpoint, tmp_path_factory.mktemp("hub"), "example/tiny", absent=("model.safetensors",)
    )
    pipe = pipeline("text-generation", model=str(tiny_checkpoint), device="cpu")
    ids = torch.tensor([[5, 6, 7, 8]])
    versions = across_versions.recordings()
    return {
        "across_versions.check_takes_in_threads": (versions,),
        "across_versions.check_lost": (versions,),
        "across_versions.check_untested_version": ("load.place_param", "4.50.3"),
        "checkpoint_files.check_first_tensor_byte": (shard_files(tiny_checkpoint)[0],),
        "checkpoint_files.check_place": (tiny_checkpoint, "model.norm.weight"),
        "checkpoint_files.check_reader": (tiny_checkpoint,),
        "config_and_class.check_model_class": ("qwen2",),
        "config_and_class.check_resolver": (repository,),
        "config_and_class.check_weight_lookups": (),
        "devices_and_memory.check_bytes_moved": (recording, 5),
        "devices_and_memory.check_shard_shape": ((64, 128), "Shard(dim=1) of 2"),
        "devices_and_memory.check_weight_bytes": (forecast(model.config, dtype="float32"), torch.float16),
        "empty_model.check_float16_bytes": (),
        "empty_model.check_module_inits": (12,),
        "empty_model.check_parameter_count": (),
        "forward_pass.check_decode_step": (model, ids, ids[:, -1:]),
        "forward_pass.check_key_shape": (model, ids, 2, 3),
        "forward_pass.check_mlp_share": (model,),
        "generate.check_cache_bytes": (LlamaConfig(), 100, 2),
        "generate.check_cache_positions": (5, 10),
        "generate.check_decode_loop": (model, ids),
        "loading_weights.check_cast_bytes": (recording,),
        "loading_weights.check_shard_of": (recording, "lm_head.weight"),
        "loading_weights.check_statuses": (recording,),
        "pipeline.check_by_hand": (pipe, "hello there", {"max_new_tokens": 2}),
        "pipeline.check_device_calls": (pipe, ["one", "two"]),
        "pipeline.check_list_calls": (pipe, ["one", "two", "three"], 2),
        "sampling.check_idle_arguments": (article.SAMPLING, logits, model),
        "sampling.check_kept": (logits, model),
        "sampling.check_top_p": (),
        "the_whole_call.check_attention_calls": (recording,),
        "the_whole_call.check_cache_positions": (recording, 2),
        "the_whole_call.check_linear_calls": (recording, 100),
    }


def test_there_is_material_for_each_check(material):
    assert set(material) == set(CHECKS)
    assert {module.name for module in pkgutil.iter_modules(exercises.__path__)} == {
        "answers",
        *(name.partition(".")[0] for name in CHECKS),
    }


@pytest.mark.parametrize("name", CHECKS)
def test_every_malformed_answer_gets_a_verdict_that_is_not_right(name, material):
    check, given = CHECKS[name], material[name]
    assert check(None, *given).outcome == NOT_ANSWERED
    for kind, answer in MALFORMED.items():
        verdict = check(answer, *given)
        assert isinstance(verdict, Verdict), kind
        assert verdict.outcome == WRONG, kind


@pytest.mark.parametrize(
    "answer", [14, 14.0, np.int64(14), np.float32(14), np.array(14), torch.tensor(14), torch.tensor(14.0)], ids=repr
)
def test_the_right_number_is_right_in_every_type(answer):
    assert check_cache_positions(answer, 5, 10)
    assert type(answers.whole_number(answer)) is int


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("14", "Give a whole number: you gave the text '14'."),
        (pd.DataFrame({"a": range(30)}), "Give a whole number: you gave a table of 30 rows (count its rows)."),
        ([1, 2], "Give a whole number: you gave a list of 2 parts."),
        ((1,), "Give a whole number: you gave a tuple of 1 part."),
        ({"a": 1}, "Give a whole number: you gave a dictionary of 1 part."),
        (2.5, "Give a whole number: you gave 2.5."),
        (np.float64(2.5), "Give a whole number: you gave 2.5."),
        (True, "Give a whole number: you gave True."),
        (torch.tensor([1, 1]), "Give a whole number: you gave a Tensor of shape (2,)."),
        (len, "Give a whole number: you gave a function (call it, and give what it gives)."),
        ("x" * 100, "Give a whole number: you gave the text '" + "x" * 59 + "…."),
        (object(), "Give a whole number: you gave an object of the type object."),
    ],
)
def test_what_is_not_a_whole_number_is_named(answer, told):
    assert check_cache_positions(answer, 5, 10).explanation == told


def test_numbers_and_names_may_be_in_any_sequence():
    for answer in ((1, 2), [1, 2.0], torch.Size([1, 2]), np.array([1, 2]), torch.tensor([1, 2]), pd.Series([1, 2])):
        assert answers.whole_numbers(answer, "Give two", count=2) == (1, 2)
    for answer in (["a"], ("a",), {"a"}, frozenset("a"), pd.Series(["a"]), np.array(["a"])):
        assert answers.texts(answer, "Give names") == ["a"]
    with pytest.raises(answers.Refused, match="Give two: you gave a tuple of 3 parts"):
        answers.whole_numbers((1, 2, 3), "Give two", count=2)


def test_a_function_of_the_reader_that_raises_is_told_with_its_error():
    with pytest.raises(answers.Refused, match="for x your function raised KeyError: 'mine'"):
        answers.run(raises, of="for x")
    with pytest.raises(KeyError):
        answers.run(raises, lets=(KeyError,))
    with pytest.raises(answers.Refused, match="your function raised SystemExit"):
        answers.run(exit)
