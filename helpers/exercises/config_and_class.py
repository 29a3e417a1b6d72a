"""Checks of the exercises of 01_config_and_class."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from helpers import checkpoints
from helpers.checkpoints import hub_cache, variants
from helpers.exercises import Verdict, right, wrong
from helpers.exercises.answers import described, function, judges, run, text, texts
from helpers.safetensors_header import INDEX, SINGLE_FILE

UNKNOWN_FILE = "never_asked_for.json"
OTHER_COMMITS = ("0" * 40, "f" * 40)
"""Of which `check_resolver` lays snapshots beside that of main, before it and behind it in the order of the names."""


@judges
def check_model_class(answer: object, model_type: str) -> Verdict:
    """`answer`: the name of the class that AutoModelForCausalLM makes for this model_type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

    answer = text(answer, "The answer is a text: the name of a class")
    expected = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    if answer == expected:
        return right(f"the table for causal language models has {model_type!r}: {expected!r}; no code was asked.")
    if answer == MODEL_MAPPING_NAMES[model_type]:
        return wrong("that is AutoModel's choice: the model without the head that makes logits.")
    return wrong("look the model_type up in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, as step 5 does.")


@judges
def check_weight_lookups(answer: object) -> Verdict:
    """`answer`: the names of the weight files that cached_file is asked for, in order, when the Hub's repository holds
    its weights in pytorch_model.bin only. The check makes such a cache and records a load."""
    answer = texts(answer, "Give a list of file names, in order", ordered=True)
    expected = _lookups_of_a_pickle()
    if answer == expected:
        return right("safetensors first, as one file and then as an index; the pickle only when neither is there.")
    if answer[: len(expected)] == expected:
        return wrong(f"{expected[-1]} is there, and what is found ends the search: after it nothing is asked for.")
    if set(answer) == set(expected):
        return wrong("these are the files, in another order: safetensors goes before pickle, the single file first.")
    if answer == [variants.PICKLE]:
        return wrong("the load does not know that only the pickle is there: it asks for safetensors first.")
    if INDEX not in answer and SINGLE_FILE in answer:
        return wrong(f"after {SINGLE_FILE} was not there, the weights could still be safetensors in several shards.")
    return wrong("record it: take the lookups() of step 3 and think what follows when the index is not there either.")


def _lookups_of_a_pickle() -> list[str]:
    from transformers import AutoModelForCausalLM

    from helpers import record
    from helpers.queries.lookups import lookups

    with tempfile.TemporaryDirectory() as folder:
        pickle = variants.as_pickle(checkpoints.tiny(), Path(folder, "pickle"))
        hub_cache.write(pickle, Path(folder, "hub"), "example/pickle", absent=(SINGLE_FILE, INDEX))
        with record() as recording:
            AutoModelForCausalLM.from_pretrained(
                "example/pickle", cache_dir=str(Path(folder, "hub")), local_files_only=True
            )
    asked = lookups(recording).query("function == 'cached_file'")["asked"]
    return [name for name in dict.fromkeys(asked) if not name.endswith(".json") or name == INDEX]


@judges
def check_resolver(answer: object, folder: Path) -> Verdict:
    """`answer`: a function of a file's name that finds it in the folder of one repository in the Hub cache: its path,
    or None where the cache knows that the Hub does not have it; FileNotFoundError where the cache knows nothing. While
    it is asked there are snapshots of two further commits in the folder."""
    resolve = function(answer, "The answer is a function: `answer = resolve`, without brackets")
    with _other_commits(folder):
        return _judged_resolver(resolve, folder)


@contextlib.contextmanager
def _other_commits(folder: Path) -> Iterator[None]:
    """A config.json and a marker under other commits, as after several downloads: main is one of three then."""
    others = [folder / kind / commit for kind in ("snapshots", ".no_exist") for commit in OTHER_COMMITS]
    try:
        for other in others:
            other.mkdir(parents=True)
            (other / ("config.json" if other.parent.name == "snapshots" else UNKNOWN_FILE)).write_text("{}")
        yield
    finally:
        for other in others:
            shutil.rmtree(other, ignore_errors=True)


def _judged_resolver(resolve: Callable, folder: Path) -> Verdict:
    commit = (folder / "refs" / "main").read_text(encoding="utf-8")
    found = run(resolve, "config.json", of="for config.json")
    if not isinstance(found, str | Path):
        return wrong(f"config.json is in the cache: give its path, not {described(found)}.")
    if Path(found).resolve() != (folder / "snapshots" / commit / "config.json").resolve():
        if Path(found).parent.name in OTHER_COMMITS:
            return wrong("the check laid snapshots of other commits beside yours: refs/main says which one is main's.")
        return wrong(f"config.json should lead into snapshots/{commit[:6]}…, and you gave {found}.")
    for name in sorted(path.name for path in (folder / ".no_exist" / commit).glob("*")):
        if run(resolve, name, of=f"for {name}") is not None:
            return wrong(f"{name} is marked under .no_exist: the cache knows that it is not there; return None.")
    try:
        unknown = run(resolve, UNKNOWN_FILE, of=f"for {UNKNOWN_FILE}", lets=(FileNotFoundError,))
    except FileNotFoundError:
        return right("the commit from refs/main, the file from snapshots, and .no_exist before giving up.")
    return wrong(
        f"of {UNKNOWN_FILE} the cache knows nothing, so the Hub would be asked; you gave {described(unknown)}."
    )
