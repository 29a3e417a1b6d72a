"""TRACE_MODEL: the reader's own model, a folder, a cached Hub id, or on a Hub that a local server plays."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from helpers import checkpoints
from helpers.checkpoints import CheckpointError

INDEX = "model.safetensors.index.json"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def own_model(tiny_checkpoint, tmp_path, monkeypatch) -> Path:
    """A copy of the tiny checkpoint that TRACE_MODEL names and a test may damage."""
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "my model"))
    monkeypatch.setenv("TRACE_MODEL", str(folder))
    return folder


def change_config(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def test_a_local_folder_is_taken_and_its_path_made_absolute(own_model, monkeypatch):
    assert checkpoints.chosen() == str(own_model.resolve())
    monkeypatch.chdir(own_model.parent)
    monkeypatch.setenv("TRACE_MODEL", own_model.name)
    assert checkpoints.chosen() == str(own_model.resolve())


def test_a_tilde_is_the_home_folder(own_model, monkeypatch):
    monkeypatch.setenv("HOME", str(own_model.parent))
    monkeypatch.setenv("USERPROFILE", str(own_model.parent))
    monkeypatch.setenv("TRACE_MODEL", f"~/{own_model.name}")
    assert checkpoints.chosen() == str(own_model.resolve())


@pytest.mark.parametrize("path", ["/no/such/folder", "./nothing", "~/nothing-of-this-name", "a/b/c"])
def test_a_path_that_does_not_exist(monkeypatch, path):
    monkeypatch.setenv("TRACE_MODEL", path)
    with pytest.raises(CheckpointError, match=r"there is no such folder.*unset TRACE_MODEL"):
        checkpoints.chosen()


def test_a_file_instead_of_a_folder(own_model, monkeypatch):
    monkeypatch.setenv("TRACE_MODEL", str(own_model / "config.json"))
    with pytest.raises(CheckpointError, match="is a file: give the folder"):
        checkpoints.chosen()


def test_a_folder_without_a_config(own_model):
    (own_model / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no config.json"):
        checkpoints.chosen()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_config_that_cannot_be_read(own_model, content):
    (own_model / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config.json.*fetch it again"):
        checkpoints.chosen()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "'t5', which is no causal"),
        (
            {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
            "trained as BertForMaskedLM, no causal",
        ),
        ({"architectures": ["LlamaForSequenceClassification"]}, "trained as LlamaForSequenceClassification"),
        ({"model_type": "llama99"}, "'llama99', which is not known to transformers"),
        ({"model_type": None}, "None, which is not known to transformers"),
        ({"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Own"}}, "trust_remote_code"),
        (
            {
                "model_type": "bart",
                "architectures": ["BartForConditionalGeneration"],
                "is_encoder_decoder": True,
            },
            "trained as BartForConditionalGeneration",
        ),
    ],
)
def test_what_is_no_causal_language_model(own_model, changes, says):
    change_config(own_model, **changes)
    with pytest.raises(CheckpointError, match=says) as error:
        checkpoints.chosen()
    assert "ForCausalLM architecture" in str(error.value)


def test_a_config_without_architectures_is_judged_by_its_model_type(own_model):
    change_config(own_model, architectures=None)
    assert checkpoints.chosen() == str(own_model.resolve())


def test_a_truncated_shard(own_model):
    shard = sorted(own_model.glob("*.safetensors"))[1]
    with open(shard, "r+b") as stream:
        stream.truncate(shard.stat().st_size - 1)
    with pytest.raises(CheckpointError, match=rf"{shard.name} has .* bytes, but its header describes"):
        checkpoints.chosen()
    with open(shard, "r+b") as stream:
        stream.truncate(20)
    with pytest.raises(CheckpointError, match=rf"{shard.name} is not a safetensors file, or is truncated"):
        checkpoints.chosen()
    shard.write_bytes((50).to_bytes(8, "little") + b"x" * 100)
    with pytest.raises(CheckpointError, match=rf"{shard.name} has no readable safetensors header"):
        checkpoints.chosen()
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"{shard.name} cannot be read"):
        checkpoints.chosen()


def test_an_altered_index(own_model):
    path = own_model / INDEX
    index = json.loads(path.read_text())
    shards = sorted(set(index["weight_map"].values()))
    index["weight_map"]["model.norm.weight"] = shards[0]
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"places model.norm.weight in .*, which does not hold it"):
        checkpoints.chosen()
    path.write_text(path.read_text()[:50])
    with pytest.raises(CheckpointError, match="is not a safetensors index"):
        checkpoints.chosen()
    path.unlink()
    with pytest.raises(CheckpointError, match=r"has neither model.safetensors nor"):
        checkpoints.chosen()


def test_pickled_weights_are_left_to_the_library(own_model):
    for path in [*own_model.glob("*.safetensors"), own_model / INDEX]:
        path.unlink()
    (own_model / "pytorch_model.bin").write_bytes(b"")
    assert checkpoints.chosen() == str(own_model.resolve())


# The Hub. huggingface_hub reads its settings when it is imported, so each of these has a process of its own.


def chosen_in_a_new_process(model: str, cache: Path, before: str = "", **environment: str) -> str:
    """What `chosen()` returns, or "CheckpointError: ..." with its message; any other error fails the test."""
    program = (
        f"from helpers import checkpoints\n{before}\n"
        "try: print(checkpoints.chosen())\n"
        "except checkpoints.CheckpointError as error: print('CheckpointError:', error)"
    )
    own = {"TRACE_MODEL": model, "HF_HOME": str(cache), "HF_HUB_CACHE": str(cache)}
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("HF_")}
    result = subprocess.run(
        [sys.executable, "-c", program], env=inherited | own | environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def hub_cache(tiny_checkpoint, tmp_path) -> Path:
    """A Hub cache that holds the tiny checkpoint as someone/tiny."""
    repository = tmp_path / "hub" / "models--someone--tiny"
    shutil.copytree(tiny_checkpoint, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "hub"


def test_a_cached_hub_id_works_offline(hub_cache):
    assert chosen_in_a_new_process("someone/tiny", hub_cache, HF_HUB_OFFLINE="1") == "someone/tiny"


def test_a_cached_hub_id_whose_weights_are_not_cached(hub_cache):
    for shard in hub_cache.rglob("*-00002-of-*.safetensors"):
        shard.unlink()
    said = chosen_in_a_new_process("someone/tiny", hub_cache, HF_HUB_OFFLINE="1")
    assert said.startswith("CheckpointError: someone/tiny is neither a folder of this machine nor complete")
    assert "HF_HUB_OFFLINE is set" in said


def test_a_hub_id_that_is_not_cached_while_offline(tmp_path):
    said = chosen_in_a_new_process("someone/else", tmp_path, HF_HUB_OFFLINE="1")
    assert said.startswith("CheckpointError: someone/else is neither")
    assert "hf download someone/else" in said
    assert "unset TRACE_MODEL" in said


@pytest.mark.slow
def test_a_hub_that_cannot_be_reached(tmp_path):
    said = chosen_in_a_new_process("someone/else", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert said.startswith("CheckpointError: someone/else is neither")
    assert "the Hub cannot be reached" in said


def test_what_is_no_hub_id(tmp_path):
    said = chosen_in_a_new_process("some one/else", tmp_path, HF_HUB_OFFLINE="1")
    assert "neither a folder of this machine nor a Hub id (owner/name)" in said


@contextmanager
def playing_the_hub(answers: dict[str, tuple[int, dict, bytes]]):
    """A server on this machine that answers each file name as told, and everything else with 404."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            absent = (404, {"X-Error-Code": "EntryNotFound"}, b"")
            status, headers, body = answers.get(self.path.rsplit("/", 1)[-1], answers.get("*", absent))
            self.send_response(status)
            for name, text in headers.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (401, "GatedRepo", "is gated: accept its terms on "),
        (403, "GatedRepo", "is gated: accept its terms on "),
        (401, "RepoNotFound", "nor a public model on the Hub: correct TRACE_MODEL"),
        (404, "RepoNotFound", "nor a public model on the Hub: correct TRACE_MODEL"),
        (404, "EntryNotFound", "has no config.json on the Hub"),
    ],
)
def test_what_the_hub_refuses(tmp_path, status, code, says):
    headers = {"X-Error-Code": code, "X-Error-Message": code}
    with playing_the_hub({"*": (status, headers, b"")}) as endpoint:
        said = chosen_in_a_new_process("someone/else", tmp_path, HF_ENDPOINT=endpoint)
    assert said.startswith("CheckpointError: someone/else")
    assert says in said
    assert "unset TRACE_MODEL" in said


