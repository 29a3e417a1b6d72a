"""What a library of another version does not have, or cannot import, is not observed; the run and the rest go on."""

import importlib
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM

import helpers.landmarks as landmark_table
from helpers import environment as environments
from helpers import record


def _recorded(checkpoint):
    with record() as recording:
        AutoModelForCausalLM.from_pretrained(str(checkpoint))(torch.tensor([[1, 2]]))
    return recording


def test_without_the_function_that_reads_files_the_load_is_recorded(tiny_checkpoint, monkeypatch):
    import transformers.modeling_utils

    monkeypatch.delattr(transformers.modeling_utils, "load_state_dict")
    with pytest.warns(UserWarning, match="load_state_dict: not observed"), record() as recording:
        pass
    assert any("load_state_dict: not observed (AttributeError" in warning for warning in recording.warnings)


def test_without_accelerates_hook_the_modules_are_recorded(tiny_checkpoint, monkeypatch):
    import accelerate.hooks

    monkeypatch.delattr(accelerate.hooks, "AlignDevicesHook")
    with pytest.warns(UserWarning, match="offload hooks move: not observed"):
        recording = _recorded(tiny_checkpoint)
    assert len(recording.modules()) > 10


def test_a_module_that_fails_to_import_is_a_reason_without_secrets(tiny_checkpoint, monkeypatch):
    secret = "hf_" + "a" * 30
    importing = importlib.import_module

    def failing(name, *arguments):
        if name in ("transformers.cache_utils", "torch.nn.modules.module"):
            raise RuntimeError(f"broken build, token={secret}")
        return importing(name, *arguments)

    monkeypatch.setattr(landmark_table, "sys", SimpleNamespace(modules={}))  # nothing was imported before
    monkeypatch.setattr(landmark_table.importlib, "import_module", failing)
    with pytest.warns(UserWarning, match="Module._load_from_state_dict: not observed .RuntimeError: broken build"):
        recording = _recorded(tiny_checkpoint)
    reasons = {status.id: status.reason for status in recording.landmark_statuses if "broken build" in status.reason}
    assert reasons
    assert all(reason.startswith("not observed: looking for ") for reason in reasons.values())
    assert secret not in " ".join([*reasons.values(), *recording.warnings])
    assert len(recording.modules()) > 10


def test_recording_on_a_cpu_leaves_cuda_alone(monkeypatch):
    def refused(*_):
        raise AssertionError("this would set CUDA up")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", refused)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert environments.environment((), None, "profile", 0)["cuda_devices"] == ["2 not initialised"]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert environments.environment((), None, "profile", 0)["cuda_devices"] == ["GPU 0", "GPU 1"]


def test_the_source_of_the_readers_own_function_has_no_secrets(tmp_path, monkeypatch):
    import sys

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    secret = "hf_" + "b" * 30
    home = tmp_path.as_posix()
    (tmp_path / "my_asking.py").write_text(
        f'def ask():\n    token = "{secret}"\n    folder = "{home}/models"\n    return len(token + folder)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    with record(lines=("my_asking:ask",)) as recording:
        importlib.import_module("my_asking").ask()
    sys.modules.pop("my_asking")
    text = recording.sources["my_asking:ask"]
    assert text == 'def ask():\n    token = "<redacted>"\n    folder = "~/models"\n    return len(token + folder)\n'
