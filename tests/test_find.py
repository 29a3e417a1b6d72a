"""find(): exactly the events that are what was asked, and clear words for what cannot be asked."""

import numpy as np
import pytest
import torch
from IPython.lib.pretty import pretty

from helpers import compat, record, tables
from helpers.events import NOT_OBSERVED, RecordingError
from helpers.recording.recording import Recording
from tests.recorded_call import NEW_TOKENS, recorded_call

LAYERS = 2


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint)


def test_a_name_finds_functions_modules_paths_and_files_in_any_case(recording):
    assert list(recording.find("Q_PROJ", step=0)["path"]) == [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]
    assert set(recording.find("LlamaRMSNorm", step=0)["function"]) == {"LlamaRMSNorm.forward"}
    by_file = recording.find("generation/logits_process.py")
    assert {row.rpartition(":")[0] for row in by_file["location"]} == {"transformers/generation/logits_process.py"}
    by_module = recording.find("transformers.generation.logits_process")
    assert list(by_module["event"]) == list(by_file["event"])
    whole_name = recording.find("transformers.generation.utils.GenerationMixin.generate")
    assert list(whole_name["function"]) == ["GenerationMixin.generate"]


def test_a_call_without_a_module_path_is_not_found_by_the_path_of_another(recording):
    assert set(recording.find("model.layers.1")["kind"]) == {"module"}


def test_every_event_that_matches_is_found_and_no_other(recording):
    found = set(recording.find(shape="(1, 1, 384)")["event"])
    for event in range(len(recording)):
        inputs, outputs = recording.tensors(event)
        has_it = any(spec.shape == (1, 1, 384) for spec in [*inputs, *outputs])
        assert (event in found) == has_it


def test_a_row_tells_what_was_recorded_of_its_event(recording):
    found = recording.find("model")
    columns = recording.events
    for row in found.to_dict("records"):
        event = row["event"]
        inputs, outputs = recording.tensors(event)
        assert (row["inputs"], row["outputs"]) == (", ".join(map(str, inputs)), ", ".join(map(str, outputs)))
        shown = outputs or inputs
        assert row["dtype"] == ", ".join(dict.fromkeys(spec.dtype for spec in shown))
        assert row["device"] == ", ".join(dict.fromkeys(spec.device for spec in shown))
        assert row["milliseconds"] == pytest.approx((columns["end"][event] - columns["start"][event]) / 1e6)
        path = columns["path"][event]
        assert row["path"] == (recording.paths[path] if path != NOT_OBSERVED else "")
    embedding = recording.find("embed_tokens", step=0).iloc[0]
    assert (embedding["inputs"][:8], embedding["dtype"]) == ("input (1", "float32")  # the result's, not int64
    assert "" in set(found["path"])


def test_one_size_is_found_in_any_dimension(recording):
    by_size = set(recording.find(shape="384")["event"])
    assert by_size == set(recording.find(shape=384)["event"]) == set(recording.find(shape=np.int64(384))["event"])
    for event in range(len(recording)):
        inputs, outputs = recording.tensors(event)
        assert (event in by_size) == any(384 in spec.shape for spec in [*inputs, *outputs])
    assert recording.find(shape="38").empty  # a size, not a part of its text


@pytest.mark.parametrize(
    "shape", [(1, 1, 384), [1, 1, 384], "(1, 1, 384)", "[1,1,384]", "1, 1, 384", torch.Size([1, 1, 384])]
)
def test_a_whole_shape_may_be_spelled_in_many_ways(recording, shape):
    assert list(recording.find(shape=shape)["event"]) == list(recording.find(shape="(1, 1, 384)")["event"])


def test_the_shape_of_a_scalar_is_found():
    network = torch.nn.Identity()
    with record() as recording:
        network(torch.tensor(1.0))
        network(torch.zeros(2))
    assert list(recording.find(shape=())["event"]) == list(recording.find(shape="()")["event"]) == [0]


def test_shape_dtype_and_device_belong_to_one_tensor(recording):
    ids = recording.find(shape=(1, 1), dtype=torch.int64, device="cpu", step=1)
    assert "model.embed_tokens" in set(ids["path"])
    # embed_tokens takes int64 of shape (1, 1) and gives float32 of shape (1, 1, 64): never int64 of that shape
    assert recording.find("embed_tokens", shape=(1, 1, 64), dtype="int64").empty
    assert len(recording.find("embed_tokens", shape=(1, 1, 64), dtype="torch.float32")) == NEW_TOKENS - 1


def test_a_kind_of_device_finds_all_of_the_kind():
    spec_devices = []
    with record() as recording:
        for device in ("cpu", "meta"):
            torch.nn.Linear(2, 2, device=device)(torch.zeros(1, 2, device=device))
    for device in ("cpu", "meta", torch.device("meta"), "CPU"):
        spec_devices.append(list(recording.find("Linear.forward", device=device)["device"]))
    assert spec_devices == [["cpu"], ["meta"], ["meta"], ["cpu"]]
    assert recording.find(device="cuda").empty


def test_a_numbered_device_is_found_by_its_kind_and_by_its_number(recording):
    moved = Recording(**vars(recording))
    moved.specs = [spec._replace(device="cuda:1") for spec in recording.specs]
    with_tensors = [event for event in range(len(recording)) if any(recording.tensors(event))]
    assert list(moved.find(device="cuda")["event"]) == list(moved.find(device="cuda:1")["event"]) == with_tensors
    assert moved.find(device="cuda:0").empty


