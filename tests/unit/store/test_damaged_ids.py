"""A manipulated id in the database never leads outside the workspace."""

import contextlib
import sqlite3

import pytest
import seeding

from tabtune_core.errors import StoreError
from tabtune_core.store.runs import RunStore

OUT = "../../outside"


@pytest.fixture
def store(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.txt").write_text("kept")
    return RunStore(tmp_path / "home")


def write(store, table, row_id):
    with contextlib.closing(sqlite3.connect(store.home / "runs.sqlite")) as database, database:
        database.execute(f"UPDATE {table} SET id = ?, status = 'failed' WHERE id = ?", (OUT, row_id))


def test_a_run_id_outside_the_workspace_is_unreadable_and_deletes_only_its_row(store):
    sweep = seeding.finished_sweep(store)
    run_id = store.runs(sweep)[0].id
    write(store, "runs", run_id)
    assert [found.id for found in store.unreadable(sweep)] == [OUT]
    with pytest.raises(StoreError, match="id is not a folder name"):
        store.run_dir(OUT)
    store.delete(OUT)
    assert store.unreadable(sweep) == []
    assert (store.home.parent / "outside" / "kept.txt").read_text() == "kept"


def test_a_job_id_outside_the_workspace_deletes_only_its_row(store):
    write(store, "jobs", store.add_job("predict", {}))
    with pytest.raises(StoreError, match="has no folder"):
        store.job_dir(OUT)
    store.delete_job(OUT)
    assert (store.home.parent / "outside" / "kept.txt").read_text() == "kept"
