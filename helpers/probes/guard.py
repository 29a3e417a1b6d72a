"""A hook must never disturb the run: what it cannot read is noted as a problem of the recording, once."""

from __future__ import annotations

import functools
from collections.abc import Callable

from .redact import text


def noting(what: str) -> Callable[[Callable], Callable]:
    """Decorates a probe's method: an exception goes to `self.problems` (method name to sentence), not to the run."""

    def decorate(method: Callable) -> Callable:
        @functools.wraps(method)
        def hook(self, *arguments: object) -> None:
            try:
                method(self, *arguments)
            except Exception as error:
                name = method.__name__.replace("_", " ")
                reason = text(f"{type(error).__name__}: {error}")
                self.problems.setdefault(name, f"{what}: {name} not observed ({reason})")

        return hook

    return decorate