def file_answer(content: bytes) -> tuple[int, dict, bytes]:
    etag = hashlib.sha256(content).hexdigest()  # the cache keeps one file for each
    return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, content


@pytest.mark.slow
def test_a_hub_model_is_judged_before_its_weights_are_fetched(tiny_checkpoint, tmp_path):
    config = (tiny_checkpoint / "config.json").read_bytes()
    answers = {"config.json": file_answer(config), "model.safetensors": file_answer(b"weights")}
    with playing_the_hub(answers) as endpoint:
        said = chosen_in_a_new_process("someone/else", tmp_path, HF_ENDPOINT=endpoint)
    assert said == "someone/else"
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.slow
def test_a_hub_model_with_gated_or_without_weights(tiny_checkpoint, tmp_path):
    answers = {"config.json": file_answer((tiny_checkpoint / "config.json").read_bytes())}
    with playing_the_hub(answers) as endpoint:
        said = chosen_in_a_new_process("someone/else", tmp_path / "a", HF_ENDPOINT=endpoint)
        assert "someone/else has no weights for transformers on the Hub" in said
        answers["model.safetensors"] = 403, {"X-Error-Code": "GatedRepo"}, b""
        said = chosen_in_a_new_process("someone/else", tmp_path / "b", HF_ENDPOINT=endpoint)
        assert "someone/else is gated" in said


