"""See what transformers does between `from_pretrained` and the next token, on the version that is installed.

    from helpers import checkpoints, record

    with record() as recording:
        model = AutoModelForCausalLM.from_pretrained(checkpoints.chosen())
    recording.landmarks()

Probes write, a Recording holds, views read. Importing this package is light: torch and transformers are imported
when a name that needs them is first used.
"""

import importlib
import sys

if sys.version_info < (3, 11):  # noqa: UP036 (reached where no installer has checked requires-python: in a checkout)
    version = ".".join(str(part) for part in sys.version_info[:2])
    raise ImportError("helpers needs Python 3.11 or later, and this is " + version)

_HOMES = {
    "check": "helpers.checks",
    "explore_sampling": "helpers.views.sampling_explorer",
    "forecast": "helpers.forecasting.forecast",
    "record": "helpers.recorder",
    "Recording": "helpers.recording.recording",
    "step_through": "helpers.views.player",
}
_MODULES = {"article", "checkpoints", "compat", "devices", "landmarks", "safetensors_header", "sampling", "views"}

__all__ = sorted([*_HOMES, *_MODULES])


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__


def load_ipython_extension(shell) -> None:
    """`%load_ext helpers`: the cell magic `%%record`."""
    importlib.import_module("helpers.magic").register(shell)
