"""A Hub id: config and headers are fetched, no weights. The Hub is a server on this machine's loopback."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from helpers import forecast
from helpers.checkpoints import hub_cache, shaped_build
from helpers.project import ROOT

COMMIT = "0" * 40
MODEL, ONLY_CONFIG, GATED, ABSENT = "someone/model", "someone/config", "someone/gated", "someone/absent"
# One process for several models: huggingface_hub reads its settings once, when it is imported.
SCRIPT = """
import json, sys
from helpers import forecast
from helpers.checkpoints import CheckpointError
told = {}
for model in sys.argv[1:]:
    try:
        found = forecast(model, dtype="float32", prompt_tokens=2, new_tokens=1)
        told[model] = [found.parameters, found.on("cpu").phases["load"]["file_pages"], *found.notes]
    except CheckpointError as error:
        told[model] = str(error)
print(json.dumps(told))
"""


def run(folder: Path, settings: dict[str, str], *models: str) -> dict[str, list | str]:
    """For each model parameters, file pages and notes, or the error, as a new process finds them; `stderr` beside."""
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, *models],
        cwd=ROOT, env={**os.environ, "HF_HOME": str(folder), **settings}, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1]) | {"stderr": found.stderr}


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves the files of `folder` as MODEL, with byte ranges, and notes what was sent."""

    folder: Path
    sent: list  # (file name, bytes)

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        file = self.folder / path.rpartition("/")[2]
        if path.startswith(f"/{GATED}/"):
            return self.reply(403, {"X-Error-Code": "GatedRepo"})
        if not path.startswith(f"/{MODEL}/resolve/"):
            return self.reply(404, {"X-Error-Code": "RepoNotFound"})
        if not file.is_file():
            return self.reply(404, {"X-Error-Code": "EntryNotFound"})
        content, asked = file.read_bytes(), self.headers.get("range")
        if asked:
            begin, end = (int(part) for part in asked.removeprefix("bytes=").split("-"))
            content = content[begin : end + 1]
        self.reply(206 if asked else 200, {"ETag": f'"{file.name}"', "X-Repo-Commit": COMMIT}, content, body)
        if body:
            self.sent.append((file.name, len(content)))
        return None

    def reply(self, status: int, headers: dict[str, str], content: bytes = b"", body: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Shards far longer than their headers."""
    return shaped_build.write("llama-2-7b-scaled", tmp_path_factory.mktemp("hub") / "model")


@pytest.fixture(scope="module")
def online(checkpoint, tmp_path_factory):
    """What was found with a Hub, what it sent, and the cache folder."""
    handler = type("ThisHub", (Hub,), {"folder": checkpoint, "sent": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    folder = tmp_path_factory.mktemp("online")
    address = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    try:
        found = run(folder, address, MODEL, GATED, ABSENT)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    return found, handler.sent, folder


@pytest.fixture(scope="module")
def offline(checkpoint, tmp_path_factory):
    """What was found without a network: one model cached whole, one its config only, one not at all."""
    folder, alone = tmp_path_factory.mktemp("offline"), tmp_path_factory.mktemp("alone")
    (alone / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    hub_cache.write(checkpoint, folder / "hub", MODEL)
    hub_cache.write(alone, folder / "hub", ONLY_CONFIG)
    return run(folder, {"HF_HUB_OFFLINE": "1"}, MODEL, ONLY_CONFIG, ABSENT)


def test_headers_are_read_by_range_requests_and_no_weight_is_fetched(online, checkpoint):
    found, sent, folder = online
    local = forecast(checkpoint, dtype="float32", prompt_tokens=2, new_tokens=1)
    pages = local.on("cpu").phases["load"]["file_pages"]
    assert found[MODEL] == [local.parameters, pages, *local.notes]
    assert pages > 0
    shards = {path.name: path.stat().st_size for path in checkpoint.glob("*.safetensors")}
    read = {name: sum(size for sent_name, size in sent if sent_name == name) for name in shards}
    assert all(0 < read[name] < size / 20 for name, size in shards.items())
    assert not list(folder.rglob("*.safetensors"))


def test_a_gated_or_absent_model_is_one_clear_error(online):
    found = online[0]
    assert f"{GATED} is gated: accept its terms" in found[GATED]
    assert "nor a public model on the Hub: correct it; if it is private" in found[ABSENT]


def test_a_cached_model_needs_no_network(offline, checkpoint):
    local = forecast(checkpoint, dtype="float32", prompt_tokens=2, new_tokens=1)
    assert offline[MODEL] == [local.parameters, local.on("cpu").phases["load"]["file_pages"], *local.notes]


def test_a_cached_config_alone_is_forecast_and_the_missing_headers_are_told(offline):
    parameters, pages, *notes = offline[ONLY_CONFIG]
    assert parameters == offline[MODEL][0]
    assert pages == 0
    assert any("the headers of its weights were not read" in note and "HF_HUB_OFFLINE is set" in note for note in notes)


def test_offline_without_a_cache_is_one_clear_error(offline):
    assert "nor complete in the Hub cache" in offline[ABSENT]
    assert "HF_HUB_OFFLINE is set" in offline[ABSENT]
    assert offline[ABSENT].endswith("or give another model")


def test_a_hub_that_does_not_answer_is_asked_once(checkpoint, tmp_path):
    """huggingface_hub tries again five times, and tells of each on stderr."""
    hub_cache.write(checkpoint, tmp_path / "hub", MODEL)
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
    found = run(tmp_path, nobody, MODEL, ABSENT)
    assert found[MODEL][0] == forecast(checkpoint, dtype="float32", prompt_tokens=2, new_tokens=1).parameters
    assert "the Hub cannot be reached" in found[ABSENT]
    assert "Retry" not in found["stderr"]