def test_a_stage_has_the_events_within_its_landmarks(recording):
    sampling = recording.find(stage=9)
    assert list(recording.find(stage="Sampling")["event"]) == list(sampling["event"])
    assert {"TopKLogitsWarper.__call__", "softmax", "multinomial"} <= set(sampling["function"])
    assert "LlamaModel.forward" not in set(sampling["function"])
    # act_fn is no landmark: it belongs to the forward pass around it
    assert len(recording.find("act_fn", stage="forward pass", step=0)) == LAYERS
    stages = [set(recording.find(stage=number)["event"]) for number in range(1, 11)]
    assert sum(map(len, stages)) == len(set().union(*stages))


def test_a_thread_is_found_by_a_part_of_its_name(recording):
    main = recording.find(thread="mainthread")
    assert set(main["thread"]) == {"MainThread"}
    assert len(main) + len(recording.find(thread="ThreadPool")) == len(recording)
    assert recording.find(thread="no such thread").empty


def test_the_id_of_a_landmark_finds_its_calls(recording):
    calls = recording.landmarks().set_index("landmark")["calls"]
    for landmark in ("smp.topk", "gen.sample", "fwd.layer", "fwd.module_call", "smp.multinomial"):
        assert len(recording.find(landmark)) == calls[landmark] > 0
    assert set(recording.find("smp.topk")["function"]) == {"TopKLogitsWarper.__call__"}
    assert set(recording.find("fwd.layer", step=1)["step"]) == {1}


def test_a_landmark_without_a_function_here_is_told_with_the_reason(recording):
    statuses = {status.id: status for status in recording.landmark_statuses if status.function == NOT_OBSERVED}
    name, status = next(iter(statuses.items()))
    with pytest.raises(RecordingError, match=f"{name} is not observed: "):
        recording.find(name)
    assert status.reason


def test_steps_are_those_of_the_generation(recording):
    assert set(recording.find("lm_head", step=2)["step"]) == {2}
    assert len(recording.find("lm_head")) == NEW_TOKENS
    assert recording.find("from_pretrained")["step"].isna().all()


def test_nothing_that_matches_is_an_empty_table_with_the_same_columns(recording):
    empty = recording.find("no such function")
    assert empty.empty
    assert list(empty.columns) == list(recording.find("lm_head").columns)
    assert "event" in repr(empty)


def test_the_text_form_leaves_out_what_differs_from_run_to_run(recording, monkeypatch):
    monkeypatch.setattr(tables, "_is_notebook", lambda: True)
    text = pretty(recording.find("lm_head"))
    assert "milliseconds" not in text
    assert "location" not in text
    assert "(1, 1, 384)" in text


def test_a_loaded_recording_finds_the_same(recording, tmp_path):
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    for asked in ({"name": "attn"}, {"shape": 384}, {"stage": 8}, {"thread": "main"}, {"dtype": "int64", "step": 0}):
        assert loaded.find(**asked).equals(recording.find(**asked))


def test_hostile_names_are_escaped_in_html(recording):
    hostile = Recording(**vars(recording))
    hostile.paths = ["<script>alert(1)</script>"] * len(recording.paths)
    hostile.functions = [function._replace(qualname="<img src=x>") for function in recording.functions]
    found = hostile.find("<script>")
    assert len(found) == len(recording.modules())
    html = found._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html


def test_a_dtype_of_the_library_is_named_as_it_is(tiny_checkpoint):
    network = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    with record() as recording:
        network(torch.zeros(1, 2, dtype=torch.bfloat16))
    dtype = compat.dtype_argument(torch.bfloat16).popitem()[1]
    assert len(recording.find(dtype=dtype)) == len(recording.find(dtype="bfloat16")) == 1


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, r'asked for nothing.*find\("self_attn"\)'),
        ({"name": ""}, "text that is not empty"),
        ({"name": 3}, "a part of the name"),
        ({"thread": 0}, "a part of the thread"),
        ({"shape": "big"}, "give one size"),
        ({"shape": "(1, 2"}, "give one size"),
        ({"shape": ""}, "give one size"),
        ({"shape": 1.5}, "give one size"),
        ({"shape": (1, 2.0)}, "give one size"),
        ({"shape": True}, "give one size"),
        ({"shape": (True, 2)}, "give one size"),
        ({"dtype": 16}, "torch.float16"),
        ({"dtype": torch.device("cpu")}, "torch.float16"),
        ({"device": 0}, "cuda:0"),
        ({"device": torch.zeros(1)}, "cuda:0"),
        ({"stage": 11}, "no such stage.*9 'sampling'"),
        ({"stage": "samplin"}, "no such stage"),
        ({"stage": True}, "no such stage"),
        ({"step": "0"}, "whole number"),
        ({"step": True}, "whole number"),
        ({"step": 99}, "no step 99"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_is_told(recording, asked, message):
    with pytest.raises(RecordingError, match=message):
        recording.find(**asked)


def test_a_step_that_was_not_kept_and_a_running_recording_are_told(tiny_checkpoint):
    short = recorded_call(tiny_checkpoint, steps=1)
    with pytest.raises(RecordingError, match=r"record\(steps=3\)"):
        short.find("lm_head", step=2)
    with record() as running, pytest.raises(RecordingError, match="still running"):
        running.find("lm_head")


def test_a_dtype_that_torch_does_not_have_is_refused_and_one_that_is_not_there_finds_nothing(recording):
    with pytest.raises(RecordingError, match=r"find\(dtype='float99'\): torch has no such dtype. In this recording: "):
        recording.find(dtype="float99")
    assert recording.find(dtype="complex64").empty
