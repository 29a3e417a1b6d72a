"""The reference recording: the one made in 4.47.1, committed, and the command that makes it."""

import gzip
import json
import re

import pytest
import transformers
from transformers import AutoTokenizer

from helpers import landmarks, reference_recording
from helpers.events import RecordingError
from helpers.recording.recording import Recording

VERSIONS = landmarks.tested_versions()
README = (reference_recording.FOLDER / "README.md").read_text(encoding="utf-8")
MOST_BYTES, MOST_BYTES_OF_ONE = 1_500_000, 700_000
"""Of all files together, and of each."""
ONLY_IN_4 = {"load.state_dict", "load.safetensors_file", "load.into_model", "load.assign_check", "load.gc"}
LAYERS, SHARDS, TENSORS = 30, 3, 272
PATH = re.compile(r'"(?:[^"]*[ =:(])?(?:/|~/?|[A-Za-z]:\\\\)[^"]*"')
"""In JSON: a text with an absolute path of Linux, macOS or Windows, or a home directory."""


@pytest.fixture(scope="module")
def recording() -> Recording:
    return reference_recording.committed()


@pytest.fixture(scope="module", params=VERSIONS)
def each(request) -> Recording:
    """The recording of each tested version."""
    return reference_recording.committed(request.param)


def calls_of(recording) -> dict[str, int]:
    return dict(recording.landmarks().set_index("landmark")["calls"])


def test_it_was_made_in_the_version_of_the_article(recording):
    assert recording.environment["transformers"] == "4.47.1"


def test_there_is_one_of_each_tested_version_and_together_they_are_small():
    files = sorted(reference_recording.FOLDER.glob("*.json.gz"))
    assert {file.name for file in files} == {reference_recording.path(version).name for version in VERSIONS}
    assert sum(file.stat().st_size for file in files) < MOST_BYTES
    assert max(file.stat().st_size for file in files) <= MOST_BYTES_OF_ONE


def test_how_each_was_made_is_written_beside_it(each):
    told = each.environment
    packages = ("transformers", "accelerate", "safetensors", "tokenizers", "huggingface_hub", "torch", "python")
    file = reference_recording.path(told["transformers"]).name
    assert f"| `{file}` | {' | '.join(told[package] for package in packages)} |" in README
    command = "-m helpers.reference_recording"
    made_by = f"python tests/versions.py {told['transformers']} -- {command}"
    assert (made_by if told["transformers"] != VERSIONS[-1] else f"    python {command}") in README


def test_prompt_seed_token_ids_and_text_are_in_it_and_are_the_same_in_all(each, recording):
    kept = [
        (one.environment["sampled_prompt"], one.environment["sampled_seed"], one.environment["sampled_text"])
        for one in (each, recording)
    ]
    assert kept[0] == kept[1]
    ids = [one.sampling()["token"].dropna().astype(int).tolist() for one in (each, recording)]
    assert ids[0] == ids[1]
    assert len(ids[0]) == reference_recording.NEW_TOKENS


