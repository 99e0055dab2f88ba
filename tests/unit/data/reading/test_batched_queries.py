"""Queries about many columns at once: each column gets its own answers, whatever the others ask."""

import duckdb
import pytest

from tabtune_core.data.reading import sql
from tabtune_core.data.reading.batched_queries import Ask, answered, groups, hold_batch, quoted


@pytest.fixture
def connection(tmp_path):
    with sql.connect(tmp_path) as opened:
        opened.execute(
            "CREATE TABLE cells AS SELECT * FROM (VALUES ('1', 'a', NULL), ('2', 'b', 'x'), ('2', 'b', 'x')) AS "
            "t(c0, c1, c2)"
        )
        hold_batch(opened, 0, 3)
        yield opened


def different():
    (filled,) = yield Ask(("count(cell)",))
    if filled < 3:
        return filled, None
    unique, most = yield Ask(("count(DISTINCT cell)", "max(cell)"))
    return filled, (unique, most)


def test_each_column_gets_its_own_answers(connection):
    assert answered(connection, [different(), different(), different()], [[], [], []]) == [
        (3, (2, "2")),
        (3, (2, "b")),
        (2, None),
    ]


def test_a_batch_holds_some_columns_in_the_order_of_the_remaining_rows(connection):
    connection.execute("DELETE FROM cells WHERE c0 = '1'")
    hold_batch(connection, 1, 3)
    found = connection.execute("FROM batch ORDER BY place, number").fetchall()
    assert found == [(0, 0, "b"), (0, 1, "b"), (1, 0, "x"), (1, 1, "x")]


def test_columns_of_a_long_table_are_queried_one_by_one():
    assert groups(3, 10_000_000) == [(0, 1), (1, 2), (2, 3)]
    assert groups(4_500, 1_000) == [(0, 2_000), (2_000, 4_000), (4_000, 4_500)]
    assert groups(0, 0) == []


def test_a_text_is_quoted_as_one_sql_literal():
    assert duckdb.sql(f"SELECT {quoted(chr(39) + 'a[' + chr(92) + 'd]' + chr(39))}").fetchall() == [("'a[\\d]'",)]
