"""The page on the helpers package: its public names from their docstrings, and its command line."""

from __future__ import annotations

import argparse

import helpers.__main__ as command_line

SECTIONS = (
    ("Record a run", "helpers.recorder", ("record",)),
    ("Ask a recording", "helpers.recording.recording", ("Recording",)),
    ("Step through it", "helpers.views.player", ("step_through",)),
    ("Turn the knobs of sampling", "helpers.views.sampling_explorer", ("explore_sampling",)),
    ("The next token as plain numbers", "helpers.sampling", ()),
    ("Will it fit?", "helpers.forecasting.forecast", ("forecast",)),
    ("Checkpoints", "helpers.checkpoints", ()),
    ("Devices and dtypes", "helpers.devices", ()),
    ("Landmarks", "helpers.landmarks", ()),
    ("Safetensors headers", "helpers.safetensors_header", ()),
    ("Checks beside the prose", "helpers.checks", ("check",)),
    ("Tables of a notebook", "helpers.course", ("in_your_version", "where_to_look")),
)
"""(heading, module, names): all public names of the module where none are given."""

INTRODUCTION = """# The helpers package

What a notebook imports. `from helpers import record, step_through, …` gives the names that a notebook needs; a module
is imported when one of its names is first used. Tables are pandas DataFrames, and each docstring gives columns, units
and what is raised.
"""


def markdown() -> str:
    """The page, as MyST; Sphinx reads the docstrings when it builds it."""
    sections = [_section(*section) for section in SECTIONS]
    return "\n".join([INTRODUCTION, *sections, *_commands()])


def _section(heading: str, module: str, names: tuple[str, ...]) -> str:
    if names:
        directives = [f".. autodata:: {name}" if name.isupper() else _directive(module, name) for name in names]
    else:
        directives = [f".. automodule:: {module}\n   :members:\n   :imported-members:" if _is_face(module) else
                      f".. automodule:: {module}\n   :members:"]  # fmt: skip
    body = "\n\n".join(directives)
    return f"## {heading}\n\n```{{eval-rst}}\n.. currentmodule:: {module}\n\n{body}\n```\n"


def _is_face(module: str) -> bool:
    """Whether the module says itself, in `__all__`, which names of its parts are its own."""
    import importlib

    return hasattr(importlib.import_module(module), "__all__")


def _directive(module: str, name: str) -> str:
    import importlib

    found = getattr(importlib.import_module(module), name)
    if not isinstance(found, type):
        return f".. autofunction:: {module}.{name}"
    own_base = any(base.__module__.startswith("helpers.") for base in found.__bases__)
    return f".. autoclass:: {module}.{name}\n   :members:" + ("\n   :inherited-members:" if own_base else "")


def _commands() -> list[str]:
    """The command line, as `--help` prints it."""
    lines = ["## On the command line", ""]
    for name, _, add in command_line.COMMANDS:
        parser = argparse.ArgumentParser(
            prog=f"python -m helpers {name}", formatter_class=lambda prog: argparse.HelpFormatter(prog, width=88)
        )
        add(parser)
        lines += [f"### {name}", "", "```text", parser.format_help().strip(), "```", ""]
    return lines
