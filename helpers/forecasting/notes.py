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
    return (
        *_other_class(source.config, fake),
        *_images(fake),
        *_states(rehearsal),
        *([source.note] if source.note else []),
        *([rehearsal.unknown] if rehearsal.unknown else []),
        *_padding(batch),
        *_scaled(rehearsal),
        *_other_tensors(source, parameters),
        *_length(source.config, positions),
        *_offloaded(placement, devices),
        *_not_counted(placement),
    )


def _images(fake: FakeModel) -> list[str]:
    if getattr(fake.model.config, "vision_config", None) is None:
        return []
    return [
        f"{type(fake.model).__name__} reads images too, and this is for text alone: each image adds positions to "
        "the prompt, and the activations of its encoder"
    ]


def _sizes_of_states(rehearsal: Rehearsal) -> list[int]:
    """Bytes of the layers that hold something from the first token on and do not grow."""
    pairs = zip(rehearsal.first_by_layer or (), rehearsal.token_by_layer or (), strict=True)
    return [first for first, more in pairs if first and not more]


def _states(rehearsal: Rehearsal) -> list[str]:
    sizes = _sizes_of_states(rehearsal)
    if not sizes:
        return []
    return [
        f"{format_bytes(sum(sizes))} of the KV cache are the state of {len(sizes)} layers that keep one in place "
        "of keys and values, and do not grow with the tokens"
    ]


def _padding(batch: int) -> list[str]:
    if batch == 1:
        return []
    return [
        "prompts of one length: where some are padded, the library builds an attention mask for the whole batch, "
        "and the activations are larger"
    ]


def _scaled(rehearsal: Rehearsal) -> list[str]:
    if not rehearsal.scaled_from:
        return []
    figures = "activations and logits"
    if _sizes_of_states(rehearsal):
        figures = "activations, logits and the state of layers without keys and values"
    return [f"{figures} at most: scaled from {rehearsal.scaled_from}, in which the model could run"]


def _other_tensors(source: Source, parameters: list[Parameter]) -> list[str]:
    """Whether tensors of the checkpoint are none of the model's."""
    stored = {weight.name: weight.shape for weight in source.stored or ()}
    expected = {entry.name: entry.shape for entry in parameters}
    others = sum(expected.get(name) != shape for name, shape in stored.items())
    if not others:
        return []
    return [
        f"{others} of the {len(stored)} stored tensors are none of the model's by name and shape: "
        "renamed, merged or left out by the load, and not in the file pages"
    ]


def _length(config: PretrainedConfig, positions: int) -> list[str]:
    longest = getattr(config.get_text_config(), "max_position_embeddings", None)
    if not longest or positions <= longest:
        return []
    return [f"{positions} tokens are more than the {longest} positions that the model was made for"]


def _offloaded(placement: Placement, devices: tuple[DeviceForecast, ...]) -> list[str]:
    """Which weights lie where nothing is computed, and move for each token."""
    return [
        f"{format_bytes(row.parameters)} of the weights stay in {'files' if row.device == 'disk' else 'main memory'}, "
        f"and move to {placement.main} for each token (slow)"
        for row in devices
        if row.parameters and row.device in NOT_FOR_COMPUTING and row.device != placement.main
    ]


def _not_counted(placement: Placement) -> list[str]:
    notes = []
    if placement.main == "cpu":
        notes.append(
            "not in the figures: the process, its libraries, and what the C library's heap keeps of freed activations"
        )
    if any(device.startswith("cuda") for device in placement.devices):
        notes.append("not in the figures: the CUDA context, which depends on card and driver")
    return notes


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
