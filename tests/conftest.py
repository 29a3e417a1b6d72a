"""What every test stands on: no network, no progress bars, none of the reader's own settings."""

import os
from pathlib import Path

import pytest

# Before anything imports huggingface_hub, which reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["TQDM_DISABLE"] = "1"


@pytest.fixture(autouse=True)
def _no_settings_of_the_reader(monkeypatch):
    """Tests choose model, device and dtype themselves. TRACE_CACHE stays: the demo checkpoint is there."""
    for name in ("TRACE_MODEL", "TRACE_DEVICE", "TRACE_DTYPE"):
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
