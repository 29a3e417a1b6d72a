"""diff(): what is equal is left out, what differs is told once, and what cannot be compared is said."""

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from helpers import record
from helpers.events import RecordingError
from helpers.queries.folding import folded_name, ranges, told_steps
from helpers.recording.recording import Recording
from tests.recorded_call import NEW_TOKENS, recorded_call

LAYERS = 2
IS_4_47 = transformers.__version__.startswith("4.47")


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint)


@pytest.fixture(scope="module")
def eager(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint, attention="eager")


@pytest.fixture(scope="module")
def bfloat16(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint, dtype=torch.bfloat16)


def rows(table, **wanted) -> list[dict]:
    """The rows that have these values."""
    return [row for row in table.to_dict("records") if all(row[name] == value for name, value in wanted.items())]


# equal runs ----------------------------------------------------------------------------------------------------------


def test_a_recording_does_not_differ_from_itself_or_from_a_run_of_the_same(recording, tiny_checkpoint):
    assert recording.diff(recording).empty
    assert recording.diff(recorded_call(tiny_checkpoint)).empty


def test_a_loaded_recording_differs_in_the_same_way(recording, eager, tmp_path):
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    assert recording.diff(loaded).empty
    assert loaded.diff(eager).equals(recording.diff(eager))


# two attention implementations ---------------------------------------------------------------------------------------


def test_eager_attention_runs_without_sdpa(recording, eager):
    table = recording.diff(eager)
    (gone,) = rows(table, what="gone", name="fwd.sdpa")
    calls = LAYERS * NEW_TOKENS
    assert gone["before"] == f"{calls} calls of scaled_dot_product_attention"
    assert gone["after"].startswith("not observed: it was not called by sdpa_attention_forward or ")
    (back,) = rows(eager.diff(recording), what="appeared", name="fwd.sdpa")
    assert (back["before"], back["after"]) == (gone["after"], gone["before"])


def test_the_softmax_of_eager_attention_is_none_of_the_sampling(recording, eager):
    assert not rows(recording.diff(eager), name="smp.softmax")
    landmarks = eager.landmarks().set_index("landmark")
    assert landmarks.loc["smp.softmax", ["calls", "per_step"]].tolist() == [NEW_TOKENS, 1]
    assert landmarks.loc["smp.softmax", "tensors_in"].startswith("input (1, ")


@pytest.mark.parametrize("zoom", [("landmarks", "functions"), ("functions", "modules"), ("calls",)])
def test_a_zoom_that_shows_it_counts_it_apart(tiny_checkpoint, zoom):
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint, attn_implementation="eager")
    with record(*zoom) as recorded:
        model.generate(torch.arange(4)[None], do_sample=True, max_new_tokens=2, min_new_tokens=2)
    assert recorded.landmarks().set_index("landmark").loc["smp.softmax", "calls"] == 2
    assert len(recorded.find("smp.softmax")) == 2
    assert len(recorded.find("functional:softmax")) == 2 * (1 + LAYERS)
    assert len(recorded.find("functional:softmax", stage="sampling")) == 2
    sampling = recorded.landmarks().groupby("stage")["calls"].sum()[9]
    assert recorded.stages().set_index("stage").loc[9, "calls"] == sampling


@pytest.mark.skipif(IS_4_47, reason="there each attention is a class, and gives its weights where they are asked for")
def test_eager_attention_gives_its_weights_and_the_layers_are_one_row(recording, eager):
    prefill = recording.find("embed_tokens", step=0)["event"].iloc[0]
    tokens = recording.tensors(int(prefill))[0][0].shape[1]
    (weights,) = rows(
        recording.diff(eager), what="tensor appeared", name="model.layers.*.self_attn", tensors="output.1"
    )
    assert weights["count"] == LAYERS
    assert weights["steps"] == f"0-{NEW_TOKENS - 1}"
    assert weights["before"] == ""
    assert weights["after"].startswith(f"(1, 4, {tokens}, {tokens}) float32; (1, 4, 1, {tokens + 1}) float32; ")
    assert weights["after"].endswith(f" and {NEW_TOKENS - 3} more")


# two dtypes ----------------------------------------------------------------------------------------------------------


