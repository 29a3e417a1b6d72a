"""The page's own chain of processors beside the library's, for tests: what differs, and what may.

Never may the probabilities, nor which of the 1,024 likeliest tokens are kept in the end. What else may differ is
derived, not a share of cases: see `beyond_float32`.
"""

import base64
import json
import subprocess
from dataclasses import replace

import numpy as np

from helpers import sampling
from helpers.distribution import KEPT, NextTokenLogits, SamplingError
from helpers.sampling_answers import compact_logits
from helpers.sampling_answers.installed import installed_sampling
from helpers.sampling_answers.result import refused, result, settings_from_text
from helpers.views import explorers
from tests.explorer_tools import JAVASCRIPT, node


def answers_of_the_page(folder, library, rows, settings) -> list[dict]:
    """What the page computes for each row and each of the settings, in Node."""
    (folder / "explorer.mjs").write_text(explorers.explorer_script("sampling_explorer"), encoding="utf-8")
    (folder / "answers.mjs").write_bytes((JAVASCRIPT / "sampling_chain_answers.mjs").read_bytes())
    cases = {"library": library, "rows": [compact_logits.compact(row) for row in rows], "settings": settings}
    (folder / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    command = [node(), "answers.mjs", "cases.json", "answers.jsonl"]
    subprocess.run(command, cwd=folder, check=True, timeout=600)
    lines = (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(rows) * len(settings)
    return [json.loads(line) for line in lines]


def answer_of_the_library(row, asked, model, own=()) -> dict:
    try:
        distribution = sampling.distribution(row, settings_from_text(asked), model, own)
    except SamplingError as refusal:
        return refused(str(refusal))
    return result(distribution, compact_logits.exact_ids(row))


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def differences(page: dict, library: dict, exact: int) -> list[str]:
    """What the page has that the library has not; [] where they agree as closely as is promised."""
    if page["refusal"] or library["refusal"]:
        return [] if page["refusal"] == library["refusal"] else [f"{page['refusal']!r} != {library['refusal']!r}"]
    found = final_differences(page, library)
    here, there = (numbers(answer["removed_by"], "<i4") for answer in (page, library))
    if (here != there).any():
        found.append(f"{(here != there).sum()} of the exact tokens were removed by another stage")
    if [stage["label"] for stage in page["stages"]] != [stage["label"] for stage in library["stages"]]:
        return [*found, "the chain is another"]
    for mine, theirs in zip(page["stages"], library["stages"], strict=True):
        found += stage_differences(mine, theirs)
    for key in ("do_sample", "effective", "greedy_id", "greedy_text"):
        if page[key] != library[key]:
            found.append(f"{key}: {page[key]} != {library[key]}")
    for key in ("raw", "probability"):
        if abs(page["others"][key] - library["others"][key]) > 1e-5 * exact:  # a sum of many
            found.append(f"others {key}: {page['others'][key]} != {library['others'][key]}")
    return found + penalty_differences(page["penalised"], library["penalised"])


def stage_differences(mine: dict, theirs: dict) -> list[str]:
    found = []
    if mine["kept"] != theirs["kept"]:
        found.append(f"{theirs['label']} keeps {mine['kept']} instead of {theirs['kept']}")
    for key, most in (("entropy", 1e-3), ("top_probability", 1e-5), ("share", 1e-3)):
        if abs(mine[key] - theirs[key]) > most:
            found.append(f"{theirs['label']} {key}: {mine[key]} != {theirs[key]}")
    for key in ("top_id", "top_text"):
        if mine[key] != theirs[key]:
            found.append(f"{theirs['label']} {key}: {mine[key]} != {theirs[key]}")
    return found


def penalty_differences(mine: dict | None, theirs: dict | None) -> list[str]:
    if mine is None or theirs is None:
        return [] if mine is theirs else [f"penalised: {mine} != {theirs}"]
    close = mine["ids"] == theirs["ids"] and np.allclose(
        np.array(mine["scores"], dtype=float), np.array(theirs["scores"], dtype=float), rtol=1e-6, equal_nan=True
    )
    return [] if close else ["the scores of the prompt's own tokens differ"]


def final_differences(page: dict, library: dict) -> list[str]:
    """What no precision excuses: probabilities, and which of the likeliest tokens can still be chosen."""
    found = []
    distance = abs(numbers(page["probabilities"], "<f4") - numbers(library["probabilities"], "<f4")).max()
    if distance > 1e-5:
        found.append(f"probabilities differ by {distance:.2e}")
    here, there = (numbers(answer["removed_by"], "<i4")[: compact_logits.EXACT] for answer in (page, library))
    if ((here == KEPT) != (there == KEPT)).any():
        found.append(f"other tokens are kept: places {np.flatnonzero((here == KEPT) != (there == KEPT))}")
    return found


def row_of_the_page(row: NextTokenLogits) -> NextTokenLogits:
    """The row as the page sees it, in double precision: the exact logits, then the tail."""
    data = compact_logits.compact(row)
    places = {token_id: place for place, token_id in enumerate(numbers(data["ids"], "<i4").tolist())}
    logits = np.concatenate([numbers(data["logits"], "<f4"), tail_of(data["tail"])])
    return NextTokenLogits(tuple(places[i] for i in row.input_ids), logits, ("",) * len(logits))


def tail_of(tail: dict) -> np.ndarray:
    """The falling logits (float64) that `logit_gaps` has told; different ones of a step evenly over it."""
    levels, order, level, within = [], [], 0, 0
    for told in numbers_of_code("".join(f"{byte:08b}" for byte in base64.b64decode(tail["bits"])), tail["count"]):
        level, within = (level + told - 1, 0) if told > 1 else (level, within + told)
        levels.append(level)
        order.append(within)
    levels, order = np.array(levels, dtype=float), np.array(order)
    _, inverse = np.unique(levels, return_inverse=True)
    most = np.zeros(inverse.max(initial=-1) + 1, dtype=int)
    np.maximum.at(most, inverse, order)
    most = most[inverse]
    return tail["highest"] - (levels + (order - most / 2) / (most + 1)) * tail["step"]


def numbers_of_code(bits: str, count: int) -> list[int]:
    """The first `count` numbers of exponential Golomb codes of order 2."""
    found, place = [], 0
    for _ in range(count):
        first = bits.index("1", place)
        end = first + (first - place) + 3
        found.append(int(bits[first:end], 2) - 4)
        place = end
    return found


def differences_on_the_same_row(page: dict, row: NextTokenLogits, asked, model, exact: int) -> list[str]:
    """What the page has that the library's processors have not, given the page's own row in double precision."""
    distribution = sampling.distribution(row, settings_from_text(asked), model)
    found = []
    for mine, theirs in zip(page["stages"], (distribution.start, *distribution.stages), strict=True):
        if mine["kept"] != theirs.kept or abs(mine["entropy"] - theirs.entropy) > 1e-9:
            found.append(f"{theirs.label()} keeps {mine['kept']} instead of {theirs.kept}, in double precision too")
    if (numbers(page["removed_by"], "<i4") != distribution.removed_by[:exact]).any():
        found.append("other tokens are removed, in double precision too")
    return found


def beyond_float32(page: dict, row: NextTokenLogits, asked, model) -> list[str]:
    """Where a stage of the page keeps another number of tokens than the library's processors do in double precision,
    on the row itself. One token is allowed: of the tail the page knows each logit to half a step.
    """
    double = replace(row, logits=row.logits.astype(np.float64))
    distribution = sampling.distribution(double, settings_from_text(asked), model)
    return [
        f"{theirs.label()} keeps {mine['kept']} instead of {theirs.kept}, in double precision"
        for mine, theirs in zip(page["stages"], (distribution.start, *distribution.stages), strict=True)
        if abs(mine["kept"] - theirs.kept) > 1
    ]


def held_together(folder, model, rows, settings) -> tuple[list[str], list[str]]:
    """What is wrong, and what float32 or a step of the tail alone moves: there the page does on its own row exactly
    what the library's processors do on it in double precision.
    """
    page = iter(answers_of_the_page(folder, installed_sampling(model), rows, settings))
    wrong, moved = [], []
    for row in rows:
        own, exact = row_of_the_page(row), len(compact_logits.exact_ids(row))
        for asked in settings:
            mine, theirs = next(page), answer_of_the_library(row, asked, model)
            found = differences(mine, theirs, exact)
            if not found:
                continue
            case = f"{len(row.input_ids)} tokens, {asked}: {'; '.join(found)}"
            if mine["refusal"] or theirs["refusal"]:
                wrong.append(case)
                continue
            mistakes = final_differences(mine, theirs)
            mistakes += differences_on_the_same_row(mine, own, asked, model, exact)
            mistakes += beyond_float32(mine, row, asked, model)
            (wrong if mistakes else moved).append(f"{case}; {'; '.join(mistakes)}")
    return wrong, moved
