"""Tables: complete in HTML, as data and printed; stable in the text that a notebook keeps."""

import re

import pandas as pd
import pytest
from IPython.lib.pretty import pretty

from helpers import tables
from helpers.tables import Table, format_bytes


@pytest.fixture
def _notebook(monkeypatch):
    monkeypatch.setattr(tables, "_is_notebook", lambda: True)


def table() -> Table:
    return Table.of(
        {"name": ["<b>a</b>", "b"], "milliseconds": [1.5, 2.25], "memory": [2048, 3 * 2**20]},
        volatile=("milliseconds",),
    )


@pytest.mark.usefixtures("_notebook")
def test_the_text_of_a_notebook_leaves_volatile_columns_out():
    assert "milliseconds" not in pretty(table())
    assert "2048" in pretty(table())


def test_printed_and_in_a_terminal_it_is_whole_with_units():
    assert str(table()) == repr(table()) == pretty(table())
    head, first, second = str(table()).splitlines()
    assert head.split() == ["name", "milliseconds", "memory"]
    assert first.split() == ["<b>a</b>", "1.50", "2.0", "KiB"]
    assert second.split() == ["b", "2.25", "3.0", "MiB"]


def test_what_is_missing_is_empty_in_print_too():
    memory = pd.array([2048, None], dtype="Int64")
    assert str(Table.of({"memory": memory, "milliseconds": [None, 1.0]})).split() == [
        "memory", "milliseconds", "2.0", "KiB", "1.00",
    ]  # fmt: skip


def test_what_a_terminal_would_obey_is_spelled_in_print():
    names = ["red\x1b[31m", "title\x1b]0;gone\x07", "\u202egpj.exe", "two\r\nlines"]
    text = str(Table.of({"name": names}))
    for spelled in ("red\\u001b[31m", "title\\u001b]0;gone\\u0007", "\\u202egpj.exe", "two\\r\\nlines"):
        assert spelled in text
    assert all(character == "\n" or character.isprintable() for character in text)
    assert pretty(Table.of({"name": names})) == text


def test_rows_that_have_names_are_printed_with_them():
    assert str(table().set_index("name").T).splitlines()[1].split() == ["milliseconds", "1.5", "2.25"]
    assert "mean" in str(table().describe())
    html = table().set_index("name")._repr_html_()
    assert '<th scope="col" style="text-align:left">name</th>' in html
    assert "&lt;b&gt;a&lt;/b&gt;" in html
    assert ">mean<" in table().describe()._repr_html_()


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


@pytest.mark.usefixtures("_notebook")
def test_a_part_of_a_table_keeps_what_is_volatile():
    part = table()[table()["name"] == "b"]
    assert isinstance(part, Table)
    assert "milliseconds" not in pretty(part)


@pytest.mark.usefixtures("_notebook")
def test_an_empty_table_says_what_it_would_hold():
    assert pretty(table().head(0)) == "<table of 0 rows: name, memory>"
    assert repr(table().head(0)) == "<table of 0 rows: name, milliseconds, memory>"


def test_bytes_are_told_in_binary_units():
    assert [format_bytes(count) for count in (None, 0, 1023, 1024, -(2**21), 5 * 2**30)] == [
        "", "0 B", "1,023 B".replace(",", ""), "1.0 KiB", "-2.0 MiB", "5.0 GiB",
    ]  # fmt: skip


@pytest.mark.usefixtures("_notebook")
def test_a_table_of_volatile_columns_tells_not_even_its_length():
    assert pretty(Table.of({"thread": ["a", "b"]}, volatile=("thread",))) == "<table: thread>"


def test_names_that_may_be_long_can_be_broken_and_are_still_escaped():
    html = Table.of({"here": ["Class.<b>_name"]})._repr_html_()
    assert "Class.<wbr>&lt;b&gt;_<wbr>name" in html


def test_large_and_small_values_are_told_in_a_few_digits():
    told = Table.of({"min": [-1e308, 0.5], "max": pd.array([3.39276e37, pd.NA], dtype="Float64"), "mean": [1e-9, 2.0]})
    assert [line.split() for line in repr(told).splitlines()[1:]] == [
        ["-1e+308", "3.39276e+37", "1e-09"],
        ["0.5", "2.0"],
    ]
    assert "3.39276e+37" in told._repr_html_()


def test_a_permalink_is_a_link():
    html = Table.of({"permalink": ["https://example.org/a?b=1&c", ""]})._repr_html_()
    assert '<a href="https://example.org/a?b=1&amp;c"' in html
    assert html.count("<a ") == 1


def test_a_head_stands_over_numbers_as_they_stand():
    html = Table.of({"name": ["a", None], "count": [None, 2], "yes": [True, False], "none": [None, None]})._repr_html_()
    sides = re.findall(r'<th scope="col" style="text-align:(\w+)">(\w+)', html)
    assert sides == [("left", "name"), ("right", "count"), ("left", "yes"), ("left", "none")]
