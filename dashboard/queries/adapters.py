"""Adapters of runs, uploaded adapters, and rows to try them on."""

from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.queries.workspace import home, of_workspace, store, store_of
from tabtune_core.data.findings import ReadAs
from tabtune_core.data.prediction_rows import LIMIT_ROWS, NewRows, read_new_rows
from tabtune_core.lora.package_facts import PackageFacts
from tabtune_core.lora.package_reader import read_facts
from tabtune_core.store import uploaded_adapters
from tabtune_core.store.run_folder import ADAPTER_FILE, PREDICTIONS_FILE
from tabtune_core.store.uploaded_adapters import StoredAdapter


def _changed(path: Path) -> int:
    """Returns the modification time of a file in nanoseconds; 0 if it does not exist."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@of_workspace(entries=64, stamp=lambda run_id: _changed(store().run_dir(run_id) / ADAPTER_FILE))
def facts(folder: str, run_id: str) -> PackageFacts:
    """Returns the facts in the adapter package of a run, or raises AdapterError."""
    return read_facts(store_of(folder).run_dir(run_id) / ADAPTER_FILE)


@of_workspace(
    entries=4,
    stamp=lambda: sorted((str(about), _changed(about)) for about in (home() / "adapters").glob("*/about.json")),
)
def uploads(folder: str) -> dict[str, StoredAdapter]:
    """Returns the uploaded adapters by id, newest first."""
    return {adapter.id: adapter for adapter in uploaded_adapters.list_adapters(Path(folder))}


def keep_upload(data: bytes, name: str) -> StoredAdapter:
    """Checks a package and stores it; raises AdapterError if it is not an adapter."""
    return uploaded_adapters.add_adapter(store().home, data, name)


def delete_upload(identity: str) -> None:
    """Deletes an uploaded adapter; raises StoreError if a job uses it, AdapterError if there is none."""
    uploaded_adapters.delete_adapter(store(), identity)


@of_workspace(entries=64, stamp=lambda run_id: _changed(store().run_dir(run_id) / PREDICTIONS_FILE))
def test_rows(folder: str, run_id: str) -> list[int]:
    """Returns the numbers of a run's test rows; empty if they were not kept or cannot be read."""
    try:
        saved = pd.read_parquet(store_of(folder).run_dir(run_id) / PREDICTIONS_FILE, columns=["split", "row"])
    except (OSError, ValueError):  # missing or damaged
        return []
    return [int(row) for row in saved.loc[saved["split"] == "test", "row"]]


@st.cache_data(max_entries=2, show_spinner="Reading the rows")
def new_rows(data: bytes, like: ReadAs) -> NewRows:
    """Reads a file of rows to predict like the adapter's table; raises TableError if that is not possible."""
    return read_new_rows(data, like, limit_rows=LIMIT_ROWS)
