"""The bytes of parameters in the memory series: of what lives now, in the dtype it has now, what is shared once."""

import gc

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from helpers import Recording, compat, placement, record
from helpers.events import NOT_OBSERVED
from helpers.probes.memory import MemoryProbe, held_bytes

IDS = torch.tensor([[1, 2, 3]])


@pytest.fixture
def llama(tiny_checkpoint):
    model = AutoModelForCausalLM.from_pretrained(str(tiny_checkpoint), **compat.dtype_argument(torch.float32))
    assert sum(buffer.numel() for buffer in model.buffers())
    return model


def _elements(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_a_model_that_is_cast_has_its_new_size(llama):
    with record() as recording:
        llama(IDS)
        llama.to(torch.bfloat16)
        llama(IDS)
    sizes = recording.memory()["parameters"]
    buffers = sum(buffer.numel() for buffer in llama.buffers())
    assert sizes.max() == 4 * (_elements(llama) + buffers)
    assert 2 * (_elements(llama) + buffers) <= sizes.iloc[-1] < 3 * _elements(llama)
    assert sizes.iloc[-1] == sizes.iloc[-2]  # seen when the cast model was called, not only at the end


def test_a_model_that_is_cast_in_part_has_its_new_size_at_the_end(llama):
    with record() as recording:
        llama(IDS)
        llama.lm_head.weight = nn.Parameter(torch.zeros(1))
    sizes = recording.memory()["parameters"]
    tied = llama.config.tie_word_embeddings
    assert sizes.max() - sizes.iloc[-1] == (-4 if tied else llama.config.vocab_size * llama.config.hidden_size * 4 - 4)


def test_what_two_models_share_counts_once(llama):
    with record() as recording:
        llama.model(IDS)
        llama(IDS)
    expected = 4 * (_elements(llama) + sum(buffer.numel() for buffer in llama.buffers()))
    assert recording.memory()["parameters"].iloc[-1] == expected


def test_a_cache_that_is_a_part_of_its_model_is_no_parameter():
    """As a static one in 4.47."""

    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("key_cache_0", torch.zeros(100))

        def get_seq_length(self):
            return 0

    model = nn.Sequential(nn.Linear(2, 3, bias=False))
    model.add_module("_cache", Cache())
    assert held_bytes([model]) == (6 * 4, 0)
    assert list(placement.where(model)["name"]) == ["0.weight"]


def test_a_model_that_was_changed_before_generate_has_its_new_size_from_its_beginning(llama):
    settings = {"attention_mask": torch.ones_like(IDS), "max_new_tokens": 2, "min_new_tokens": 2}
    with record() as recording:
        llama.generate(IDS, **settings)
        llama.register_buffer("something", torch.zeros(1000))
        llama.generate(IDS, **settings)
    sizes = [recording.memory()["parameters"][sample] for sample in recording.step_rows["memory"]]
    assert [size - sizes[0] for size in sizes] == [0, 0, 4000, 4000]


def test_views_of_one_buffer_count_each_for_itself_and_what_overlaps_once():
    flat = torch.zeros(100)

    class Flat(nn.Module):
        def __init__(self, *ranges):
            super().__init__()
            for number, (begin, end) in enumerate(ranges):
                self.register_parameter(f"part{number}", nn.Parameter(flat[begin:end]))

    assert held_bytes([Flat((0, 40), (40, 100))]) == (400, 0)
    assert held_bytes([Flat((0, 60), (40, 100))]) == (400, 0)
    assert held_bytes([Flat((0, 10), (90, 100))]) == (80, 0)
    assert held_bytes([Flat((0, 60)), Flat((0, 60))]) == (240, 0)


def test_an_expanded_tensor_takes_what_its_storage_has():
    module = nn.Module()
    module.register_buffer("mask", torch.zeros(1).expand(1000))
    assert held_bytes([module]) == (4, 0)


def test_meta_parameters_are_virtual():
    with torch.device("meta"):
        empty = nn.Linear(10, 10)
    with record() as recording:
        empty(torch.zeros(1, 10, device="meta"))
    assert list(recording.memory()[["parameters", "parameters_virtual"]].iloc[-1]) == [0, 440]


def test_a_freed_model_leaves_the_series():
    probe = MemoryProbe(lambda: 0)
    model = nn.Linear(10, 10)
    probe.count_model(model)
    probe.sample()
    del model
    gc.collect()
    probe.sample()
    probe.close()
    assert probe.columns()["parameters"] == [440, 0]


def test_an_older_file_without_virtual_parameters_is_read(tmp_path):
    with record() as recording:
        nn.Linear(2, 2)(torch.zeros(1, 2))
    del recording.memory_series["parameters_virtual"]
    read = Recording.load(recording.save(tmp_path / "old.json.gz"))
    assert set(read.memory_series["parameters_virtual"].tolist()) == {NOT_OBSERVED}
    assert read.memory()["parameters_virtual"].isna().all()


def test_lazy_parameters_have_no_size_until_they_are_initialised():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.LazyLinear(4), nn.LazyLinear(2)

        def forward(self, x):
            return self.first(x)

    model = First()
    with record() as recording:
        model(torch.zeros(3, 5))
    assert list(recording.modules()["path"]) == ["", "first"]
    assert recording.memory()["parameters"].iloc[-1] == 4 * (5 * 4 + 4)
    assert recording.warnings == []


def test_a_model_that_cannot_be_counted_is_told_and_the_recording_is_kept():
    class Counted(nn.Module):
        def parameters(self, recurse=True):
            raise OSError("no parameters today")

        def forward(self, x):
            return x

    with record() as recording:
        Counted()(torch.zeros(1))
    assert list(recording.modules()["path"]) == [""]
    assert recording.warnings == ["memory: recount not observed (OSError: no parameters today)"]
