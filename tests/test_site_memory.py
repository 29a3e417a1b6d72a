"""The memory of a notebook on the status page: with the processes that it starts, and against what Binder gives."""

import sys

import pytest

from helpers.site import executions, notebook_pages, status_page
from tests.notebook_files import code_cell, write
from tests.test_site import TITLE, page

STARTS_ANOTHER = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time; held = bytearray(300 * 2**20); time.sleep(3)"], check=True)
""".strip()


@pytest.mark.skipif(sys.platform != "linux", reason="what processes share is read from Linux's /proc")
def test_the_memory_of_processes_that_a_notebook_starts_counts(tmp_path):
    path = write(tmp_path / "20_two.ipynb", TITLE, code_cell(STARTS_ANOTHER))
    _, execution = executions.executed(path, tmp_path / "kept")
    assert 300 * 2**20 < execution.peak_bytes < 2**30


def test_a_notebook_that_is_too_much_for_binder_says_so_where_it_is_launched():
    github = "https://github.com/someone/somewhere"
    small, large = page(), page(name="09_devices_and_memory", peak_bytes=5 * 2**29)
    assert "cells may stop there" not in notebook_pages.banner_html(small, github)
    words = "It had 2.5 GiB of memory here, and Binder gives 2.0 GiB: cells may stop there"
    assert words in notebook_pages.banner_html(large, github)
    assert "Binder" not in notebook_pages.banner_html(large, None), "nothing on what is not offered"
    assert "Binder gives 2.0 GiB, which is not enough for 09." in status_page.markdown([small, large])
