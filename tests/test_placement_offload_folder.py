"""The offload folder of a placement: what is written there, what is refused before the load, what a failure leaves."""

import json
import math
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers import compat, placement
from helpers.placement import PlacementError
from helpers.safetensors_header import read_header
from tests.half_on_disk import HALF_ON_DISK, bytes_on_disk, generate, in_memory


@pytest.fixture(scope="module")
def plain(tiny_checkpoint):
    return in_memory(tiny_checkpoint)


@pytest.fixture
def on_disk(plain) -> dict[str, int]:
    return bytes_on_disk(plain)


def test_a_file_in_the_place_of_the_offload_folder_is_refused(tiny_checkpoint, tmp_path):
    (tmp_path / "offload").write_text("mine")
    for folder in (tmp_path / "offload", tmp_path / "offload" / "deeper"):
        with pytest.raises(PlacementError, match="is a file, not a folder"):
            placement.load(tiny_checkpoint, device_map=HALF_ON_DISK, offload_folder=folder)
    assert (tmp_path / "offload").read_text() == "mine"


def test_a_folder_that_cannot_be_written_to_is_refused(tiny_checkpoint, tmp_path, monkeypatch):
    def refuse(*arguments, **keywords):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(PlacementError, match=r"nothing can be written there \(Permission denied\)"):
        placement.load(tiny_checkpoint, device_map=HALF_ON_DISK, offload_folder=tmp_path)


@pytest.fixture
def as_bin(tiny_checkpoint, plain, tmp_path):
    """The tiny checkpoint as torch's own file: what is offloaded from it must be written again."""
    folder = tmp_path / "as_bin"
    shutil.copytree(tiny_checkpoint, folder, ignore=shutil.ignore_patterns("model*"))
    torch.save(plain.state_dict(), folder / "pytorch_model.bin")
    return folder


def written(folder) -> int:
    return sum(math.prod(size) * 4 for size in _sizes(folder))


def _sizes(folder):
    if compat.transformers_version() < (5,):  # one .dat file for each tensor, and an index of them
        yield from (entry["shape"] for entry in json.loads((folder / "index.json").read_text()).values())
    else:
        for file in folder.glob("*.safetensors"):
            yield from (tensor.shape for tensor in read_header(file))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_load_from_safetensors_writes_nothing_and_needs_no_room(tiny_checkpoint, plain, tmp_path, monkeypatch, dtype):
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    model = placement.load(tiny_checkpoint, device_map=HALF_ON_DISK, offload_folder=tmp_path / "new", dtype=dtype)
    if dtype is torch.float32:
        assert generate(model).tolist() == generate(plain).tolist()
    assert not list((tmp_path / "new").glob("*.safetensors")) + list((tmp_path / "new").glob("*.dat"))


def test_what_is_written_again_is_what_the_check_counts(as_bin, plain, tmp_path, on_disk):
    model = placement.load(as_bin, device_map=HALF_ON_DISK, offload_folder=tmp_path / "new")
    assert generate(model).tolist() == generate(plain).tolist()
    assert written(tmp_path / "new") == sum(on_disk.values())


@pytest.mark.parametrize("how", ["by hand", "auto"])
def test_a_full_disk_is_refused_with_what_is_needed(as_bin, plain, tmp_path, monkeypatch, on_disk, how):
    total = sum(parameter.numel() * 4 for parameter in plain.parameters())
    arguments = {"device_map": HALF_ON_DISK}
    if how == "auto":
        arguments = {"device_map": "auto", "max_memory": {"cpu": int(0.75 * total)}}
    needed = sum(on_disk.values())
    usage = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(PlacementError, match=r"the load writes [\d,]+ bytes there, and 147,967 are free"):
        placement.load(as_bin, offload_folder=tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 64 KiB of its own."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system, and not in every container")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_really_full(as_bin, full_disk):
    with pytest.raises(PlacementError, match=r"the load writes 147,968 bytes there, and [\d,]+ are free"):
        placement.load(as_bin, device_map=HALF_ON_DISK, offload_folder=full_disk / "new" / "deeper")
    assert list(full_disk.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc, in which nobody can write, is Linux's")
def test_a_place_in_which_really_nothing_can_be_written(tiny_checkpoint):
    with pytest.raises(PlacementError, match="nothing can be written there"):
        placement.load(tiny_checkpoint, device_map=HALF_ON_DISK, offload_folder="/proc/offload")


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt("stopped")], ids=repr)
def test_a_load_that_fails_leaves_the_folder_as_it_was(tiny_checkpoint, tmp_path, monkeypatch, error):
    def fails(*arguments, offload_folder, **keywords):
        folder = Path(offload_folder)
        (folder / "part" / "deeper").mkdir(parents=True, exist_ok=True)
        for path in ("half.dat", "part/half.dat", "part/deeper/half.dat"):
            (folder / path).write_bytes(b"half")
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fails)
    kept = tmp_path / "kept"
    (kept / "part").mkdir(parents=True)
    (kept / "part" / "mine.dat").write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    for folder in (kept, tmp_path / "new", tmp_path / "new" / "and" / "deeper"):
        with pytest.raises(type(error), match=str(error)):
            placement.load(tiny_checkpoint, device_map=HALF_ON_DISK, offload_folder=folder)
        assert sorted(tmp_path.rglob("*")) == before
