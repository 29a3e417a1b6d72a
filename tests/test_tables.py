"""Tables: complete in HTML and as data, stable as text."""

import pandas as pd

from helpers.tables import Table, format_bytes


def table() -> Table:
    return Table.of(
        {"name": ["<b>a</b>", "b"], "milliseconds": [1.5, 2.25], "memory": [2048, 3 * 2**20]},
        volatile=("milliseconds",),
    )


def test_text_leaves_volatile_columns_out():
    assert "milliseconds" not in repr(table())
    assert "2048" in repr(table())


def test_html_and_data_have_them():
    assert "milliseconds" in table()._repr_html_()
    assert table()["milliseconds"].sum() == 3.75
    assert isinstance(table(), pd.DataFrame)


def test_html_is_escaped_and_has_units():
    html = table()._repr_html_()
    assert "<b>a</b>" not in html
    assert "&lt;b&gt;a&lt;/b&gt;" in html
    assert "2.0 KiB" in html
    assert "3.0 MiB" in html


def test_a_part_of_a_table_keeps_what_is_volatile():
    part = table()[table()["name"] == "b"]
    assert isinstance(part, Table)
    assert "milliseconds" not in repr(part)


def test_an_empty_table_says_what_it_would_hold():
    assert repr(table().head(0)) == "<table of 0 rows: name, memory>"


def test_bytes_are_told_in_binary_units():
    assert [format_bytes(count) for count in (None, 0, 1023, 1024, -(2**21), 5 * 2**30)] == [
        "", "0 B", "1,023 B".replace(",", ""), "1.0 KiB", "-2.0 MiB", "5.0 GiB",
    ]  # fmt: skip


def test_a_table_of_volatile_columns_tells_not_even_its_length():
    assert repr(Table.of({"thread": ["a", "b"]}, volatile=("thread",))) == "<table: thread>"


def test_names_that_may_be_long_can_be_broken_and_are_still_escaped():
    html = Table.of({"here": ["Class.<b>_name"]})._repr_html_()
    assert "Class.<wbr>&lt;b&gt;_<wbr>name" in html


def test_a_permalink_is_a_link():
    html = Table.of({"permalink": ["https://example.org/a?b=1&c", ""]})._repr_html_()
    assert '<a href="https://example.org/a?b=1&amp;c"' in html
    assert html.count("<a ") == 1
