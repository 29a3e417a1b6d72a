"""The landmark table and how it resolves against the installed version."""

import contextlib
import functools
import json

import pytest
import torch
from packaging.version import Version
from torch._dynamo import mutation_guard

from helpers import landmarks

NOTEBOOKS = {
    "01_config_and_class", "02_checkpoint_files", "03_empty_model", "04_loading_weights", "05_pipeline",
    "06_generate", "07_forward_pass", "08_sampling", "09_devices_and_memory",
}  # fmt: skip


def test_the_table_has_the_articles_steps():
    table = landmarks.table()
    assert len(table) == 123
    assert sum(landmark.in_article for landmark in table) == 73
    assert len({landmark.id for landmark in table}) == len(table)
    assert set(landmarks.stages()) == set(range(1, 11)) == {landmark.stage for landmark in table}


def test_each_landmark_has_a_notebook():
    assert {landmark.notebook for landmark in landmarks.table()} == NOTEBOOKS


def test_builtins_name_their_callers():
    builtins = [landmark for landmark in landmarks.table() if landmark.kind == "c_call"]
    assert builtins
    assert all(landmark.callers for landmark in builtins)


def test_all_landmarks_of_the_installed_version_resolve():
    missing = [
        (resolution.landmark.id, resolution.reason)
        for resolution in landmarks.resolve()
        if resolution.target is not None and not resolution.found
    ]
    assert missing == []


def test_a_wrong_table_is_told_with_reasons():
    """The table of 4.47 on a later version: what is gone is named, nothing is raised."""
    if Version(landmarks.installed_version()) < Version("4.50"):
        pytest.skip("needs a version in which the functions of 4.47 are gone")
    reasons = {r.landmark.id: r.reason for r in landmarks.resolve("4.47.1") if not r.found}
    assert "gone" in reasons["load.into_model"]
    assert "_load_state_dict_into_model" in reasons["load.into_model"]


def test_versions_outside_the_tested_range_read_the_nearest_and_say_so():
    assert landmarks.table_version("6.1.0") == "5.23.0"
    assert landmarks.table_version("4.30.2") == "4.47.1"
    assert landmarks.table_version("4.52.1") == "4.52.1"
    assert "6.1.0" in landmarks.version_warning("6.1.0")
    assert "5.23.0" in landmarks.version_warning("6.1.0")
    assert landmarks.version_warning("4.57.6") is None


def test_pre_releases_fall_into_their_range():
    assert landmarks.pick({">=5,<6": "x"}, "5.24.0.dev0") == "x"


def test_code_of_looks_behind_decorators():
    def plain():
        pass

    @functools.wraps(plain)
    def wrapper():
        plain()

    assert landmarks.code_of(wrapper) is plain.__code__
    assert landmarks.code_of(staticmethod(plain)) is plain.__code__
    assert landmarks.code_of(property(plain)) is plain.__code__
    assert landmarks.code_of(functools.partial(plain)) is plain.__code__
    assert landmarks.code_of(contextlib.contextmanager(plain)) is plain.__code__
    assert landmarks.code_of(len) is None


def test_find_reaches_inner_functions():
    code = landmarks.find("contextlib:contextmanager.<locals>.helper")
    assert code.co_name == "helper"
    with pytest.raises(AttributeError, match="no inner function"):
        landmarks.find("contextlib:contextmanager.<locals>.nothing")


def test_the_table_is_plain_json():
    from importlib.resources import files

    assert json.loads(files("helpers").joinpath(landmarks.TABLE_FILE).read_text(encoding="utf-8"))["schema"] == 1


def test_what_torch_compile_puts_in_place_of_a_function_is_looked_behind(monkeypatch):
    """From the first torch.compile on, `Module.__init__` is a function of Dynamo's that calls the original."""
    original = mutation_guard.unpatched_nn_module_init
    monkeypatch.setattr(torch.nn.Module, "__init__", original)
    monkeypatch.setattr(torch.nn.Module, "__setstate__", torch.nn.Module.__setstate__)
    monkeypatch.setattr(torch.nn.Module, "___needs_generation_tag_patch", True, raising=False)
    mutation_guard.install_generation_tagging_init()
    assert torch.nn.Module.__init__.__code__ is not original.__code__
    assert landmarks.code_of(torch.nn.Module.__init__) is original.__code__
