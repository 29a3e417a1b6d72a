"""check(): a claim of the prose beside the cell that proves it."""

facts_checked: set[str] = set()
"""The facts of the landmark table whose check has held in this process; `course.in_your_version` reads it."""


def check(holds: bool, claim: str, fact: str | None = None) -> None:
    """Print the claim where it holds; raise AssertionError with the claim where it does not.

    `fact`: the id of a landmark that is a fact ("fact.shape"), which this claim shows; there is no call to record.
    Raises ValueError when the landmark table has no such fact.
    """
    if fact is not None:
        _require_fact(fact)
    if not holds:
        raise AssertionError(f"This does not hold here: {claim}")
    if fact is not None:
        facts_checked.add(fact)
    print(f"✓ {claim}")


def _require_fact(fact: str) -> None:
    from .landmarks import table

    known = [landmark.id for landmark in table() if landmark.kind == "fact"]
    if fact not in known:
        raise ValueError(f"check(fact={fact!r}): the landmark table has no such fact; it has {', '.join(known)}.")
