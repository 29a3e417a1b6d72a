"""Files of recordings that somebody made or broke: refused in words, or every question is answered. Never a crash."""

import contextlib
import copy
import gzip
import json
import random

import pytest

from helpers.events import RecordingError
from helpers.recording import file as recording_file
from helpers.recording.recording import Recording
from tests.recorded_call import recorded_call

MUTATIONS = 100
EVERYTHING = ("landmarks", "modules", "memory", "functions", "sampling", "values", "lines")
HOSTILE_VALUES = (
    None, True, -1, -2, 0, 1, 10**9, 2**63, 10**30, 0.5, 1e308, "", "x", "<script>alert(1)</script>", "\ud800", [],
    [[]], [1], ["x"], {}, {"x": 1}, [None], "\x00", "../../etc",
)  # fmt: skip


@pytest.fixture(scope="module")
def document(tiny_checkpoint, tmp_path_factory) -> dict:
    """The content of a file with something in every part."""
    recording = recorded_call(tiny_checkpoint, *EVERYTHING, steps=1)
    file = recording.save(tmp_path_factory.mktemp("hostile") / "run.json.gz")
    content = json.loads(gzip.decompress(file.read_bytes()))
    empty = [name for name, part in content.items() if not part and name != "warnings"]
    assert empty == []
    return content


@pytest.fixture
def load(tmp_path):
    def load_text(text: str) -> Recording:
        file = tmp_path / "run.json.gz"
        file.write_bytes(gzip.compress(text.encode("utf-8", "surrogatepass"), compresslevel=1))
        return Recording.load(file)

    return load_text


def questions(recording: Recording, other: Recording, folder) -> dict:
    """Every question, by name."""
    return {
        "repr": lambda: (repr(recording), recording._repr_html_()),
        "landmarks": lambda: recording.landmarks()._repr_html_(),
        "stages": recording.stages,
        "modules": recording.modules,
        "modules of a step": lambda: recording.modules(step=0),
        "calls": lambda: recording.calls()._repr_html_(),
        "lines": recording.lines,
        "sampling": recording.sampling,
        "values": recording.values,
        "steps": recording.steps,
        "kv_cache": recording.kv_cache,
        "weights": recording.weights,
        "parameters": recording.parameters,
        "shards": recording.shards,
        "memory": recording.memory,
        "to_frame": recording.to_frame,
        "find": lambda: recording.find("attn"),
        "source": lambda: sources(recording),
        "diff": lambda: (recording.diff(other), other.diff(recording)),
        "to_perfetto": lambda: recording.to_perfetto(folder / "trace.json.gz"),
        "save": lambda: Recording.load(recording.save(folder / "again.json.gz")),
    }


def sources(recording: Recording) -> list:
    """The sources of some events; of builtins there is none."""
    found = []
    for event in range(0, len(recording), 31):
        with contextlib.suppress(RecordingError):
            found.append(repr(recording.source(event)))
    return found