def test_another_dtype_changes_dtypes_and_nothing_else(recording, bfloat16):
    table = recording.diff(bfloat16)
    assert set(table["what"]) == {"dtype", "value"}
    dtypes = table.query("what == 'dtype'")
    assert set(dtypes["before"]) == {"float32"}
    assert set(dtypes["after"]) - {"bfloat16; float32"} == {"bfloat16"}  # 4.57's norm is given both
    asked = [row for row in rows(table, what="value") if row["before"] != "True"]  # 4.47: whether it is the default
    assert asked
    for row in asked:  # the dtype that was asked for, on its way to the tensors
        assert "float32" in row["before"]
        assert "bfloat16" in row["after"]


def test_the_ledger_tells_which_parameters_have_another_dtype(recording, bfloat16):
    parameters = recording.diff(bfloat16).query("of == 'parameter'")
    assert set(parameters["what"]) == {"dtype"}
    assert parameters["count"].sum() == len(recording.parameters())
    (layers,) = rows(parameters, name="model.layers.*.mlp.up_proj.weight")
    assert (layers["before"], layers["after"], layers["count"]) == ("float32", "bfloat16", LAYERS)


def test_the_ledger_tells_devices_files_and_status(recording):
    other = Recording(**vars(recording))
    other.loads = [
        row._replace(device="disk", file="model.safetensors", status="offloaded")
        if row.parameter and row.parameter.endswith("mlp.up_proj.weight")
        else row
        for row in recording.loads[1:]
    ]
    table = recording.diff(other).query("of == 'parameter'")
    (gone,) = rows(table, what="gone")
    assert gone["name"] == recording.loads[0].parameter
    (device,) = rows(table, what="device")
    assert (device["name"], device["before"], device["after"]) == ("model.layers.*.mlp.up_proj.weight", "cpu", "disk")
    assert rows(table, what="status")[0]["after"] == "offloaded"
    assert {row["after"] for row in rows(table, what="file")} == {"model.safetensors"}


def test_an_argument_with_another_value_is_told_once_for_the_landmark(recording, eager):
    table = recording.diff(eager)
    (row,) = rows(table, what="value", name="auto.from_pretrained")
    assert (row["tensors"], row["before"], row["after"]) == ("attn_implementation", "'sdpa'", "'eager'")
    (model,) = rows(table, what="model")
    assert model["before"] == "LlamaForCausalLM with sdpa attention"
    assert model["after"] == "LlamaForCausalLM with eager attention"


@pytest.mark.skipif(transformers.__version__ == "4.47.1", reason="the reference recording is of this version")
def test_the_reference_recording_of_another_version_is_told_by_landmark(recording):
    from helpers.reference_recording import committed

    before = committed()
    table = before.diff(recording)
    assert table["what"].value_counts()["version"] >= 1
    (version,) = rows(table, what="version", name="transformers")
    assert version["before"] == "4.47.1"
    if recording.environment["transformers"].startswith("5"):
        assert rows(table, what="gone", name="load.into_model")
        assert rows(table, what="appeared", name="load.materialize")
        (moved,) = rows(table, what="moved", name="fwd.attn")
        assert moved["before"].startswith("LlamaSdpaAttention.forward transformers/models/llama/modeling_llama.py:")
        assert moved["after"].startswith("LlamaAttention.forward ")


def test_every_module_is_told_of_in_all_steps(recording, bfloat16):
    modules = recording.diff(bfloat16).query("of == 'module'")
    assert set(modules["steps"]) == {f"0-{NEW_TOKENS - 1}"}
    assert modules["count"].sum() == recording.modules()["path"].nunique()
    (layers,) = rows(modules, name="model.layers.*")
    assert layers["count"] == LAYERS
    output = "output" if transformers.__version__.startswith("5") else "output.0"  # before, a tuple in some versions
    assert layers["tensors"] in (f"hidden_states, {one}, position_embeddings.*" for one in ("output", output))
    assert rows(modules, name="(the model)")


def test_integer_tensors_are_equal_and_left_out(recording, bfloat16):
    for row in recording.diff(bfloat16).to_dict("records"):
        assert "input_ids" not in row["tensors"]


