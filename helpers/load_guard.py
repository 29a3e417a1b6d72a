"""A guard before a load: what cannot fit is refused before it starts, with the forecast as the message.

from helpers.load_guard import require_fit

require_fit(checkpoint, dtype=torch.float32)      # raises DoesNotFitError, or returns the forecast
model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.forecasting.forecast import forecast

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from helpers.forecasting.result import Forecast

FORCE = "TRACE_FORCE_LOAD"


class DoesNotFitError(MemoryError):
    """The load was refused. `forecast` has the figures; the message is its summary."""

    def __init__(self, forecast: Forecast) -> None:
        self.forecast = forecast
        super().__init__(f"this load was not started, because it cannot fit.\n{forecast}\n{_how_to_force()}")


def require_fit(model: str | Path | PretrainedConfig, *, force: bool | None = None, **options) -> Forecast:
    """Return the forecast of a load that fits, or of which it cannot be told; else raise DoesNotFitError.

    force: load it all the same; the forecast then comes as a warning. None: when the environment variable
    TRACE_FORCE_LOAD is set to 1. options: those of `forecast()`; dtype and device_map as for from_pretrained. Raises
    what `forecast()` raises, and TypeError for a `force` that is none of these.
    """
    if force not in (None, True, False):  # any text would count as true, "no" too
        raise TypeError(f"force={force!r}: give True, False or None")
    found = forecast(model, **options)
    if found.fits is not False:
        return found
    if force is None:
        force = os.environ.get(FORCE, "").strip() == "1"
    if not force:
        raise DoesNotFitError(found)
    warnings.warn(f"this load is forced, although it cannot fit.\n{found}", stacklevel=2)
    return found


def _how_to_force() -> str:
    return f"To start it all the same: require_fit(…, force=True), or {FORCE}=1 in the environment."