def places(value, path=()):
    """Every place in a document, as a path of keys; of long lists the ends only."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for position in sorted({0, 1, len(value) - 1} & set(range(len(value)))):
            yield from places(value[position], (*path, position))


def changed(document: dict, path: tuple, value: object) -> dict:
    """A copy of the parts on the way to `path`, with `value` there."""
    if not path:
        return value
    made = copy.copy(document)
    made[path[0]] = changed(document[path[0]], path[1:], value)
    return made


def test_the_document_itself_is_fine(document, load, tmp_path):
    recording = load(json.dumps(document))
    for ask in questions(recording, recording, tmp_path).values():
        ask()


def test_whatever_stands_anywhere_is_refused_or_every_question_is_answered(document, load, tmp_path):
    whole = load(json.dumps(document))
    chance = random.Random(20)
    everywhere = list(places(document))[1:]
    refused = answered = 0
    for _ in range(MUTATIONS):
        path, value = chance.choice(everywhere), chance.choice(HOSTILE_VALUES)
        try:
            recording = load(json.dumps(changed(document, path, value)))
        except RecordingError:
            refused += 1
            continue
        answered += 1
        for name, ask in chance.sample(sorted(questions(recording, whole, tmp_path).items()), 6):
            try:
                ask()
            except RecordingError:
                pass  # a question that this recording cannot answer, in words
            except Exception as error:
                pytest.fail(f"{name} of a file with {value!r} at {path}: {type(error).__name__}: {error}")
    assert refused > MUTATIONS / 3
    assert answered > MUTATIONS / 20


@pytest.mark.parametrize("part", ["environment", "functions", "events", "loads", "sources", "step_rows", "specs"])
def test_a_missing_part_is_refused(document, load, part):
    with pytest.raises(RecordingError, match=f"damaged: KeyError: '{part}'"):
        load(json.dumps({name: value for name, value in document.items() if name != part}))


@pytest.mark.parametrize("name", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(document, load, name):
    text = json.dumps(changed(document, ("environment", "cpus"), "PUT IT HERE")).replace('"PUT IT HERE"', name)
    with pytest.raises(RecordingError, match=f"damaged: its content is not JSON.*{name} is no number"):
        load(text)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "", "null", "3", '"text"', "[]", "{}"])
def test_deep_and_foreign_json_is_refused(load, text):
    with pytest.raises(RecordingError):
        load(text)


@pytest.mark.parametrize("schema", [0, -1, True, None, "1", 1.0, 10**30])
def test_a_schema_that_there_is_not_is_refused(document, load, schema):
    with pytest.raises(RecordingError, match=r"has schema"):
        load(json.dumps(document | {"schema": schema}))


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    file = tmp_path / "bomb.json.gz"
    zeros = bytes(2**20)
    with gzip.open(file, "wb", compresslevel=9) as bomb:
        for _ in range(recording_file.LARGEST // len(zeros) + 1):
            bomb.write(zeros)
    assert file.stat().st_size < 2**20
    with pytest.raises(RecordingError, match="unpacks to more than"):
        Recording.load(file)


def test_what_load_would_refuse_is_not_saved(document, load, tmp_path, monkeypatch):
    recording = load(json.dumps(document))
    monkeypatch.setattr(recording_file, "LARGEST", 10_000)
    with pytest.raises(RecordingError, match="record fewer steps in full, or a coarser zoom"):
        recording.save(tmp_path / "large.json.gz")
    assert not (tmp_path / "large.json.gz").exists()


def test_a_cache_with_endless_layers_is_refused(document, load):
    """One row stands for many layers: a table of them would fill the memory."""
    with pytest.raises(RecordingError, match="'layers' points outside"):
        load(json.dumps(changed(document, ("cache_rows", "layers", 0), 10**12)))


def test_truncated_at_any_place_is_refused(document, tmp_path):
    whole = gzip.compress(json.dumps(document).encode())
    for length in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        file = tmp_path / "run.json.gz"
        file.write_bytes(whole[:length])
        with pytest.raises(RecordingError):
            Recording.load(file)


def test_one_flipped_bit_is_refused_or_nothing_has_changed(document, load, tmp_path):
    whole = bytearray(gzip.compress(json.dumps(document).encode()))
    chance = random.Random(3)
    for _ in range(20):
        broken = bytearray(whole)
        broken[chance.randrange(20, len(broken))] ^= 1 << chance.randrange(8)
        file = tmp_path / "run.json.gz"
        file.write_bytes(bytes(broken))
        with pytest.raises(RecordingError):
            Recording.load(file)


def test_html_in_names_is_text_in_every_table(document, load):
    hostile = "<img src=x onerror=alert(1)>"
    content = copy.deepcopy(document)
    content["paths"] = [hostile + path for path in content["paths"]]
    content["threads"] = [hostile + name for name in content["threads"]]
    content["functions"] = [[module, hostile + name, file, line] for module, name, file, line in content["functions"]]
    content["specs"] = [[hostile + spec[0], *spec[1:]] for spec in content["specs"]]
    content["loads"]["key"] = [hostile] * len(content["loads"]["key"])
    content["warnings"] = [hostile]
    content["environment"]["transformers"] = hostile
    content["weights"]["device"] = [hostile] * len(content["weights"]["device"])
    recording = load(json.dumps(content))
    tables = [
        recording.landmarks(), recording.modules(), recording.calls(), recording.parameters(), recording.weights(),
        recording.stages(), recording.to_frame(), recording.find("attn"), recording.diff(recording),
    ]  # fmt: skip
    for html in [recording._repr_html_(), *(table._repr_html_() for table in tables)]:
        assert "<img" not in html
    assert "&lt;img" in recording._repr_html_()


def test_a_folder_is_no_recording(tmp_path):
    with pytest.raises(RecordingError, match="not a readable recording"):
        Recording.load(tmp_path)
