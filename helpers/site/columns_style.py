"""What CSS can only say of the columns of a table for each place apart."""

from __future__ import annotations

MOST_COLUMNS = 24
"""Of a table, that are looked at."""


def columns_style(within: str) -> str:
    """Rules for the tables within `within` (a selector): a column without any content is not printed. Tables of
    explorers have their own style."""
    table = f"{within} table:not(.explorer *, :has([colspan], [rowspan]))"
    rules = []
    for place in range(1, MOST_COLUMNS + 1):
        cell = f":nth-child({place})"
        empty = f"{table}:has(> tbody > tr):not(:has(> tbody > tr > {cell}:not(:empty)))"
        rules.append(f"@media print {{ {empty} > * > tr > {cell} {{ display: none; }} }}")
    return "\n".join(rules)
