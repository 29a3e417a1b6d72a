"""The page's own chain of processors beside the library's, for tests: what differs, and what may.

What may differ is derived, not a share of cases: see `beyond_one_bin`.
"""

import base64
import json
import subprocess
from dataclasses import replace

import numpy as np

from helpers import compact_logits, sampling
from helpers.distribution import NextTokenLogits, SamplingError
from helpers.sampling_library import library
from helpers.sampling_result import refused, result, settings_from_text
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
    found = []
    distance = abs(numbers(page["probabilities"], "<f4") - numbers(library["probabilities"], "<f4")).max()
    if distance > 1e-5:
        found.append(f"probabilities differ by {distance:.2e}")
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


def row_of_the_page(row: NextTokenLogits) -> NextTokenLogits:
    """The row as the page sees it, in double precision: the exact logits, then each bin spread out evenly."""
    data = compact_logits.compact(row)
    counts, means, spreads = (numbers(data[f"tail_{name}"], kind) for name, kind in (
        ("counts", "<i4"), ("means", "<f4"), ("spreads", "<f4")
    ))  # fmt: skip
    within = np.concatenate([np.empty(0), *map(np.arange, counts)])
    tail = np.repeat(means, counts) + np.repeat(spreads.astype(float), counts) * (
        1 - (2 * within + 1) / np.repeat(counts, counts)
    )
    places = {token_id: place for place, token_id in enumerate(numbers(data["ids"], "<i4").tolist())}
    logits = np.concatenate([numbers(data["logits"], "<f4"), tail])
    return NextTokenLogits(tuple(places[i] for i in row.input_ids), logits, ("",) * len(logits))


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


def beyond_one_bin(row: NextTokenLogits, own: NextTokenLogits, asked, model) -> list[str]:
    """Where the chain on the page's row `own` differs from the library's by more than what is allowed: at each cutoff
    one bin of the tail, or one token where the cutoff lies among the exact ones; and exact tokens that the library
    itself keeps or removes as the page does when it computes in double precision. From such a token on the two go on
    with different rows, and no later stage is compared.
    """
    settings = settings_from_text(asked)
    single, page = (sampling.distribution(one, settings, model) for one in (row, own))
    ids, in_bins, counts = compact_logits.exact_ids(row), bins_of(row), tail_counts(row)
    spread_out = np.repeat(np.arange(len(counts)), counts)
    found, cutoffs, any_moved = [], 0, False
    before = single.start
    for theirs, mine in zip(single.stages, page.stages, strict=True):
        cutoffs += bool(len(theirs.removed_ids)) + (theirs.processor == "TypicalLogitsWarper")  # that cuts above, too
        kept, page_kept = (~np.isneginf(stage.scores) for stage in (theirs, mine))
        flipped = ids[kept[ids] != page_kept[: len(ids)]]
        if len(flipped):
            return found + flips_not_open(theirs, before, flipped, row, settings, model)
        library = np.bincount(in_bins[kept & (in_bins >= 0)], minlength=len(counts))
        moved = abs(library - np.bincount(spread_out[page_kept[len(ids) :]], minlength=len(counts)))
        any_moved |= bool(moved.any())
        if moved.sum() > cutoffs * counts[moved > 0].max(initial=0):
            found.append(f"{theirs.label()}: {moved.sum()} tokens in the bins {np.flatnonzero(moved)} of the tail")
        before = theirs
    distance = abs(page.final.probabilities[: len(ids)] - single.final.probabilities[ids]).max()
    if distance > 1e-5 and not any_moved:
        found.append(f"probabilities differ by {distance:.2e}, and nothing was kept or removed otherwise")
    return found


def flips_not_open(stage, before, flipped, row: NextTokenLogits, settings, model) -> list[str]:
    """What is wrong with exact tokens that one keeps and the other removes."""
    double = sampling.distribution(replace(row, logits=row.logits.astype(np.float64)), settings, model)
    same = next(one for one in double.stages if one.processor == stage.processor)
    if (np.isneginf(same.scores) != np.isneginf(stage.scores))[flipped].all():
        return []  # float32 alone decides
    ranked = np.argsort(-before.scores, kind="stable")
    kept = np.flatnonzero(~np.isneginf(stage.scores[ranked]))
    edges = set(ranked[np.clip([kept[0] - 1, kept[0], kept[-1], kept[-1] + 1], 0, len(ranked) - 1)].tolist())
    sides = 2 if stage.processor == "TypicalLogitsWarper" else 1
    far = [int(one) for one in flipped if int(one) not in edges]
    return [f"{stage.label()}: exact tokens {flipped}, not on the cutoff: {far}"] if far or len(flipped) > sides else []


def tail_counts(row: NextTokenLogits) -> np.ndarray:
    return numbers(compact_logits.compact(row)["tail_counts"], "<i4")


def bins_of(row: NextTokenLogits) -> np.ndarray:
    """For each token the bin of the tail that tells it; -1 for the exact ones, and for those ruled out."""
    counts = tail_counts(row)
    tail = np.ones(len(row.logits), dtype=bool)
    tail[compact_logits.exact_ids(row)] = False
    ranked = np.argsort(-row.logits, kind="stable")
    ranked = ranked[tail[ranked]][: counts.sum()]
    bins = np.full(len(row.logits), -1)
    bins[ranked] = np.repeat(np.arange(len(counts)), counts)
    return bins


def held_together(folder, model, rows, settings) -> tuple[list[str], list[str]]:
    """What is wrong, and what float32 or the bins of the tail alone move: there the page does on its own row exactly
    what the library's processors do on it in double precision, and at most one bin at a cutoff is kept or not.
    """
    page = iter(answers_of_the_page(folder, library(model), rows, settings))
    wrong, moved = [], []
    for row in rows:
        own, exact = row_of_the_page(row), len(compact_logits.exact_ids(row))
        for asked in settings:
            answer = next(page)
            found = differences(answer, answer_of_the_library(row, asked, model), exact)
            if not found:
                continue
            case = f"{len(row.input_ids)} tokens, {asked}: {'; '.join(found)}"
            if answer["refusal"]:
                wrong.append(case)
                continue
            mistakes = differences_on_the_same_row(answer, own, asked, model, exact)
            mistakes += beyond_one_bin(row, own, asked, model)
            (wrong if mistakes else moved).append(f"{case}; {'; '.join(mistakes)}")
    return wrong, moved
