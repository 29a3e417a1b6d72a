"""source(): the text as installed, where it stands, its permalink, and words where there is none."""

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest
import transformers
from packaging.version import Version

from helpers import record
from helpers.events import RecordingError
from helpers.permalinks import permalink
from helpers.probes.functions import PUBLISHED
from helpers.queries.source_text import Source
from helpers.recording.recording import Recording
from helpers.recording.rows import Function
from tests.recorded_call import recorded_call


@pytest.fixture(scope="module")
def recording(tiny_checkpoint) -> Recording:
    return recorded_call(tiny_checkpoint)


def first(recording: Recording, name: str) -> int:
    return int(recording.find(name)["event"].iloc[0])


def test_the_text_is_that_of_the_installed_function(recording):
    source = recording.source(first(recording, "GenerationMixin._sample"))
    assert source.text == inspect.getsource(transformers.GenerationMixin._sample)
    assert source.file == "transformers/generation/utils.py"
    assert source.executed_lines is None


def test_every_source_stands_where_it_says(recording):
    checked = 0
    for index, function in enumerate(recording.functions):
        events = (recording.events["function"] == index).nonzero()[0]
        if f"{function.module}:{function.qualname}" not in recording.sources or not len(events):
            continue
        source = recording.source(int(events[0]))
        file = Path(importlib.import_module(function.module).__file__)
        installed = file.read_text(encoding="utf-8").split("\n")[source.first_line - 1 : source.last_line]
        assert [line for _, line in source.lines] == installed, function
        checked += 1
    assert checked > 50


def test_the_permalink_is_the_same_lines_at_the_release_tag(recording):
    source = recording.source(first(recording, "GenerationMixin._sample"))
    version = Version(transformers.__version__)
    if version.is_prerelease:
        assert source.permalink is None
        return
    assert source.permalink == (
        f"https://github.com/huggingface/transformers/blob/v{version}/src/transformers/generation/utils.py"
        f"#L{source.first_line}-L{source.last_line}"
    )


@pytest.mark.parametrize(
    ("file", "version", "url"),
    [
        ("transformers/a.py", "5.23.0", "huggingface/transformers/blob/v5.23.0/src/transformers/a.py"),
        ("accelerate/a/b.py", "1.15.0", "huggingface/accelerate/blob/v1.15.0/src/accelerate/a/b.py"),
        ("safetensors/a.py", "0.8.0", "huggingface/safetensors/blob/v0.8.0/bindings/python/py_src/safetensors/a.py"),
        ("huggingface_hub/a.py", "2.4.0", "huggingface/huggingface_hub/blob/v2.4.0/src/huggingface_hub/a.py"),
        ("torch/nn/modules/module.py", "2.13.0+cpu", "pytorch/pytorch/blob/v2.13.0/torch/nn/modules/module.py"),
    ],
)  # fmt: skip
def test_permalinks_of_the_packages_on_the_path(file, version, url):
    assert permalink(file, 10, 20, {file.split("/")[0]: version}) == (f"https://github.com/{url}#L10-L20", "")


@pytest.mark.parametrize(
    ("file", "versions", "reason"),
    [
        ("transformers/a.py", {"transformers": "5.24.0.dev0"}, "not a release"),
        ("transformers/a.py", {"transformers": "5.0.0rc1"}, "not a release"),
        ("transformers/a.py", {"transformers": "5.23.0+patched"}, "not a release"),
        ("torch/a.py", {"torch": "2.14.0a0+git1234"}, "not a release"),
        ("transformers/a.py", {"transformers": None}, "not recorded"),
        ("transformers/a.py", {}, "not recorded"),
        ("transformers/a.py", {"transformers": "main"}, "not a version"),
        ("my_model/a.py", {}, "is not known"),
        ("copy.py", {}, "is not known"),
        ("transformers", {"transformers": "5.23.0"}, "is not known"),
    ],
)
def test_where_there_is_no_permalink_the_reason_is_told(file, versions, reason):
    link, told = permalink(file, 10, 20, versions)
    assert link is None
    assert reason in told


