"""Work on many columns in step: each gets its own answers, whatever the others ask."""

import duckdb
import pytest

from tabtune_core.data.reading import batched_queries, sql
from tabtune_core.data.reading.batched_queries import answered, everywhere, groups, holding, quoted


@pytest.fixture
def connection(tmp_path):
    with sql.connect(tmp_path) as opened:
        opened.execute("CREATE TABLE cells AS SELECT * FROM (VALUES ('1', 'a', NULL), ('2', 'b', 'x'), ('2', 'b', 'x')) AS t(c0, c1, c2)")
        yield opened


def different(cell):
    (filled,) = yield (f"count({cell})",)
    if filled < 3:
        return cell, filled, None
    unique, most = yield f"count(DISTINCT {cell})", f"max({cell})"
    return cell, filled, (unique, most)


@pytest.mark.parametrize("size", [1, 2, 40])
def test_each_column_gets_its_own_answers_however_many_are_asked_together(connection, monkeypatch, size):
    monkeypatch.setattr(batched_queries, "COLUMNS_AT_ONCE", size)
    found = answered(connection, [different("c0"), different("c2"), different("c1")], rows=3, columns=3)
    assert found == [("c0", 3, (2, "2")), ("c2", 2, None), ("c1", 3, (2, "b"))]


def test_one_query_serves_all_that_wait(connection, monkeypatch):
    asked = []
    monkeypatch.setattr(batched_queries, "counts", lambda connection, *terms: asked.append(terms) or sql.counts(connection, *terms))
    answered(connection, [different("c0"), different("c1")], rows=3, columns=2)
    assert asked == [("count(c0)", "count(c1)"), ("count(DISTINCT c0)", "max(c0)", "count(DISTINCT c1)", "max(c1)")]


def test_columns_of_a_long_table_are_asked_about_one_by_one():
    assert groups(3, 10_000_000) == [(0, 1), (1, 2), (2, 3)]
    assert groups(45, 100) == [(0, 20), (20, 40), (40, 45)]
    assert groups(0, 0) == []


def test_a_condition_is_tried_on_a_sample_and_then_everywhere(connection):
    conditions = ["{cell} < 'b'", "{cell} < 'c'", "TRY_CAST({cell} AS INTEGER) > 0"]
    assert holding(connection, conditions, ["a", "b"]) == [1]
    assert holding(connection, conditions, []) == []
    assert sql.counts(connection, *(everywhere(condition, "c1") for condition in conditions)) == (False, True, None)
    assert sql.counts(connection, everywhere("{cell} = 'x'", "c2")) == (True,), "a missing cell has no say"


def test_a_text_of_ours_is_a_constant():
    assert duckdb.sql(f"SELECT {quoted(chr(39) + 'a[' + chr(92) + 'd]' + chr(39))}").fetchall() == [("'a[\\d]'",)]
