"""Tensor parallelism over real processes (gloo): recorded by rank, merged, equal to one process; failures are told."""

import dataclasses
import os
import socket
import subprocess
import sys
import time

import psutil
import pytest

from helpers import Recording
from helpers.ranks import RankError, record_ranks
from helpers.tensor_parallel import record_tensor_parallel
from tests.ranked_run import NEW_TOKENS, check_run, sharded


@pytest.fixture
def script(tmp_path):
    def write(text: str):
        path = tmp_path / "ranked.py"
        path.write_text("import os, signal, time, torch, transformers\nimport torch.distributed as dist\n" + text)
        return path

    return write


def left_behind(marker: str) -> list[str]:
    """Processes of this machine, this one aside, whose command line holds `marker`."""
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline"])
        if any(marker in part for part in process.info["cmdline"] or ())
    ]


# runs ----------------------------------------------------------------------------------------------------------------


@sharded
@pytest.mark.parametrize(("checkpoint", "ranks"), [("tiny_checkpoint", 2), ("demo_checkpoint", 3)])
def test_a_model_over_several_ranks(checkpoint, ranks, request):
    checkpoint = request.getfixturevalue(checkpoint)
    run = record_tensor_parallel(checkpoint, ranks, new_tokens=NEW_TOKENS)
    assert run.recording.warnings == []
    check_run(run, checkpoint, ranks)


@sharded
def test_the_command_of_the_documentation_writes_one_file_per_rank(tiny_checkpoint, script, tmp_path):
    path = script(
        "dist.init_process_group('gloo')\n"
        "from transformers import AutoModelForCausalLM\n"
        f"AutoModelForCausalLM.from_pretrained({str(tiny_checkpoint)!r})\n"
        "dist.destroy_process_group()\n"
    )
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "helpers",
        "record", str(path), "-o", str(tmp_path / "run.json.gz"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    files = sorted(tmp_path.glob("run*"))
    assert [file.name for file in files] == ["run.rank0.json.gz", "run.rank1.json.gz"]
    ledgers = [Recording.load(file).parameters() for file in files]
    merged = Recording.merge(files)
    assert sorted(set(merged.parameters()["rank"])) == [0, 1]
    assert len(merged.parameters()) == sum(map(len, ledgers)) == 2 * len(ledgers[0]) > 0
    assert merged.landmarks().set_index("landmark")["calls"]["model.from_pretrained"] == 2


# what goes wrong -----------------------------------------------------------------------------------------------------

DEATHS = {
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", r"Rank 1 was killed by SIGKILL"),
    "raises": ("raise ValueError('on purpose')", r"(?s)Rank 1 ended with exit status 1.*ValueError: on purpose"),
}


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS)
def test_a_rank_that_dies_is_named_and_leaves_no_process(script, tmp_path, death):
    statement, reason = DEATHS[death]
    waits = "try: dist.barrier()\nfinally: time.sleep(60)"  # to be ended, not to fail beside it
    path = script(f"dist.init_process_group('gloo')\nif dist.get_rank() == 1: {statement}\n{waits}\n")
    with pytest.raises(RankError, match=reason):
        record_ranks(path, [], 2, tmp_path / "run.json.gz", seconds=200)
    assert left_behind(str(path)) == []
    whole = {f"run.rank{rank}.json.gz" for rank in (0, 1)}
    files = [file for file in tmp_path.iterdir() if file != path]
    assert {file.name for file in files} <= whole  # nothing half-written beside them
    for file in files:
        Recording.load(file)


@pytest.mark.slow
def test_ranks_that_hang_are_ended_when_the_time_is_over(script, tmp_path):
    path = script("time.sleep(3600)\n")
    with pytest.raises(RankError, match="had not ended after 15 seconds"):
        record_ranks(path, [], 2, tmp_path / "run.json.gz", seconds=15)
    assert left_behind(str(path)) == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a launcher is killed by a signal")
def test_a_launcher_that_is_killed_leaves_no_rank(script, tmp_path):
    path = script("if os.environ['RANK'] == '0': os.kill(os.getppid(), 9)\ntime.sleep(3600)\n")
    with pytest.raises(RankError, match=r"torch\.distributed\.run was killed by SIGKILL; its ranks were ended"):
        record_ranks(path, [], 2, tmp_path / "run.json.gz", seconds=200)
    assert left_behind(str(path)) == []


