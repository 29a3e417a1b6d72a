"""What a recording did not see of the generations in it, in sentences: a recording that is blind must say so.

Compiled code runs without Python calls, and generate() compiles by itself where a static cache and a GPU meet: the same
notebook is seen whole on a CPU and blind on a GPU.
"""

from __future__ import annotations

import numpy as np

from ..events import MODULE, NOT_OBSERVED, OPEN, RETURNED
from ..queries.folding import ranges
from .recording import Recording

_REMEDY = (
    'compiled code is not observed. Record it uncompiled: `with torch.compiler.set_stance("force_eager"):`, or '
    "generate(…, disable_compile=True) where generate() compiles by itself (a static cache on a GPU)."
)
_MOST_NAMED = 3
WRAPPED = "_orig_mod"  # the model in what torch.compile(model) gives
OUTERMOST = ""  # the path of the model itself: a step that was left after its first module has another


def gaps(
    recording: Recording,
    new_tokens: dict[int, int],
    compiled: list[str],
    forwards_inside: dict[str, dict[int, int]],
) -> list[str]:
    """One sentence per gap. `new_tokens`: of each generation that returned, by its number, the tokens that it gave
    each sequence; `compiled`: paths of compiled modules; `forwards_inside`: the same without module events, by path the
    watched functions that are forwards inside it, and how many modules of the model have each."""
    found = _tokens_without_a_step(recording, new_tokens)
    with_modules = "modules" in recording.environment["zoom"]
    blind = _steps_without_modules(recording) if with_modules else _steps_without_forward(recording)
    found += blind
    if blind:
        return found
    silent = [path for path in compiled if _is_silent(recording, path)]
    silent += [path for path, forwards in forwards_inside.items() if _are_missing(recording, forwards)]
    if silent:
        found += without_calls([repr(path) if path else "the model" for path in silent])
    return found


def without_calls(functions: list[str]) -> list[str]:
    """What is not told of these functions, which torch.compile gave and which were called by themselves."""
    if not functions:
        return []
    return [f"The calls inside {_some(functions)} are missing: torch.compile stands before them, and {_REMEDY}"]


def without_lines(functions: list[str]) -> list[str]:
    """What is not told of these functions, whose lines were asked for."""
    if not functions:
        return []
    return [
        f"No line was recorded of {_some([repr(name) for name in functions])}, named in lines=: no call of it began "
        "inside the recording, or only in decode steps of which a summary row is kept, or it is no Python function in "
        "the installed version."
    ]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def without_steps(batches: int) -> list[str]:
    """What is not told of continuous batching, which ran this many batches."""
    if not batches:
        return []
    return [
        f'Continuous batching (generate_batch, cache_implementation="paged") ran {batches} '
        f"{'batch' if batches == 1 else 'batches'}. These are no generation steps: their calls and modules are all "
        "recorded, without a step; tokens, KV cache and sampling of them were not observed."
    ]


def still_running(recording: Recording, own_thread: str) -> list[str]:
    """Which other threads were in the middle of recorded calls when the recording ended."""
    is_open = recording.events["status"] == OPEN
    threads = [recording.threads[thread] for thread in np.unique(recording.events["thread"][is_open])]
    names = [name for name in threads if name != own_thread]
    if not names:
        return []
    return [
        f"{_some(names)} still ran when the recording ended: the calls that were open there have the "
        "status open, and what came after is missing. Wait for the thread inside the `with record()` block."
    ]


def runs_later(function: str, kind: str) -> str:
    """What is missing where a decorated function gave back a coroutine or a generator."""
    return (
        f"@record() on {function}: it gave back a {kind}, which runs after the call, and nothing of what it does is in "
        "the recording. Write `with record() as recording:` in its body, or around what consumes it."
    )


def thread_gaps(names: list[str], is_empty: bool) -> list[str]:
    """What is missing of threads with these names, which ran before the recording began. `is_empty`: nothing of other
    threads was recorded."""
    if not names:
        return []
    worked = f"{', '.join(names)} worked meanwhile"
    return [
        f"{f'Nothing was recorded, and {worked}' if is_empty else f'{worked}, and nothing of that was recorded'}: "
        "before Python 3.12 a thread that is older than the recording is not seen. Start it inside the `with record()` "
        "block, or use Python 3.12 or later."
    ]


