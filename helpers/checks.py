"""check(): a claim of the prose beside the cell that proves it."""


def check(holds: bool, claim: str) -> None:
    """Print the claim where it holds; raise AssertionError with the claim where it does not."""
    if not holds:
        raise AssertionError(f"This does not hold here: {claim}")
    print(f"✓ {claim}")