def test_source_as_text_has_line_numbers(recording):
    source = recording.source(first(recording, "GenerationMixin._sample"))
    lines = repr(source).split("\n")
    assert lines[0] == "transformers.generation.utils:GenerationMixin._sample"
    assert lines[1] == f"transformers/generation/utils.py:{source.first_line}"
    assert lines[3].split() == [str(source.first_line), "def", "_sample("]
    assert lines[-1].split()[0] == str(source.last_line)


def example(**changes) -> Source:
    source = Source("m", "f", "m.py", 9, "def f():\n    a = 1\n\n    return a\n", None, "not published")
    return dataclasses.replace(source, **changes)


def test_executed_lines_are_marked():
    text = repr(example(executed_lines=(10, 12)))
    assert text.split("\n")[3:] == ["   9  def f():", "▸ 10      a = 1", "  11", "▸ 12      return a"]
    html = example(executed_lines=(10, 12))._repr_html_()
    assert html.count("▸") == 2
    assert "▸" not in repr(example())


def test_a_form_feed_does_not_end_a_line():
    assert example(text="def f():\n    '\x0c\u2028'\n    return 1\n").last_line == 11


def test_html_is_escaped():
    hostile = "<script>alert(1)</script>"
    source = example(
        qualname=hostile, file=hostile, text=f"def f():\n    '{hostile}'\n", permalink=f'https://x/"{hostile}',
    )  # fmt: skip
    for html in (source._repr_html_(), example(no_permalink=hostile)._repr_html_()):
        assert "<script" not in html
        assert "&lt;script&gt;" in html
    assert 'https://x/"' not in source._repr_html_()


def test_a_loaded_recording_has_the_same_sources(recording, tmp_path):
    loaded = Recording.load(recording.save(tmp_path / "run.json.gz"))
    event = first(recording, "apply_rotary_pos_emb")
    assert loaded.source(event) == recording.source(event)


# what did not travel with the recording ------------------------------------------------------------------------------


def test_here_every_function_that_has_source_has_it_as_installed(tiny_checkpoint):
    """Those of the zoom calls, of which few travel with the recording: from the files of the same release."""
    recording = recorded_call(tiny_checkpoint, "calls", "modules", steps=1)
    travelled = installed = 0
    for index, function in enumerate(recording.functions):
        events = (recording.events["function"] == index).nonzero()[0]
        if not len(events) or function.file.split("/")[0] not in PUBLISHED:
            continue  # of the standard library: its landmarks travel
        source = recording.source(int(events[0]))
        lines = Path(importlib.util.find_spec(function.file.split("/")[0]).origin).parents[1] / function.file
        text = lines.read_text(encoding="utf-8").split("\n")
        block = inspect.getblock([f"{line}\n" for line in text[function.line - 1 :]])
        assert source.text == "".join(block), function
        has = f"{function.module}:{function.qualname}" in recording.sources
        travelled, installed = travelled + has, installed + (not has)
    assert travelled > 50
    assert installed > 100


# refusals ------------------------------------------------------------------------------------------------------------


def test_a_builtin_has_no_source(recording):
    event = first(recording, "multinomial")
    parent = int(recording.events["parent"][event])
    with pytest.raises(RecordingError, match="multinomial is a builtin") as refused:
        recording.source(event)
    assert str(refused.value).endswith(f"It was called within GenerationMixin._sample: see source({parent}).")
    assert "torch.multinomial" in recording.source(parent).text


def elsewhere(recording: Recording, **changes) -> Recording:
    """The recording as it is read where other versions are installed."""
    other = Recording(**(vars(recording) | changes))
    other.environment = recording.environment | {"transformers": "4.0.0", "torch": "1.0.0"}
    return other