SMALL_DISK = """
import shutil
usage = shutil.disk_usage("/")._replace(free=10_000)
shutil.disk_usage = lambda folder: usage
"""


@pytest.mark.slow
def test_a_hub_model_larger_than_the_free_disk_is_refused_before_the_download(tiny_checkpoint, tmp_path):
    answers = {path.name: file_answer(path.read_bytes()) for path in tiny_checkpoint.iterdir()}
    shards = sorted(path.name for path in tiny_checkpoint.glob("*.safetensors"))
    with playing_the_hub(answers) as endpoint:
        cache = tmp_path / "cache"
        said = chosen_in_a_new_process("someone/else", cache, SMALL_DISK, HF_ENDPOINT=endpoint)
        needed = sum((tiny_checkpoint / name).stat().st_size for name in shards)
        assert f"someone/else that are still to be fetched have {needed / 1e9:.1f} GB, and 0.0 GB are free" in said
        assert "set HF_HUB_CACHE to a folder on another disk, or unset TRACE_MODEL" in said
        assert not list(cache.rglob("*.safetensors"))
        assert chosen_in_a_new_process("someone/else", cache, HF_ENDPOINT=endpoint) == "someone/else"
        del answers[shards[1]]
        said = chosen_in_a_new_process("someone/else", tmp_path / "other", HF_ENDPOINT=endpoint)
        assert f"model.safetensors.index.json of someone/else names {shards[1]}, which is not on the Hub" in said


def test_a_hub_model_that_is_no_causal_language_model(tmp_path):
    config = json.dumps({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}).encode()
    with playing_the_hub({"config.json": file_answer(config)}) as endpoint:
        said = chosen_in_a_new_process("someone/else", tmp_path, HF_ENDPOINT=endpoint)
    assert "someone/else has model_type 't5', which is no causal language model" in said