def test_another_prompt_changes_shapes_of_the_prefill_only_where_no_cache_is_seen(recording, tiny_checkpoint):
    other = recorded_call(tiny_checkpoint, prompt="hello there, hello there")
    (embedding,) = rows(recording.diff(other), what="shape", name="model.embed_tokens", tensors="output")
    shapes = [recording.find("embed_tokens", step=0), other.find("embed_tokens", step=0)]
    assert [f"output {embedding[side]}" for side in ("before", "after")] == [
        table["outputs"].iloc[0] for table in shapes
    ]
    assert embedding["steps"] == "0"


# two versions --------------------------------------------------------------------------------------------------------


def with_functions(recording: Recording, change) -> Recording:
    """A copy in which `change` was applied to each function."""
    other = Recording(**vars(recording))
    other.functions = [change(function) for function in recording.functions]
    return other


def test_what_moved_to_another_file_or_name_is_told_with_both_places(recording):
    def renamed(function):
        if function.qualname != "GenerationMixin._sample":
            return function
        return function._replace(qualname="Sampler.sample", file="transformers/generation/sampler.py", line=7)

    table = recording.diff(with_functions(recording, renamed))
    (row,) = table.to_dict("records")
    assert (row["what"], row["name"]) == ("moved", "gen.sample")
    assert row["before"].startswith("GenerationMixin._sample transformers/generation/utils.py:")
    assert row["after"] == "Sampler.sample transformers/generation/sampler.py:7"


def test_what_stands_at_another_line_comes_last_and_each_function_once(recording):
    def lower(function):
        return function._replace(line=function.line + 5) if function.line else function

    other = with_functions(recording, lower)
    other.environment = recording.environment | {"transformers": "9.9.9"}
    table = recording.diff(other)
    assert rows(table, what="version") == [
        {
            "what": "version", "of": "package", "name": "transformers", "steps": "", "tensors": "",
            "before": recording.environment["transformers"], "after": "9.9.9", "count": 1,
        }
    ]  # fmt: skip
    assert set(table["what"][1:]) == {"line"}
    assert table["name"].is_unique
    (activation,) = rows(table, of="function", name="transformers.activations:SiLUActivation.forward") or rows(
        table, of="function", name="torch.nn.modules.activation:SiLU.forward"
    )
    assert int(activation["after"].rpartition(":")[2]) == int(activation["before"].rpartition(":")[2]) + 5


def test_another_class_of_a_module_is_told_of_the_module(recording):
    def renamed(function):
        return function._replace(qualname=function.qualname.replace("Attention.forward", "OtherAttention.forward"))

    table = recording.diff(with_functions(recording, renamed))
    (row,) = rows(table, of="module")
    assert (row["what"], row["name"], row["count"]) == ("moved", "model.layers.*.self_attn", LAYERS)
    assert "OtherAttention.forward " in row["after"]


def test_a_landmark_that_a_table_does_not_have_is_not_observed(recording):
    other = Recording(**vars(recording))
    other.landmark_statuses = [status for status in recording.landmark_statuses if status.id != "gen.generate"]
    (row,) = rows(recording.diff(other), what="gone", of="landmark")
    assert row["before"] == "1 call of GenerationMixin.generate"
    assert row["after"] == "not observed: not in that recording's table"


# what cannot be compared ---------------------------------------------------------------------------------------------


def test_steps_that_only_one_kept_are_left_out_and_said(recording, tiny_checkpoint):
    (row,) = recording.diff(recorded_call(tiny_checkpoint, steps=2)).to_dict("records")
    assert (row["what"], row["name"], row["steps"]) == ("not compared", "generation 0", f"2-{NEW_TOKENS - 1}")
    assert (row["before"], row["after"]) == ("kept in full", "a summary row")


def test_modules_that_only_one_recorded_are_left_out_and_said(recording, tiny_checkpoint):
    table = recording.diff(recorded_call(tiny_checkpoint, "landmarks"))
    (row,) = rows(table, what="not compared")
    # a forward tells of a None that its caller left out, where calls are recorded: in 5.0.0 it meets both
    assert set(table["what"]) <= {"not compared", "value"}
    assert (row["what"], row["name"]) == ("not compared", "modules")
    assert (row["before"], row["after"]) == ("recorded", "not recorded")


def test_a_generation_that_only_one_had_is_said(recording):
    with record() as nothing:
        pass
    table = recording.diff(nothing)
    assert list(table["what"][:2]) == ["not compared", "not compared"]
    assert list(table["after"][:2]) == ["no load", "did not run"]
    assert {"gone", "not compared"} == set(table["what"])