def other_processes(names: list[str]) -> list[str]:
    """What is missing where the program started other processes, of these names."""
    if not names:
        return []
    return [
        f"The program started {len(names)} other process{'es' if len(names) > 1 else ''} ({_some(names)}), and what "
        "ran there is missing: a recording is of one process. Record in the function that it runs; of a launcher what "
        "it starts, as in `torchrun … -m helpers record SCRIPT.py -o run.json.gz`."
    ]


def _is_silent(recording: Recording, path: str) -> bool:
    """Whether calls of this module were seen, but none of the modules inside it, of which it has some."""
    inside = [index for index, name in enumerate(recording.paths) if _is_inside(name, path)]
    own = [index for index, name in enumerate(recording.paths) if name == path]
    seen = recording.events["path"]
    return bool(inside) and np.isin(seen, own).any() and not np.isin(seen, inside).any()


def _are_missing(recording: Recording, forwards: dict[int, int]) -> bool:
    """Whether each of these forwards was called less often than once per step and module that has it."""
    rows, events = recording.step_rows, recording.events
    whole = (rows["kept"] == 1) & (rows["tokens"] > 0)
    in_a_step = events["step"] != NOT_OBSERVED
    return bool(forwards) and all(
        (in_a_step & (events["function"] == function)).sum() < whole.sum() * count
        for function, count in forwards.items()
    )


def _is_inside(name: str, path: str) -> bool:
    """Also of the wrapper that torch.compile(model) gives, in which the model itself is called by Python still."""
    within = f"{path}." if path else ""
    return name not in (path, f"{within}{WRAPPED}") and name.startswith(within)


def _tokens_without_a_step(recording: Recording, new_tokens: dict[int, int]) -> list[str]:
    """Beam search may give back a beam that ended before the last step; fewer tokens than observed are right."""
    rows = recording.step_rows
    sentences = []
    for generation, count in sorted(new_tokens.items()):
        own = rows["generation"] == generation
        observed = int(np.maximum(rows["tokens"][own], 0).sum())
        if count > observed:
            sentences.append(
                f"generate() number {generation} gave {count} new tokens, but {int(own.sum())} generation steps with "
                f"{observed} tokens were observed: its decoding loop is not the one that the landmark table knows "
                "(a custom_generate, a compiled loop, another version), and what is told by step is incomplete."
            )
    return sentences


def _steps_without_modules(recording: Recording) -> list[str]:
    """Steps kept in full in which no module inside the model was called, though it has some."""
    if len(recording.paths) < 2:
        return []
    rows, events = recording.step_rows, recording.events
    is_whole_call = (events["kind"] == MODULE) & (events["status"] == RETURNED)  # not one that an exception left
    silent: dict[int, list[int]] = {}
    for generation, step in zip(rows["generation"][rows["kept"] == 1], rows["step"][rows["kept"] == 1], strict=True):
        own = is_whole_call & (events["generation"] == generation) & (events["step"] == step)
        if [recording.paths[path] for path in np.unique(events["path"][own])] == [OUTERMOST]:
            silent.setdefault(int(generation), []).append(int(step))
    return [
        f"In step {ranges(steps)} of generation {generation} no module inside the model was seen to be called: its "
        f"forward pass is compiled (torch.compile, or generate() itself), and {_REMEDY}"
        for generation, steps in silent.items()
    ]


def _steps_without_forward(recording: Recording) -> list[str]:
    """Steps kept in full that gave a token without a call of a forward, or with the model's own alone (compiled in
    pieces, its outermost call may be Python's). Where module calls are not recorded, those of the landmarks are seen as
    calls, and the embedding and the projections of torch are among them in any model."""
    rows, events = recording.step_rows, recording.events
    forwards = [index for index, one in enumerate(recording.functions) if one.qualname.endswith(".forward")]
    is_forward = np.isin(events["function"], forwards)
    silent: dict[int, list[int]] = {}
    for row in np.flatnonzero((rows["kept"] == 1) & (rows["tokens"] > 0)):
        generation, step = int(rows["generation"][row]), int(rows["step"][row])
        if (is_forward & (events["generation"] == generation) & (events["step"] == step)).sum() < 2:
            silent.setdefault(generation, []).append(step)
    return [
        f"In step {ranges(steps)} of generation {generation} nothing inside the forward pass was seen: it is compiled "
        f"(torch.compile, or generate() itself), and {_REMEDY} If nothing is compiled, the model has none of the "
        "modules that the landmark table knows: record it with modules."
        for generation, steps in silent.items()
    ]
