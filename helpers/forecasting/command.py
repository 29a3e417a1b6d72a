"""`python -m helpers forecast MODEL`: will it fit? The exit status says it: 0 fits, 3 does not, 4 cannot be told."""

from __future__ import annotations

import argparse
import json
import re
import sys

FITS, DOES_NOT_FIT, NOT_KNOWN = 0, 3, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    from helpers.forecasting.settings import CACHES, NEW_TOKENS, PROMPT_TOKENS

    parser.epilog = (
        f"exit status: {FITS} it fits, {DOES_NOT_FIT} it does not, {NOT_KNOWN} it cannot be told, 1 an error"
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a checkpoint's folder, a config.json, a Hub id, or llama-2-7b for that shape without any file",
    )
    parser.add_argument(
        "--dtype", metavar="DTYPE", help="float32, float16, bfloat16 or auto; else the library's default"
    )
    parser.add_argument(
        "--gpu",
        metavar="SIZE",
        action="append",
        default=[],
        help="forecast for a GPU with this much free memory, such as 24GB or 24GiB, that need not be here; give it "
        "once for each GPU",
    )
    parser.add_argument(
        "--device-map",
        metavar="MAP",
        help='cpu, cuda:0, auto …, or a map as JSON: \'{"model": 0, "lm_head": "cpu"}\'; without it the GPUs that '
        "--gpu names, else the device that the notebooks choose",
    )
    parser.add_argument(
        "--max-memory",
        metavar="DEVICE=SIZE",
        action="append",
        default=[],
        help="what of a device --device-map auto may fill with weights, such as 0=20GB or cpu=8GiB; give it once for "
        "each device, and devices that are not named get nothing",
    )
    parser.add_argument("--prompt-tokens", type=int, default=PROMPT_TOKENS, metavar="N")
    parser.add_argument("--new-tokens", type=int, default=NEW_TOKENS, metavar="N")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="how many prompts at once")
    parser.add_argument("--cache", default=CACHES[0], help=f"{' or '.join(CACHES)}")
    parser.add_argument("--figure", metavar="FILE", help="write the stacked bars to this PNG file")


def command(options: argparse.Namespace) -> int:
    """Print the forecast; return the exit status. Raises what forecast() does, in the spelling of the command line."""
    from helpers.devices import DeviceError
    from helpers.forecasting.settings import ForecastError

    if options.figure and not options.figure.lower().endswith(".png"):
        raise ForecastError(f"--figure {options.figure}: the name of a picture ends in .png")
    try:
        found = _forecast(options)
    except (ForecastError, DeviceError) as error:
        raise type(error)(_with_flags(str(error))) from error
    print(found.summary(as_flags=True))
    if options.figure:
        _write_figure(found, options.figure)
    return {True: FITS, False: DOES_NOT_FIT, None: NOT_KNOWN}[found.fits]


def _forecast(options: argparse.Namespace):
    from helpers.forecasting.forecast import forecast
    from helpers.forecasting.settings import ForecastError

    memory = {f"cuda:{number}": size for number, size in enumerate(options.gpu)}
    max_memory = {}
    for given in options.max_memory:
        device, equals, size = given.partition("=")
        if not equals:
            raise ForecastError(f"max_memory {given}: write DEVICE=SIZE, such as 0=20GB or cpu=8GiB")
        max_memory[int(device) if device.isdecimal() else device] = size
    return forecast(
        options.model,
        dtype=options.dtype,
        device_map=_map_of_modules(options.device_map) if options.device_map else _device_map(memory),
        max_memory=max_memory or None,
        prompt_tokens=options.prompt_tokens,
        new_tokens=options.new_tokens,
        batch=options.batch,
        cache=options.cache,
        memory=memory,
    )


def _map_of_modules(given: str) -> str | dict[str, str | int]:
    """`given`, or the map that it is in JSON. Raises ForecastError for what begins as one and is none."""
    from helpers.forecasting.settings import ForecastError

    if not given.lstrip().startswith("{"):
        return given
    try:
        device_map = json.loads(given)
    except ValueError as error:
        raise ForecastError(f"device_map: {given} is no JSON ({error})") from error
    for module, device in device_map.items():
        if not isinstance(device, (str, int)) or isinstance(device, bool):
            raise ForecastError(f"device_map: {json.dumps(device)} of {module!r} is no device: write 0 or cpu")
    return device_map


_IN_MEMORY = re.compile(r'memory=\{"cuda:\d+": "(\w+)"\}')
_ARGUMENT = re.compile(r"\b(max_memory|device_map|prompt_tokens|new_tokens)\b=?|\b(dtype|batch|cache)=")


def _with_flags(message: str) -> str:
    """An error of forecast(), with the options of the command line in place of its arguments."""
    message = _IN_MEMORY.sub(r"--gpu \1, once for each GPU,", message)
    if message.startswith("memory: "):
        message = f"--gpu: {message.removeprefix('memory: ')}"
    flagged = _ARGUMENT.sub(lambda found: f"--{(found[1] or found[2]).replace('_', '-')} ", message)
    return re.sub(r" +(?=[ :])", "", flagged)


def _device_map(memory: dict[str, str]) -> str:
    from helpers import devices

    if not memory:
        return str(devices.chosen_device())
    return "auto" if len(memory) > 1 else next(iter(memory))


def _write_figure(found, file: str) -> None:
    from pathlib import Path

    from helpers.views.forecast_figures import forecast_figure
    from helpers.views.pictures import png
    from helpers.whole_file import write_whole

    print(f"figure: {write_whole(Path(file).expanduser(), png(forecast_figure(found)))}", file=sys.stderr)