@pytest.mark.slow
def test_a_script_that_records_nothing_is_told(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("pass\n")
    (tmp_path / "run.rank1.json.gz").write_bytes(b"of an earlier run")
    with pytest.raises(RankError, match=r"without a recording in run\.rank0\.json\.gz, run\.rank1\.json\.gz"):
        record_ranks(path, [], 2, tmp_path / "run.json.gz", seconds=200)


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RankError, match=f"port={port} cannot be used .*in use"):
            record_ranks(tmp_path / "x.py", [], 2, tmp_path / "run.json.gz", port=port)
    with pytest.raises(RankError, match="ports are 1 to 65535"):
        record_ranks(tmp_path / "x.py", [], 2, tmp_path / "run.json.gz", port=70_000)


def test_heads_that_cannot_be_divided_are_refused_with_what_can(tiny_checkpoint):
    with pytest.raises(RankError, match=r"4 query heads and 2 key/value heads .* over 3 ranks: take 2 of them"):
        record_tensor_parallel(tiny_checkpoint, 3)
    with pytest.raises(RankError, match="2 or more; one process needs no group"):
        record_ranks("x.py", [], 1, "run.json.gz")


def test_a_version_without_tensor_parallelism_says_so(monkeypatch, tiny_checkpoint):
    import transformers.distributed

    @dataclasses.dataclass
    class OfEarlierVersions:
        enable_expert_parallel: bool = False

    monkeypatch.setattr(transformers.distributed, "DistributedConfig", OfEarlierVersions)
    with pytest.raises(RankError, match=r"has no DistributedConfig\(tp_size=…\)"):
        record_tensor_parallel(tiny_checkpoint, 2)


@pytest.mark.parametrize("ranks", ["2", 2.0, True, 0])
def test_what_is_no_number_of_ranks_is_refused(tiny_checkpoint, ranks):
    with pytest.raises(RankError, match="give a whole number, 2 or more"):
        record_ranks("x.py", [], ranks, "run.json.gz")
    with pytest.raises(RankError, match="give a whole number, 2 or more"):
        record_tensor_parallel(tiny_checkpoint, ranks)


@pytest.mark.parametrize("port", [0, -1, "29500", 70_000])
def test_what_is_no_port_is_refused(tmp_path, port):
    """Port 0 is any free one, another for each rank: they would wait for each other until the time is over."""
    with pytest.raises(RankError, match="ports are 1 to 65535"):
        record_ranks(tmp_path / "x.py", [], 2, tmp_path / "run.json.gz", port=port)


def test_a_model_without_heads_or_config_and_no_tokens_are_refused(tmp_path, tiny_checkpoint):
    with pytest.raises(RankError, match="has no config that transformers can read"):
        record_tensor_parallel(tmp_path, 2)
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}', encoding="utf-8")
    with pytest.raises(RankError, match="A mamba model has no attention heads"):
        record_tensor_parallel(tmp_path, 2)
    with pytest.raises(RankError, match="new_tokens=0: give a whole number above 0"):
        record_tensor_parallel(tiny_checkpoint, 2, new_tokens=0)


@pytest.mark.slow
def test_a_place_that_is_no_folder_is_told_by_what_the_rank_wrote(script, tmp_path):
    path = script("pass\n")
    with pytest.raises(RankError, match="there is no folder"):
        record_ranks(path, [], 2, path / "run.json.gz", seconds=200)


@pytest.mark.slow
def test_a_recording_that_was_not_saved_is_told_with_what_the_rank_wrote(script, tmp_path):
    """As on a full disk: the script ends well, and why there is no recording stands only in what the rank wrote."""
    place = tmp_path / "gone"
    place.mkdir()
    path = script(
        "import pathlib, shutil, torch.distributed as dist\ndist.init_process_group('gloo')\ndist.barrier()\n"
        f"shutil.rmtree({str(place)!r}, ignore_errors=True)\npathlib.Path({str(place)!r}).touch()\n"
        "dist.destroy_process_group()\n"
    )
    with pytest.raises(
        RankError, match=r"(?s)run\.rank0\.json\.gz.*The end of what rank 0 wrote:\n.*could not be saved"
    ):
        record_ranks(path, [], 2, place / "run.json.gz", seconds=200)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")
def test_a_process_that_is_killed_leaves_no_rank(script, tmp_path):
    path = script("time.sleep(3600)\n")
    output = tmp_path / "run.json.gz"
    starts = f"from helpers import ranks; ranks.record_ranks({str(path)!r}, [], 2, {str(output)!r}, seconds=900)"
    process = subprocess.Popen([sys.executable, "-c", starts])
    while len(ranks := left_behind(str(output))) < 4:  # it, the launcher and two ranks
        assert process.poll() is None, ranks
        time.sleep(0.2)
    process.kill()
    process.wait()
    for _ in range(300):
        if not left_behind(str(path)):
            break
        time.sleep(0.2)
    assert left_behind(str(path)) == []
