"""The style of tables column by column, which CSS can only say for each place apart."""

from __future__ import annotations

MOST_COLUMNS = 24
"""Of a table, that are aligned under their heads."""


def columns_style(within: str) -> str:
    """Rules for the tables within `within` (a selector): a head stands over numbers as they stand, right, and a column
    without any content is not printed. Tables of explorers have their own style."""
    table = f"{within} table:not(.explorer *, :has([colspan], [rowspan]))"
    rules = []
    for place in range(1, MOST_COLUMNS + 1):
        cell = f":nth-child({place})"
        numbers = f'> tbody > tr > td{cell}[style*="text-align:right"]'
        rules.append(f"{table}:has({numbers}) > thead > tr > th{cell} {{ text-align: right !important; }}")
        empty = f"{table}:has(> tbody > tr):not(:has(> tbody > tr > {cell}:not(:empty)))"
        rules.append(f"@media print {{ {empty} > * > tr > {cell} {{ display: none; }} }}")
    return "\n".join(rules)
