"""The reference recording: the article's script on the demo checkpoint, from from_pretrained to sixteen new tokens.

    python -m helpers.reference_recording [FILE]

makes it in the transformers that is installed, by default at helpers/recordings/whole_call_VERSION.json.gz, in about
a minute. Those of the tested versions are committed: 4.47.1 is the article's, and five of the article's landmarks exist
only there; the others show what has moved since. `committed()` reads them. helpers/recordings/README.md tells how each
was made.

What a reader finds in it does not depend on the machine: landmarks, shapes, dtypes, counts, order. Times, memory,
thread counts and the processor do, and are those of the machine that made it, named in its environment.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.resources import as_file, files
from pathlib import Path

from . import article, checkpoints, landmarks
from .recorder_settings import DEFAULT_ZOOM
from .recording.recording import Recording

ARTICLE_VERSION = "4.47.1"
FOLDER = Path(__file__).parent / "recordings"
SEED = 0
ZOOM = (*DEFAULT_ZOOM, "sampling")
"""The default zoom, and sampling, which holds the id of each new token and how probable it was."""
CLOSER_ZOOM = ("landmarks", "modules", "functions", "lines", "memory", "sampling")
"""The default zoom, and functions, the lines in which a load decides, and sampling: what the player can show."""
SOURCES_FROM = ("transformers", "accelerate", "safetensors")
"""The packages whose sources travel along: they are under the Apache License 2.0, as this project is. Those of torch
and of Python's own library are under other licences, and are left out."""
SOURCES_LICENCE = "Apache-2.0"
NEW_TOKENS = 16
PROMPT_TOKENS = 173
"""The length of the article's prompt with Llama-2's tokenizer."""

FURTHER = (
    " Explain your answer step by step: name each place that you pass, say in which way you face there, "
    "and tell whether this walk is possible anywhere else."
)
"""What the question goes on with: SmolLM2 makes fewer tokens of the article's prompt, and so they are PROMPT_TOKENS."""


def prompt(tokenizer) -> str:
    """The article's prompt with a longer question, in the chat template of the tokenizer."""
    return article.prompt(tokenizer, article.QUESTION + FURTHER)


def make(*zoom: str, checkpoint: Path | None = None) -> Recording:
    """Run the script and record it, on the CPU, in float32, with a fixed seed. `zoom`: as record() takes it, else ZOOM.
    `checkpoint`: the folder of another one than the demo checkpoint; how long its prompt is, is then not checked.

    The environment also holds sampled_prompt, sampled_seed and sampled_text (what the model wrote behind the prompt).
    Two loads, because 4.47 has two ways: load 0 without a device map; load 1 with device_map="cpu", which goes the
    way of the article's device_map="cuda", and whose model generates. The checkpoint is named by a relative path, so
    that no folder of this machine enters. Raises CheckpointError when the demo checkpoint cannot be had, and
    RuntimeError when the run was not as described.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    from . import compat
    from .recorder import record

    is_demo = checkpoint is None or (checkpoints.demo_is_built() and checkpoint == checkpoints.demo())
    checkpoint = checkpoints.demo() if is_demo else checkpoint
    dtype = compat.dtype_argument(torch.float32)
    with contextlib.chdir(checkpoint.parent), torch.random.fork_rng(), record(*(zoom or ZOOM)) as recording:
        AutoModelForCausalLM.from_pretrained(checkpoint.name, **dtype)
        model = AutoModelForCausalLM.from_pretrained(checkpoint.name, device_map="cpu", **dtype)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint.name)
        text = prompt(tokenizer)
        device = compat.pipeline_device(model, "cpu")
        generator = pipeline(
            "text-generation", model=model, tokenizer=tokenizer, max_new_tokens=NEW_TOKENS, **device,
            **article.SAMPLING,
        )  # fmt: skip
        torch.manual_seed(SEED)
        (written,) = generator(text)
    if is_demo:
        check(recording)
    new_text = written["generated_text"].removeprefix(text)
    recording.environment |= {"sampled_prompt": text, "sampled_seed": SEED, "sampled_text": new_text}
    recording.sources = {name: text for name, text in recording.sources.items() if name.split(".")[0] in SOURCES_FROM}
    recording.environment["sources_licence"] = f"{SOURCES_LICENCE}: {', '.join(SOURCES_FROM)}"
    return recording


def check(recording: Recording) -> None:
    """Raises RuntimeError unless the run made NEW_TOKENS from a prompt of PROMPT_TOKENS."""
    positions = recording.steps()["kv_tokens"]
    first = positions.iloc[0] if len(positions) else 0
    if len(positions) != NEW_TOKENS or first != PROMPT_TOKENS:
        raise RuntimeError(
            f"The run made {len(positions)} tokens from a prompt of {first}, not {NEW_TOKENS} from {PROMPT_TOKENS}: "
            "the checkpoint, its tokenizer or the random numbers are others than expected."
        )


def path(version: str) -> Path:
    """Where the reference recording of a transformers version belongs."""
    return FOLDER / f"whole_call_{version}.json.gz"


def committed(version: str | None = None) -> Recording:
    """The recording made in a tested version of transformers, by default ARTICLE_VERSION.

    Raises RecordingError when its file is missing or damaged.
    """
    with as_file(files("helpers").joinpath("recordings", path(version or ARTICLE_VERSION).name)) as file:
        return Recording.load(file)


def main(arguments: list[str]) -> int:
    """Make the recording and save it; prints where."""
    target = Path(arguments[0]).absolute() if arguments else path(landmarks.installed_version())
    saved = make().save(target)
    print(f"{saved} ({saved.stat().st_size:,} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