def test_the_text_is_that_of_the_token_ids(recording, demo_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(demo_checkpoint)
    ids = recording.sampling()["token"].dropna().astype(int).tolist()
    assert tokenizer.decode(ids, skip_special_tokens=True) == recording.environment["sampled_text"]
    assert reference_recording.prompt(tokenizer) == recording.environment["sampled_prompt"]


def test_it_is_the_run_that_is_described(each):
    assert each.warnings == []
    assert each.environment["zoom"] == ["landmarks", "modules", "memory", "sampling"]
    steps = each.steps()
    assert len(steps) == reference_recording.NEW_TOKENS == 16
    assert list(steps["kept"]) == [True] * 4 + [False] * 12
    assert list(steps["kv_tokens"]) == [173 + step for step in range(16)]
    prefill = each.modules(step=0).set_index("path")["event"]
    shapes = [each.tensors(prefill[path])[1][0].shape for path in ("model.embed_tokens", "lm_head")]
    assert shapes == [(1, 173, 576), (1, 1, 49152)]


def test_both_ways_of_loading_are_in_it(recording):
    ledger = recording.parameters()
    loaded = ledger[ledger["status"] == "loaded"].groupby("load").size()
    assert dict(loaded) == {0: TENSORS, 1: TENSORS}
    assert set(ledger["dtype"].dropna()) == {"float32"}
    calls = calls_of(recording)
    assert calls["load.into_model"] == SHARDS  # load 0
    assert calls["load.into_meta"] == SHARDS  # load 1
    assert calls["load.place_param"] == TENSORS  # load 1: set_module_tensor_to_device
    assert calls["load.state_dict"] == calls["load.gc"] == 2 * SHARDS


def test_the_landmarks_that_only_4_has_are_in_it_with_their_sources(recording):
    newest = landmarks.tested_versions()[-1]
    without_successor = {
        landmark.id: landmarks.pick(landmark.candidates, "4.47.1")
        for landmark in landmarks.table()
        if landmark.in_article and landmark.kind != "fact" and landmarks.pick(landmark.candidates, newest) is None
    }
    assert set(without_successor) == ONLY_IN_4
    calls = calls_of(recording)
    for landmark, target in without_successor.items():
        assert calls[landmark] > 0
        if landmark != "load.gc":  # a builtin: its source is that of its caller
            assert f"def {target.partition(':')[2]}(" in recording.sources[target]
    caller = recording.sources["transformers.modeling_utils:PreTrainedModel._load_pretrained_model"]
    assert "gc.collect()" in caller


def test_its_sources_are_of_packages_under_one_licence_which_the_notice_names(each):
    packages = {name.split(".")[0] for name in each.sources}
    assert {"transformers"} <= packages <= set(reference_recording.SOURCES_FROM)
    assert each.environment["sources_licence"].startswith("Apache-2.0")
    notice = (reference_recording.FOLDER.parent.parent / "NOTICE").read_text(encoding="utf-8")
    assert "transformers, accelerate, safetensors" in notice
    assert "Apache License 2.0" in notice


def test_no_path_of_the_machine_is_in_it(each):
    """Sources aside, which are the library's own text."""
    file = reference_recording.path(each.environment["transformers"])
    document = json.loads(gzip.decompress(file.read_bytes()))
    document.pop("sources")
    assert PATH.findall(json.dumps(document)) == []
    named = {value for row in each.value_lists for name, value in row if "pretrained_model_name" in name}
    assert named - {None} == {"SmolLM2-135M-Instruct"}


@pytest.mark.parametrize("text", ["/home/me/x", "~/x", "in: /Users/x", "file=C:\\Users\\me"])
def test_a_path_would_be_found(text):
    assert PATH.findall(json.dumps(["a/b.py", text, "1/2"])) == [json.dumps(text)]


def test_the_prompt_has_as_many_tokens_as_the_articles(demo_checkpoint):
    tokenizer = AutoTokenizer.from_pretrained(demo_checkpoint)
    prompt = reference_recording.prompt(tokenizer)
    assert len(tokenizer(prompt)["input_ids"]) == reference_recording.PROMPT_TOKENS == 173
    assert reference_recording.article.QUESTION in prompt
    assert reference_recording.article.SYSTEM_PROMPT in prompt


def test_a_missing_file_is_a_clear_error(monkeypatch):
    monkeypatch.setattr(reference_recording, "ARTICLE_VERSION", "0.0.0")
    with pytest.raises(RecordingError, match=r"whole_call_0\.0\.0\.json\.gz"):
        reference_recording.committed()


def test_a_run_that_went_another_way_is_refused(recording, monkeypatch):
    reference_recording.check(recording)
    monkeypatch.setattr(reference_recording, "PROMPT_TOKENS", 141)
    with pytest.raises(RuntimeError, match="16 tokens from a prompt of 173, not 16 from 141"):
        reference_recording.check(recording)
    with pytest.raises(RuntimeError, match="0 tokens from a prompt of 0"):
        reference_recording.check(Recording(finished=True))


@pytest.mark.slow
def test_the_command_makes_it(recording, tmp_path, capsys):
    """It is the committed one of this version again, but for times, memory and what names the machine."""
    target = tmp_path / "made.json.gz"
    assert reference_recording.main([str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    made = Recording.load(target)
    assert made.environment["transformers"] == transformers.__version__
    assert list(made.steps()["kv_tokens"]) == list(recording.steps()["kv_tokens"])
    assert len(made.modules(step=1)) == len(recording.modules(step=1)) > 13 * LAYERS
    committed = reference_recording.committed(transformers.__version__)
    assert calls_of(made) == calls_of(committed)
    assert made.sources == committed.sources
    assert made.environment["sampled_text"] == committed.environment["sampled_text"]
    assert not committed.diff(made)["what"].isin(["gone", "appeared", "moved", "shape", "dtype"]).any()
