"""A workspace of another format is refused in one sentence and left unchanged."""

import sqlite3
from contextlib import closing

import pytest

from tabtune_core.errors import StoreError
from tabtune_core.store.database import FORMAT
from tabtune_core.store.runs import RunStore


@pytest.mark.parametrize("other", [0, FORMAT + 1, 8])
def test_a_workspace_of_another_format_is_refused_and_unchanged(tmp_path, other):
    RunStore(tmp_path).settle()
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as database, database:
        database.execute(f"PRAGMA user_version = {other}")
    before = (tmp_path / "runs.sqlite").read_bytes()
    with pytest.raises(StoreError, match=f"another version of LoRA Lab \\(format {other}, not {FORMAT}\\)"):
        RunStore(tmp_path)
    assert (tmp_path / "runs.sqlite").read_bytes() == before


def test_a_first_opening_that_was_killed_is_completed_by_the_next(tmp_path):
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as database, database:
        database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("CREATE TABLE sweeps (id TEXT PRIMARY KEY, name TEXT NOT NULL, created REAL NOT NULL)")
    assert RunStore(tmp_path).runs() == []
