"""A way to make a model fit, as arguments in Python or as flags of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Means:
    """`options`: the arguments of forecast() to change, which from_pretrained and generate() have too or mean the same;
    none where there is no way. `effect`: what comes of it. Printed, it is in Python's spelling."""

    options: dict[str, Any]
    effect: str

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={_in_python(value)}" for name, value in self.options.items())
        return f"{arguments}: {self.effect}" if arguments else self.effect

    def as_flags(self) -> str:
        """In the spelling of `python -m helpers forecast`."""
        flags = " ".join(_flag(name, value) for name, value in self.options.items())
        return f"{flags}: {self.effect}" if flags else self.effect


def _in_python(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_in_python(key)}: {_in_python(item)}' for key, item in value.items())}}}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _flag(name: str, value: Any) -> str:
    flag = f"--{name.replace('_', '-')}"
    values = [f"{key}={item}" for key, item in value.items()] if isinstance(value, dict) else [value]
    return " ".join(f"{flag} {one}" for one in values)
