"""Checks of the exercises of 04_loading_weights."""

from __future__ import annotations

from helpers.exercises import Verdict, right, wrong
from helpers.exercises.answers import dictionary, judges, text, whole_number
from helpers.recording.recording import Recording


@judges
def check_shard_of(answer: object, recording: Recording, parameter: str) -> Verdict:
    """`answer`: the file from which a parameter of the model was filled, by the ledger; of a tie that of its origin."""
    answer = text(answer, "The answer is a text: the name of a file")
    ledger = recording.parameters().set_index("parameter")
    row = ledger.loc[parameter]
    tied = row["status"] == "tied"
    expected = ledger.loc[row["tied_to"], "file"] if tied else row["file"]
    if answer == expected:
        return right(f"it is tied to {row['tied_to']}, and that was read." if tied else "the ledger names its file.")
    if answer in set(ledger["file"].dropna()):
        return wrong("this is a file of the checkpoint, and another one: filter the ledger by the column `parameter`.")
    return wrong("the answer is the name of a file: the column `file` of recording.parameters().")


@judges
def check_cast_bytes(answer: object, recording: Recording) -> Verdict:
    """`answer`: bytes of memory that a load wrote for tensors whose dtype it changed."""
    answer = whole_number(answer)
    ledger = recording.parameters()
    cast = ledger[ledger["cast"].fillna(False).astype(bool)]
    expected = int(cast["nbytes"].sum())
    if answer == expected:
        return right("each of them was computed: these bytes are anonymous memory, written during the load.")
    if answer == int((cast["end"] - cast["begin"]).sum()):
        return wrong("these are the bytes on the disk; in memory each element is wider.")
    if answer == int(ledger["nbytes"].sum()):
        return wrong("a tied parameter has no memory of its own: count those that were cast only.")
    return wrong("take the rows with `cast`, and add up `nbytes`, the bytes in memory.")


@judges
def check_statuses(answer: object, recording: Recording) -> Verdict:
    """`answer`: status of the ledger to number of tensors, for a load of a damaged checkpoint."""
    asked = "The answer is a dictionary: {'missing': …, 'unexpected': …}, with a number for each status"
    counts = {text(status, asked): whole_number(count, asked) for status, count in dictionary(answer, asked).items()}
    given = {status: count for status, count in counts.items() if count}
    expected = recording.parameters()["status"].value_counts().to_dict()
    if given == expected:
        return right("renaming one tensor makes two rows: what the model misses, and what it does not know.")
    if set(expected) - set(given) == {"missing"}:
        return wrong("the model still wants a tensor of the old name, and does not get it.")
    if set(expected) - set(given) == {"unexpected"}:
        return wrong("the file holds a name that the model does not know.")
    absent = ", ".join(sorted(set(expected) ^ set(given)))
    return wrong(f"look at these: {absent}." if absent else "the statuses are right, the numbers are not: count again.")