def test_something_that_is_no_recording_is_refused(recording):
    with pytest.raises(RecordingError, match="not with dict"):
        recording.diff({})
    with record() as running, pytest.raises(RecordingError, match="still running"):
        running.diff(recording)
    with record() as running, pytest.raises(RecordingError, match="still running"):
        recording.diff(running)


# folding -------------------------------------------------------------------------------------------------------------


class Cast(torch.nn.Module):
    """A layer that hands its input on in a dtype of its own."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states.to(self.dtype)


class Stack(torch.nn.Module):
    """Thirty layers, of which those in `low` give bfloat16."""

    def __init__(self, low: range) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(Cast(torch.bfloat16 if i in low else torch.float32) for i in range(30))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            layer(x)
        return x


def recorded_stack(low: range = range(0), device: str = "cpu") -> Recording:
    with record() as recording:
        Stack(low)(torch.zeros(2, device=device))
    return recording


def test_thirty_equal_layers_are_one_row():
    (row,) = rows(recorded_stack().diff(recorded_stack(range(30))), of="module")
    assert (row["what"], row["name"], row["count"]) == ("dtype", "layers.*", 30)
    assert (row["steps"], row["tensors"]) == ("", "output")


def test_some_of_thirty_layers_are_named_by_number():
    (row,) = rows(recorded_stack().diff(recorded_stack(range(20, 30))), of="module")
    assert (row["name"], row["count"]) == ("layers.{20-29}", 10)


def test_two_devices():
    table = recorded_stack().diff(recorded_stack(device="meta"))
    changed = [(row["what"], row["name"], row["before"], row["after"]) for row in rows(table, of="module")]
    assert changed == [("device", "(the model)", "cpu", "meta"), ("device", "layers.*", "cpu", "meta")]


def test_a_module_that_is_called_more_often_or_only_in_one():
    def recorded(times: int, *more: torch.nn.Module) -> Recording:
        with record() as recording:
            torch.nn.Sequential(*[torch.nn.ReLU()], *more)(torch.zeros(2))
            network = torch.nn.Identity()
            for _ in range(times):
                network(torch.zeros(2))
        return recording

    table = recorded(1).diff(recorded(3, torch.nn.Tanh()))
    assert rows(table, what="appeared", of="module", name="1")[0]["after"] == "Tanh"
    (calls,) = rows(table, what="calls", of="module")
    assert (calls["name"], calls["before"], calls["after"]) == ("(the model)", "2", "4")


def test_names_of_folded_modules():
    family = {f"layers.{i}.experts.{j}" for i in range(2) for j in range(3)}
    assert folded_name(sorted(family), family) == "layers.*.experts.*"
    assert folded_name(sorted(family)[:4], family) == "layers.*.experts.* (4 of 6)"
    assert folded_name(["layers.1.experts.2"], family) == "layers.1.experts.2"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert told_steps([(0, 0), (0, 1)]) == "0-1"
    assert told_steps([(-1, -1)]) == ""
    assert told_steps([(0, 0), (1, 0), (1, 1)]) == "generation 0: 0; generation 1: 0-1"


def test_hostile_names_are_escaped_in_html(recording, bfloat16):
    hostile = [Recording(**vars(one)) for one in (recording, bfloat16)]
    for one in hostile:
        one.paths = [f"<script>{path}</script>" for path in one.paths]
        one.specs = [spec._replace(path=f"<img src=x>{spec.path}") for spec in one.specs]
    html = hostile[0].diff(hostile[1])._repr_html_()
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;model.layers.*.mlp&lt;/script&gt;" in html


def test_experts_that_fill_one_parameter_are_compared_one_by_one(recording):
    row = recording.loads[0]
    experts = [
        row._replace(key=f"experts.{number}.up", parameter="experts.up", file="a.safetensors") for number in range(2)
    ]
    moved = [experts[0]._replace(file="b.safetensors"), experts[1]]
    one, other = (Recording(**(vars(recording) | {"loads": loads})) for loads in (experts, moved))
    assert one.diff(Recording(**vars(one))).empty
    (change,) = rows(one.diff(other), of="parameter")
    assert (change["name"], change["before"], change["after"]) == (
        "experts.up from experts.0.up", "a.safetensors", "b.safetensors",
    )  # fmt: skip
