"""A Hub cache made by hand, the same weights stored otherwise, and what a load asked for."""

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from transformers import AutoModelForCausalLM

from helpers import checkpoints, record
from helpers.checkpoints import CheckpointError, hub_cache, variants
from helpers.queries.lookups import lookups
from helpers.recording.recording import Recording
from helpers.safetensors_header import INDEX, SINGLE_FILE, check_shards, shard_files


@pytest.fixture
def cache(tiny_checkpoint, tmp_path):
    hub_cache.write(tiny_checkpoint, tmp_path, "example/tiny", absent=(SINGLE_FILE,))
    return tmp_path


# hub cache -----------------------------------------------------------------------------------------------------------


def test_huggingface_hub_finds_every_file_of_the_checkpoint(cache, tiny_checkpoint):
    for path in tiny_checkpoint.iterdir():
        found = hf_hub_download("example/tiny", path.name, cache_dir=cache, local_files_only=True)
        assert Path(found).read_bytes() == path.read_bytes()


def test_an_absent_file_is_known_to_be_absent(cache):
    from huggingface_hub import _CACHED_NO_EXIST

    assert try_to_load_from_cache("example/tiny", SINGLE_FILE, cache_dir=cache) is _CACHED_NO_EXIST
    assert try_to_load_from_cache("example/tiny", "other.json", cache_dir=cache) is None


def test_large_files_are_not_copied(cache, tiny_checkpoint):
    blobs = list((cache / "models--example--tiny" / "blobs").iterdir())
    links = {path.resolve() for path in blobs if path.is_symlink()}
    assert links == {path.resolve() for path in shard_files(tiny_checkpoint)}


def test_writing_it_again_changes_nothing(cache, tiny_checkpoint):
    before = sorted(cache.rglob("*"))
    hub_cache.write(tiny_checkpoint, cache, "example/tiny", absent=(SINGLE_FILE,))
    assert sorted(cache.rglob("*")) == before


def test_where_links_are_not_allowed_files_are_copied(tiny_checkpoint, tmp_path, monkeypatch):
    def refuse(*paths):
        raise OSError("a required privilege is not held")

    monkeypatch.setattr(hub_cache.os, "symlink", refuse)
    hub_cache.write(tiny_checkpoint, tmp_path, "example/tiny")
    found = hf_hub_download("example/tiny", INDEX, cache_dir=tmp_path, local_files_only=True)
    assert Path(found).read_bytes() == (tiny_checkpoint / INDEX).read_bytes()


@pytest.mark.parametrize(
    ("repository", "absent", "message"),
    [
        ("not a name", (), "is no Hub id: give owner/name"),
        ("example/tiny", ("config.json",), "holds config.json, so it cannot be marked as absent"),
    ],
)
def test_what_cannot_be_is_a_clear_error(tiny_checkpoint, tmp_path, repository, absent, message):
    with pytest.raises(CheckpointError, match=message):
        hub_cache.write(tiny_checkpoint, tmp_path, repository, absent=absent)


def test_a_folder_without_config_is_a_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config.json"):
        hub_cache.write(tmp_path, tmp_path / "hub", "example/tiny")


def test_the_folder_of_a_hub_id_is_its_snapshot(cache, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(checkpoints, "chosen", lambda: "example/tiny")
    folder = checkpoints.chosen_folder()
    assert folder.parent.name == "snapshots"
    assert (folder / "config.json").read_bytes() == (tiny_checkpoint / "config.json").read_bytes()


def test_the_folder_of_a_local_model_is_itself(tiny_checkpoint, monkeypatch):
    monkeypatch.setenv("TRACE_MODEL", str(tiny_checkpoint))
    assert checkpoints.chosen_folder() == tiny_checkpoint.resolve()


# variants ------------------------------------------------------------------------------------------------------------


def test_one_file_holds_all_tensors(tiny_checkpoint, tmp_path):
    folder = variants.as_single_file(tiny_checkpoint, tmp_path / "single")
    assert [path.name for path in shard_files(folder)] == [SINGLE_FILE]
    check_shards(folder)
    assert not (folder / INDEX).exists()
    assert (folder / "tokenizer.json").is_file()


def test_shards_may_lie_in_a_subfolder(tiny_checkpoint, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "nested")
    (folder / "weights").mkdir()
    index = json.loads((folder / INDEX).read_text())
    for shard in shard_files(folder):
        shard.rename(folder / "weights" / shard.name)
    index["weight_map"] = {name: f"weights/{shard}" for name, shard in index["weight_map"].items()}
    (folder / INDEX).write_text(json.dumps(index))
    check_shards(folder)
    first, *others = index["weight_map"]
    index["weight_map"][first] = next(
        shard for name in others if (shard := index["weight_map"][name]) != index["weight_map"][first]
    )
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=f"places {first} in weights/.*, which does not hold it"):
        check_shards(folder)


def test_a_pickle_stands_alone(tiny_checkpoint, tmp_path):
    folder = variants.as_pickle(tiny_checkpoint, tmp_path / "pickle")
    assert (folder / variants.PICKLE).is_file()
    assert list(folder.glob("*.safetensors")) == []


def test_a_file_is_left_out(tiny_checkpoint, tmp_path):
    name = shard_files(tiny_checkpoint)[1].name
    folder = variants.without(tiny_checkpoint, tmp_path / "without", name)
    left_out = {path.name for path in tiny_checkpoint.iterdir()} - {path.name for path in folder.iterdir()}
    assert left_out == {name}


def test_wrong_folders_and_names_are_clear_errors(tiny_checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match=r"has no file nothing\.bin to leave out"):
        variants.without(tiny_checkpoint, tmp_path / "a", "nothing.bin")
    with pytest.raises(CheckpointError, match="is not empty"):
        variants.as_single_file(tiny_checkpoint, tiny_checkpoint)
    with pytest.raises(CheckpointError, match="holds no safetensors file"):
        variants.as_pickle(tmp_path, tmp_path / "b")


# lookups -------------------------------------------------------------------------------------------------------------


def test_a_hub_id_asks_for_the_single_file_then_the_index(cache):
    with record() as recording:
        AutoModelForCausalLM.from_pretrained("example/tiny", cache_dir=str(cache), local_files_only=True)
    asked = lookups(recording)
    files = asked[asked["function"] == "cached_file"].drop_duplicates("asked").set_index("asked")["answer"]
    assert list(files.index)[:3] == ["config.json", SINGLE_FILE, INDEX]
    assert files[SINGLE_FILE] == "not there"
    assert files[INDEX] == files["config.json"] == "in snapshots"
    assert asked.set_index("function").loc["get_checkpoint_shard_files", "answer"] == "4 shards"


def test_a_local_folder_asks_for_the_config_alone(tiny_checkpoint):
    with record() as recording:
        AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint))
    asked = lookups(recording)
    assert set(asked[asked["function"] == "cached_file"]["asked"]) == {"config.json"}
    assert list(dict.fromkeys(asked[asked["function"] == "_add_variant"]["asked"])) == [SINGLE_FILE, INDEX]


def test_a_recording_without_a_load_has_no_lookups():
    assert lookups(Recording(finished=True)).empty
