"""Publishing and verifying a checkpoint folder, on a folder of a few bytes."""

import errno
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from helpers.checkpoint_error import CheckpointError
from helpers.checkpoints import stored, variants

REMEDY = "build it again"


def write_two_files(folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(100))


def build(folder: Path, recipe: str = "1", write=write_two_files, **options) -> Path:
    return stored.stored(folder, recipe, write, remedy=REMEDY, **options)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def never(_: Path) -> None:
    raise AssertionError("a finished checkpoint was built again")


def test_the_manifest_lists_size_and_sha256_of_every_file(tmp_path):
    folder = build(tmp_path / "c")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files["model.safetensors"] == {
        "bytes": 100,
        # printf of 100 zero bytes through sha256sum
        "sha256": "cd00e292c5970d3c5e2f0ffa5171e555bc46bfc4faddfb4a418b6840b86e79a3",
    }
    assert set(files) == {"config.json", "model.safetensors"}


def test_a_finished_folder_is_not_built_again(tmp_path):
    build(tmp_path / "c")
    assert build(tmp_path / "c", write=never) == tmp_path / "c"


def test_rebuild_and_another_recipe_build_again(tmp_path):
    folder = build(tmp_path / "c")
    (folder / "model.safetensors").write_bytes(b"damaged")
    build(folder, rebuild=True)
    assert (folder / "model.safetensors").stat().st_size == 100
    build(folder, recipe="2", write=lambda unfinished: (unfinished / "new").write_text("x"))
    assert names(folder) == {"new", "manifest.json"}
    assert names(tmp_path) == {"c", ".c.lock"}


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_truncated_altered_and_missing_files_are_named_with_the_remedy(tmp_path, name):
    folder = build(tmp_path / "c")
    path = folder / name
    whole = path.read_bytes()
    damages = {
        "truncated": lambda: path.write_bytes(whole[:-1]),
        "altered": lambda: path.write_bytes(b"\x01" + whole[1:]),
        "missing": path.unlink,
    }
    for word, damage in damages.items():
        damage()
        with pytest.raises(CheckpointError, match=word) as error:
            build(folder, write=never)
        assert str(path) in str(error.value)
        assert REMEDY in str(error.value)
        path.write_bytes(whole)
        stored.verify(folder, remedy=REMEDY)


def test_damage_after_a_first_verification_in_the_same_process_is_seen(tmp_path):
    folder = build(tmp_path / "c")
    build(folder, write=never)
    path = folder / "model.safetensors"
    path.write_bytes(bytes(99) + b"\x01")
    os.utime(path, (0, 0))
    with pytest.raises(CheckpointError, match="altered"):
        build(folder, write=never)


def test_an_added_file_is_refused_because_it_can_change_what_is_loaded(tmp_path):
    folder = build(tmp_path / "c")
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not part of this checkpoint"):
        build(folder, write=never)


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"recipe": "1"}', '{"recipe": "1", "files": []}'])
def test_a_manifest_that_is_missing_or_unreadable_is_reported(tmp_path, content):
    folder = build(tmp_path / "c")
    manifest = folder / "manifest.json"
    manifest.unlink() if content is None else manifest.write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest.json") as error:
        build(folder, write=never)
    assert REMEDY in str(error.value)
    assert build(folder, rebuild=True) == folder


def test_a_file_in_the_folder_s_place_is_reported(tmp_path):
    (tmp_path / "c").write_text("mine")
    for rebuild in (False, True):
        with pytest.raises(CheckpointError, match="is a file"):
            build(tmp_path / "c", rebuild=rebuild)
    assert (tmp_path / "c").read_text() == "mine"


def test_a_build_that_fails_leaves_nothing_and_keeps_the_old_folder(tmp_path):
    def fail(folder: Path) -> None:
        write_two_files(folder)
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        build(tmp_path / "c", write=fail)
    assert names(tmp_path) == {".c.lock"}
    build(tmp_path / "c")
    with pytest.raises(ValueError, match="in the middle"):
        build(tmp_path / "c", write=fail, rebuild=True)
    assert names(tmp_path) == {"c", ".c.lock"}
    assert build(tmp_path / "c", write=never)


