"""Counting live storages, on real tensors: what is freed no longer counts, a view is no new memory."""

import torch
from torch import nn

from helpers.forecasting.live_memory import LiveMemory, layer_bytes


class Nothing(nn.Module):
    """A model with one parameter of 400 bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100))


def test_the_peak_is_of_what_lives_at_the_same_time():
    with LiveMemory(Nothing(), None) as live:
        first = torch.empty(1000)  # 4,000 bytes
        view = first[:10]
        del first  # the view holds it
        second = torch.empty(500)
        del view
        third = torch.empty(250)
    assert live.most == 6000
    assert second.numel() + third.numel() == 750


def test_parameters_and_their_views_do_not_count():
    model = Nothing()
    with torch.no_grad(), LiveMemory(model, None) as live:
        transposed = model.weight.view(10, 10).t()
        product = transposed @ transposed
    assert live.most == product.nbytes


def test_a_cache_counts_from_the_start_and_an_unknown_one_is_told():
    cache = ((torch.ones(1, 2, 3, 4), torch.ones(1, 2, 3, 4)),)
    assert layer_bytes(cache) == (2 * 24 * 4,)
    assert layer_bytes(object()) is None
    with LiveMemory(Nothing(), cache) as live:
        pass
    assert live.most == 2 * 24 * 4
