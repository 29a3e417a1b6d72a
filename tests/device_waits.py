"""Counting what makes Python wait for a GPU: explicit synchronisation, and values that are read from a tensor."""

from __future__ import annotations

import functools

import pytest
import torch

WAITS = (
    (torch.cuda, "synchronize"),
    (torch.cuda.Event, "synchronize"),
    (torch.cuda.Stream, "synchronize"),
    (torch.Tensor, "item"),
    (torch.Tensor, "tolist"),
    (torch.Tensor, "cpu"),
    (torch.Tensor, "numpy"),
    (torch.Tensor, "__bool__"),
    (torch.Tensor, "__int__"),
    (torch.Tensor, "__float__"),
)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the calls that wait, as they come; on the CPU too, where a tensor's value is there at once."""
    waits: list[str] = []

    def counting(real, name):
        @functools.wraps(real)
        def call(*arguments, **keywords):
            waits.append(name)
            return real(*arguments, **keywords)

        return call

    for owner, name in WAITS:
        monkeypatch.setattr(owner, name, counting(getattr(owner, name), name))
    return waits