def test_what_did_not_travel_is_not_made_up_elsewhere(recording):
    event = first(recording, "act_fn")
    told = r"sources travel for landmarks.*recorded with (transformers 4|torch 1)\.0\.0; installed here: \d.*\.py:\d+"
    with pytest.raises(RecordingError, match=told):
        elsewhere(recording).source(event)


def test_a_file_that_could_not_be_read_is_told(recording):
    with pytest.raises(RecordingError, match=r"utils\.py could not be read when it was made"):
        elsewhere(recording, sources={}).source(first(recording, "GenerationMixin._sample"))


def test_of_two_functions_of_one_name_the_text_is_not_guessed(recording):
    event = first(recording, "GenerationMixin._sample")
    twin = recording.functions[recording.events["function"][event]]._replace(line=1)
    twins = {"functions": [*recording.functions, twin]}
    with pytest.raises(RecordingError, match="Several functions are called"):
        elsewhere(recording, **twins).source(event)
    here = Recording(**(vars(recording) | twins))  # there the installed file tells which
    assert here.source(event) == recording.source(event)


def test_a_function_that_does_not_stand_there_is_not_shown(recording):
    event = first(recording, "act_fn")
    index = recording.events["function"][event]
    moved = list(recording.functions)
    moved[index] = moved[index]._replace(line=moved[index].line + 1)
    with pytest.raises(RecordingError, match=rf"has no {moved[index].qualname} at line {moved[index].line} here"):
        Recording(**(vars(recording) | {"functions": moved})).source(event)


def test_what_was_made_from_a_text_is_in_no_file(monkeypatch):
    made = {"__name__": "made"}
    exec("def double(number):\n    return number * 2\n", made)
    module = ModuleType("made")
    vars(module).update(made)
    monkeypatch.setitem(sys.modules, "made", module)
    with record(lines=["made:double"]) as recording:
        module.double(2)
    with pytest.raises(RecordingError, match=r"double was made from a text .*: no file holds its source"):
        recording.source(0)


def test_a_function_of_the_readers_own_has_no_version_to_compare(recording):
    event = first(recording, "act_fn")
    own = list(recording.functions)
    own[recording.events["function"][event]] = Function("my_model", "Net.forward", "my_model/net.py", 3)
    with pytest.raises(RecordingError, match=r'lines=\("my_model:Net.forward",\)\. It stands at my_model'):
        Recording(**(vars(recording) | {"functions": own})).source(event)


@pytest.mark.parametrize("event", ["0", 1.0, None, True, -1, 10**6])
def test_tensors_of_what_is_no_event(recording, event):
    with pytest.raises(RecordingError, match=r"give the number of an event|There is no event"):
        recording.tensors(event)


@pytest.mark.parametrize("event", ["0", 1.0, None, True])
def test_what_is_no_event_number_is_told(recording, event):
    with pytest.raises(RecordingError, match="the number of an event"):
        recording.source(event)


def test_an_event_that_there_is_not_is_told(recording):
    for event in (-1, len(recording)):
        with pytest.raises(RecordingError, match=f"no event {event}"):
            recording.source(event)
    with record() as running, pytest.raises(RecordingError, match="still running"):
        running.source(0)


@pytest.mark.parametrize("file", ["torch/../private.py", "torch/a/../../private.py", "private.py", "/private.py"])
def test_a_hostile_file_name_leads_to_no_file_outside_the_packages(file, tmp_path, monkeypatch):
    from importlib import metadata

    from helpers.queries import installed_source
    from helpers.recording.rows import Function

    (tmp_path / "torch" / "a").mkdir(parents=True)
    (tmp_path / "private.py").write_text("def secret():\n    return 1\n", encoding="utf-8")
    monkeypatch.setattr(installed_source, "_folder", lambda package: tmp_path)
    function = Function(module="private", qualname="secret", file=file, line=1)
    text, reason = installed_source.installed_text(function, {"torch": metadata.version("torch")})
    assert text is None
    assert "is of no package" in reason
