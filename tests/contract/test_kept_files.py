"""Files of earlier versions still open with the same content.

``tests/kept`` holds them and the predictions made with them at the time.
"""

import json
import sqlite3
import zipfile
from contextlib import closing
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabtune_core import SweepSettings, TabularPipeline, load_adapter
from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.data.datasets import list_datasets, load_frame
from tabtune_core.data.task import labels_of, split_table
from tabtune_core.errors import StoreError
from tabtune_core.execution.jobs import context_curve
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.checkpoints import card_with, find_checkpoint
from tabtune_core.store import uploaded_adapters
from tabtune_core.store.database import FORMAT
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.runs import RunStore

KEPT = Path(__file__).parents[1] / "kept"
TABLE = pd.read_csv(KEPT / "kept.csv")
EXPECTED = json.loads((KEPT / "expected.json").read_text())


@pytest.fixture
def home(tmp_path):
    """A workspace of format 0 with a finished sweep."""
    with zipfile.ZipFile(KEPT / "workspace.zip") as file:
        file.extractall(tmp_path)
    return tmp_path


def format_of(home):
    with closing(sqlite3.connect(home / "runs.sqlite")) as database, database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def test_a_workspace_of_format_0_keeps_its_runs_table_and_predictions(home):
    assert format_of(home) == 0
    store = RunStore(home)
    board = leaderboard(store.runs(), "log_loss")
    assert dict(zip(board["name"], board["test_log_loss"].round(4), strict=True)) == {
        "LoRA r=1": 0.2590,
        "Zero-shot": 0.2587,
        "Full fine-tuning": 0.2587,
    }
    assert recommend(store, board, "log_loss").sentences
    assert {len(read_predictions(store, run.id, "test").rows_N) for run in store.runs()} == {18}
    (table,) = list_datasets(home)
    pd.testing.assert_frame_equal(load_frame(home, table.id), TABLE, check_dtype=False, check_categorical=False)
    assert format_of(home) == FORMAT


def test_earlier_runs_keep_their_rows_and_zero_shot_memory_is_that_of_prediction(home):
    store = RunStore(home)
    frame = load_frame(home, list_datasets(home)[0].id)
    for run in store.runs():
        split = split_table(frame, labels_of(frame, run.settings), run.settings)
        for part in ("validation", "test"):
            assert list(read_predictions(store, run.id, part).rows_N) == list(getattr(split, part))
    assert {run.settings.test_rows_move for run in store.runs()} == {True}
    memory = {
        run.name: (run.result.growth_memory_bytes is None, run.result.predict_growth_memory_bytes is None)
        for run in store.runs()
    }
    assert memory == {"LoRA r=1": (False, True), "Zero-shot": (True, False), "Full fine-tuning": (False, True)}
    assert leaderboard(store.runs(), "log_loss")["run_growth_memory_bytes"].notna().all()


@pytest.mark.parametrize("earlier", range(FORMAT))
def test_a_workspace_of_each_earlier_format_opens_and_is_upgraded(home, earlier):
    RunStore(home)
    with closing(sqlite3.connect(home / "runs.sqlite")) as database, database:
        database.execute(f"PRAGMA user_version = {earlier}")
    store = RunStore(home)
    assert len(store.runs()) == 3 and not store.unreadable()
    assert format_of(home) == FORMAT


def test_a_workspace_of_a_later_format_is_refused_and_left_unchanged(home):
    with closing(sqlite3.connect(home / "runs.sqlite")) as database, database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    before = (home / "runs.sqlite").read_bytes()
    with pytest.raises(
        StoreError, match=f"is of format {FORMAT + 1}; this version of LoRA Lab knows formats up to {FORMAT}"
    ):
        RunStore(home)
    assert (home / "runs.sqlite").read_bytes() == before


def test_an_earlier_adapter_package_predicts_as_before():
    model = load_adapter(KEPT / "adapter.zip", device="cpu")
    predicted = model.predict_table(TABLE.head(5), context=model.context(TABLE))
    assert list(predicted["predicted"]) == EXPECTED["adapter"]["predicted"]
    np.testing.assert_allclose(predicted["prob_large"], EXPECTED["adapter"]["prob_large"], atol=1e-6)


def test_an_earlier_pipeline_file_predicts_as_before():
    pipeline = TabularPipeline.load(KEPT / "pipeline.zip")
    np.testing.assert_allclose(
        pipeline.predict_proba(TABLE.drop(columns="kind").head(5)), EXPECTED["pipeline"], atol=1e-6
    )


def test_earlier_weights_are_found_by_name_and_by_the_adapters_made_with_them(home):
    X, y = TABLE.drop(columns="kind"), TABLE["kind"]
    pipelines = {
        name: TabularPipeline(name, "inference", {"device": "cpu"}).fit(X, y).predict_proba(X)
        for name in ("tabicl-mini", "tabicl-mini-1", "tabicl-mini-2", "tabicl-mini-3")
    }
    assert not any(
        np.allclose(pipelines[one], pipelines[other], atol=1e-3) for one, other in combinations(list(pipelines)[:3], 2)
    )
    np.testing.assert_array_equal(pipelines["tabicl-mini-2"], pipelines["tabicl-mini-3"])
    regressors = {find_checkpoint(get_card(name), "regression")[1].sha256 for name in pipelines}
    assert len(regressors) == 3
    assert all(
        find_checkpoint(card_with("tabicl-mini", "regression", one), "regression")[1].sha256 == one
        for one in regressors
    )
    for model, task in product(("mitra-mini", "tabdpt-mini"), ("classification", "regression")):
        names = [model, f"{model}-1"]
        new, old = (find_checkpoint(get_card(name), task)[1].sha256 for name in names)
        assert [card_with(model, task, one).name for one in (new, old)] == names
    added = uploaded_adapters.add_adapter(home, (KEPT / "adapter.zip").read_bytes(), "kept.zip")
    assert added.facts.settings.model == "tabicl-mini"
    assert uploaded_adapters.missing_base(added) is None
    store = RunStore(home)
    for run in store.runs():
        assert run.settings.model == "tabicl-mini-1"
        assert context_curve._open(store, run).config["icl_num_blocks"] == 4


def test_earlier_settings_in_toml_give_the_same_sweep():
    sweep = SweepSettings.from_toml((KEPT / "sweep.toml").read_text())
    assert (sweep.ranks, sweep.seeds, sweep.size) == ((2, 4), (0, 1), 12)
    assert (sweep.run.lora.rank, sweep.run.lora.dropout, sweep.run.train.context_rows) == (4, 0.05, 512)
