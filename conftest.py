"""The policy of nbval, for `pytest --nbval` on any notebook of this repository.

It stands at the root because a conftest under tests/ does not see notebooks/. What is compared is text/plain
and standard output; tests/test_nbval_policy.py proves that a wrong output and a failing check are caught.
"""

import os
from pathlib import Path

from helpers import notebooks

ROOT = Path(__file__).parent

# Beside nbval's own (images, identifiers of widgets): standard error, since warnings and progress bars vary;
# html and svg, since that is where times and memory are shown; and everything that belongs to a widget.
NOT_COMPARED = (
    "stderr",
    "text/html",
    "image/svg+xml",
    "application/javascript",
    "application/vnd.jupyter.widget-state+json",
    "application/vnd.jupyter.widget-view+json",
)


def pytest_configure(config):
    if not (config.option.nbval or config.option.nbval_lax):
        return
    if config.option.nbval_sanitize_with is None:
        config.option.nbval_sanitize_with = str(ROOT / "notebooks" / "nbval_sanitize.cfg")
    if not config.option.nbval_lax:
        # Strict compares with what was committed, so it runs under what was set when that was executed.
        notebooks.set_committed_environment(os.environ)


def pytest_collectstart(collector):
    # Only nbval's notebook files have the attribute.
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += NOT_COMPARED
