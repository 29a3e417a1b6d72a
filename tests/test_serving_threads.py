"""The threads of a server: requests that run while a recording ends, or in threads that are older than it."""

import os
import sys
import time

import pytest

from helpers.probes.memory import MemoryProbe

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the memory probe holds a descriptor on Linux only")


@ON_LINUX
def test_a_sample_of_another_thread_bears_that_the_recording_ends_in_the_middle_of_it(monkeypatch):
    """It would raise in the request that runs there, or read what the number has been given to meanwhile."""
    read = os.pread
    before = set(os.listdir("/proc/self/fd"))
    probe = MemoryProbe(time.perf_counter_ns)

    def ends_meanwhile(*arguments):
        probe.close()
        return read(*arguments)

    monkeypatch.setattr(os, "pread", ends_meanwhile)
    assert probe.sample() == 0
    assert probe.columns()["resident"][0] > 0
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_row_that_comes_late_leaves_columns_of_equal_length():
    class Growing(list):
        """Another thread adds a row each time that these are gone through."""

        def __iter__(self):
            rows = [*super().__iter__()]
            self.append(rows[0])
            return iter(rows)

    probe = MemoryProbe(time.perf_counter_ns)
    probe.sample()
    probe.rows = Growing(probe.rows)
    assert {len(column) for column in probe.columns().values()} == {1}
    probe.close()
