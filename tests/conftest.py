"""What every test stands on: no network, no progress bars, none of the reader's own settings."""

import os
import signal
from pathlib import Path

import pytest

from tests.explorer_tools import axe, axe_script, browser, offline_page  # noqa: F401 (fixtures)
from tests.lab_pages import open_lab, serve  # noqa: F401 (fixtures)
from tests.model_pairs import demo_pair, pair, tiny_pair  # noqa: F401 (fixtures)
from tests.player_pages import open_player, player_html, player_run  # noqa: F401 (fixtures)
from tests.recorded_loads import one_file  # noqa: F401 (fixtures)
from tests.sampling_pages import open_sampling, sampling_html  # noqa: F401 (fixtures)
from tests.site_tools import SETTINGS_OF_THE_READER, built_site, open_offline  # noqa: F401 (fixtures)

# Before anything imports huggingface_hub, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TQDM_DISABLE"] = "1"

# A shell without job control starts what it puts in the background with SIGINT ignored, and so would the programs be
# that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_settings_of_the_reader(monkeypatch):
    for name in SETTINGS_OF_THE_READER:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def demo_checkpoint() -> Path:
    """The folder of the demo checkpoint; not to be written to."""
    from helpers import checkpoints

    return checkpoints.demo()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    """A tiny checkpoint of this test session; not to be written to."""
    from helpers import checkpoints

    return checkpoints.tiny(tmp_path_factory.mktemp("tiny"))
