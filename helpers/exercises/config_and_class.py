"""Checks of the exercises of 01_config_and_class."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from helpers import checkpoints
from helpers.checkpoints import hub_cache, variants
from helpers.exercises import Verdict, not_answered, right, wrong
from helpers.safetensors_header import INDEX, SINGLE_FILE


def check_model_class(answer: str | None, model_type: str) -> Verdict:
    """`answer`: the name of the class that AutoModelForCausalLM makes for this model_type."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_MAPPING_NAMES

    if answer is None:
        return not_answered()
    expected = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[model_type]
    if answer == expected:
        return right(f"the table for causal language models has {model_type!r}: {expected!r}; no code was asked.")
    if answer == MODEL_MAPPING_NAMES[model_type]:
        return wrong("that is AutoModel's choice: the model without the head that makes logits.")
    if not isinstance(answer, str):
        return wrong("the answer is a text: the name of a class.")
    return wrong("look the model_type up in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, as step 5 does.")


def check_weight_lookups(answer: list[str] | None) -> Verdict:
    """`answer`: the names of the weight files that cached_file is asked for, in order, when the Hub's repository holds
    its weights in pytorch_model.bin only. The check makes such a cache and records a load."""
    if answer is None:
        return not_answered()
    expected = _lookups_of_a_pickle()
    if list(answer) == expected:
        return right("safetensors first, as one file and then as an index; the pickle only when neither is there.")
    if set(answer) == set(expected):
        return wrong("these are the files, in another order: safetensors goes before pickle, the single file first.")
    if list(answer) == [variants.PICKLE]:
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


def check_resolver(answer: Callable | None, folder: Path) -> Verdict:
    """`answer`: a function of a file's name that finds it in the folder of one repository in the Hub cache: its path,
    or None where the cache knows that the Hub does not have it; FileNotFoundError where the cache knows nothing."""
    if answer is None:
        return not_answered()
    if not callable(answer):
        return wrong("the answer is a function: `answer = resolve`, without brackets.")
    commit = (folder / "refs" / "main").read_text(encoding="utf-8")
    try:
        found, absent = answer("config.json"), answer(SINGLE_FILE)
    except Exception as error:  # the reader's own code: whatever it raises is told
        return wrong(f"your function raised {type(error).__name__}: {error}")
    if found is None or Path(found).resolve() != (folder / "snapshots" / commit / "config.json").resolve():
        return wrong(f"config.json should lead into snapshots/{commit[:6]}…, and you gave {found}.")
    if absent is not None:
        return wrong(f"{SINGLE_FILE} is marked under .no_exist: the cache knows that it is not there; return None.")
    try:
        unknown = answer("never_asked_for.json")
    except FileNotFoundError:
        return right("the commit from refs/main, the file from snapshots, and .no_exist before giving up.")
    return wrong(f"of never_asked_for.json the cache knows nothing, so the Hub would be asked; you gave {unknown}.")
