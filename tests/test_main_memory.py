"""Main memory in a container: the control groups' limits, versions 1 and 2, in a made-up /proc and /sys."""

import psutil
import pytest

from helpers.main_memory import main_memory

GIB = 2**30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """16 GiB, 10 of them available; gives a function that writes a file of the made-up system, and its root."""
    memory = psutil.virtual_memory()._replace(total=16 * GIB, available=10 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)

    def write(name: str, content: object) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n", encoding="utf-8")

    return write, tmp_path


def test_without_control_groups_it_is_the_machine_s(machine):
    assert main_memory(machine[1]) == (16 * GIB, 10 * GIB)


def test_version_2_counts_file_pages_that_can_go_as_free(machine):
    write, root = machine
    write("proc/self/cgroup", "0::/box/inner")
    write("sys/fs/cgroup/box/memory.max", 4 * GIB)
    write("sys/fs/cgroup/box/memory.current", 3 * GIB)
    write("sys/fs/cgroup/box/memory.stat", f"anon {1 * GIB}\ninactive_file {2 * GIB}")
    write("sys/fs/cgroup/box/inner/memory.max", "max")
    write("sys/fs/cgroup/box/inner/memory.current", 3 * GIB)
    assert main_memory(root) == (4 * GIB, 3 * GIB)


def test_the_tightest_group_decides(machine):
    write, root = machine
    write("proc/self/cgroup", "0::/box/inner")
    for folder, limit, used in (("box", 8, 2), ("box/inner", 4, 3)):
        write(f"sys/fs/cgroup/{folder}/memory.max", limit * GIB)
        write(f"sys/fs/cgroup/{folder}/memory.current", used * GIB)
    assert main_memory(root) == (4 * GIB, 1 * GIB)


def test_a_container_that_sees_its_own_group_as_the_topmost(machine):
    write, root = machine
    write("proc/self/cgroup", "0::/a/name/of/the/host")
    write("sys/fs/cgroup/memory.max", 2 * GIB)
    write("sys/fs/cgroup/memory.current", 3 * GIB)
    assert main_memory(root) == (2 * GIB, 0)


def test_version_1(machine):
    write, root = machine
    write("proc/self/cgroup", "5:cpu:/box\n4:memory:/box\n0::/")
    write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", 6 * GIB)
    write("sys/fs/cgroup/memory/box/memory.usage_in_bytes", 5 * GIB)
    write("sys/fs/cgroup/memory/box/memory.stat", f"total_inactive_file {1 * GIB}")
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", 2**63 - 4096)  # no limit
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", 5 * GIB)
    assert main_memory(root) == (6 * GIB, 2 * GIB)


def test_here_it_is_within_the_machine():
    memory = main_memory()
    assert 0 < memory.free <= memory.total <= psutil.virtual_memory().total