def test_a_full_disk_is_reported_in_plain_words(tmp_path):
    def disk_full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match=r"No space left on device.*TRACE_CACHE"):
        build(tmp_path / "c", write=disk_full)
    assert names(tmp_path) == {".c.lock"}


def test_a_cache_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written.*TRACE_CACHE"):
        build(tmp_path / "file" / "c")


@pytest.mark.skipif(os.name == "nt", reason="sends SIGKILL")
def test_a_folder_in_which_no_file_can_be_made_is_reported_and_not_waited_for(tmp_path, monkeypatch):
    """As on a file system that is read-only: a lock that cannot be made would be waited for, and for ever."""

    def refused(**options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(stored.tempfile, "TemporaryFile", refused)
    monkeypatch.setattr("filelock.FileLock.acquire", lambda *given, **named: pytest.fail("waited"))
    with pytest.raises(CheckpointError, match=r"cannot be written .*set TRACE_CACHE"):
        build(tmp_path / "checkpoint")


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("way", ["single file", "pickle", "copy"])
def test_a_variant_that_cannot_be_written_leaves_nothing(tiny_checkpoint, tmp_path, monkeypatch, way, existed):
    def full(*given, **named):
        raise RuntimeError("No space left on device")  # safetensors and torch raise no OSError

    writes = {
        "single file": ("safetensors.torch.save_file", lambda: variants.as_single_file(tiny_checkpoint, folder)),
        "pickle": ("torch.save", lambda: variants.as_pickle(tiny_checkpoint, folder)),
        "copy": ("shutil.copyfile", lambda: variants.without(tiny_checkpoint, folder, "config.json")),
    }
    folder = tmp_path / "variant"
    if existed:
        folder.mkdir()
    name, write = writes[way]
    monkeypatch.setattr(name, full)
    with pytest.raises(CheckpointError, match=r"could not be written .*No space left on device"):
        write()
    assert list(tmp_path.rglob("*")) == ([folder] if existed else [])


def test_a_killed_build_leaves_nothing_finished_and_the_next_one_cleans_up(tmp_path):
    program = f"""
        import time
        from pathlib import Path
        from helpers.checkpoints import stored, variants
        def write(folder):
            (folder / "model.safetensors").write_bytes(bytes(50))
            print("half", flush=True)
            time.sleep(600)
        stored.stored(Path({str(tmp_path / "c")!r}), "1", write, remedy="")
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE)
    assert child.stdout.readline().strip() == b"half"
    child.kill()
    child.wait()
    child.stdout.close()
    assert not (tmp_path / "c").exists()
    assert ".c.unfinished" in names(tmp_path)
    build(tmp_path / "c")
    assert (tmp_path / "c" / "model.safetensors").stat().st_size == 100
    assert names(tmp_path) == {"c", ".c.lock"}


def build_slowly(folder: Path) -> None:
    def write(unfinished: Path) -> None:
        with open(folder.parent / "builds", "a") as log:
            log.write("x")
        time.sleep(0.5)
        write_two_files(unfinished)

    build(folder, write=write)


def test_of_several_processes_one_builds_and_the_others_wait(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=build_slowly, args=(tmp_path / "c",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "builds").read_text() == "x"


def test_a_copy_of_a_folder_is_intact_and_its_copy_s_damage_is_its_own(tmp_path):
    folder = build(tmp_path / "c")
    copy = shutil.copytree(folder, tmp_path / "copy")
    stored.verify(copy, remedy=REMEDY)
    (copy / "config.json").write_text("[]")
    stored.verify(folder, remedy=REMEDY)
    with pytest.raises(CheckpointError, match="copy"):
        stored.verify(copy, remedy=REMEDY)
