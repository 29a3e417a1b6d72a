"""What a forecast does not know, or does not count, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers.forecasting.placement import NOT_FOR_COMPUTING, Placement
from helpers.forecasting.rehearsal import FakeModel, Parameter, Rehearsal
from helpers.forecasting.result import DeviceForecast
from helpers.forecasting.source import Source
from helpers.tables import format_bytes

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def notes(
    source: Source,
    fake: FakeModel,
    parameters: list[Parameter],
    rehearsal: Rehearsal,
    placement: Placement,
    devices: tuple[DeviceForecast, ...],
    positions: int,
    batch: int,
) -> tuple[str, ...]:
    """What is not known of a forecast, or not in its figures, and why. `positions`: prompt and new tokens."""
    notes = _other_class(source.config, fake)
    if getattr(fake.model.config, "vision_config", None) is not None:
        notes.append(
            f"{type(fake.model).__name__} reads images too, and this is for text alone: each image adds positions to "
            "the prompt, and the activations of its encoder"
        )
    states = [first for first, more in zip(rehearsal.first_by_layer or (), rehearsal.token_by_layer or (), strict=True)
              if first and not more]  # fmt: skip
    if states:
        notes.append(
            f"{format_bytes(sum(states))} of the KV cache are the state of {len(states)} layers that keep one in place "
            "of keys and values, and do not grow with the tokens"
        )
    notes += [source.note] if source.note else []
    if rehearsal.unknown:
        notes.append(rehearsal.unknown)
    if batch > 1:
        notes.append(
            "prompts of one length: where some are padded, the library builds an attention mask for the whole batch, "
            "and the activations are larger"
        )
    if rehearsal.scaled_from:
        what = (
            "activations, logits and the state of layers without keys and values"
            if states
            else "activations and logits"
        )
        notes.append(f"{what} at most: scaled from {rehearsal.scaled_from}, in which the model could run")
    if source.stored is not None:
        stored = {weight.name: weight.shape for weight in source.stored}
        expected = {entry.name: entry.shape for entry in parameters if not entry.is_buffer}
        others = sum(expected.get(name) != shape for name, shape in stored.items())
        if others:
            notes.append(
                f"{others} of the {len(stored)} stored tensors are none of the model's by name and shape: "
                "renamed, merged or left out by the load, and not in the file pages"
            )
    longest = getattr(source.config.get_text_config(), "max_position_embeddings", None)
    if longest and positions > longest:
        notes.append(f"{positions} tokens are more than the {longest} positions that the model was made for")
    notes += [
        f"{format_bytes(row.parameters)} of the weights {where}, and move to {placement.main} for each token (slow)"
        for row in devices
        if row.parameters and row.device in NOT_FOR_COMPUTING and row.device != placement.main
        for where in ["stay in files" if row.device == "disk" else "stay in main memory"]
    ]
    if placement.main == "cpu":
        notes.append(
            "not in the figures: the process, its libraries, and what the C library's heap keeps of freed activations"
        )
    if any(device.startswith("cuda") for device in placement.devices):
        notes.append("not in the figures: the CUDA context, which depends on card and driver")
    return tuple(notes)


def _other_class(config: PretrainedConfig, fake: FakeModel) -> list[str]:
    """Whether the checkpoint is of another class than the one that is forecast."""
    made = type(fake.model).__name__
    named = getattr(config, "architectures", None) or [made]
    if made in named:
        return []
    return [
        f"the checkpoint is of {named[0]}; this is a forecast for {made}, which {fake.auto_class} makes of it, and "
        f"not for {named[0]}"
    ]
