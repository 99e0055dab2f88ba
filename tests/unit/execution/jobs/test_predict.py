"""Predictions side by side: each model predicts the same as alone, and unusual rows are reported."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_run import made_run, mixed_csv

from tabtune_core.data.datasets import add_dataset, load_frame
from tabtune_core.data.findings import ReadAs, ReadingChoices
from tabtune_core.data.prediction_rows import CSV, PREDICTED, keep_rows, read_new_rows
from tabtune_core.data.task import labels_of
from tabtune_core.engine.adapted_model import load_adapter
from tabtune_core.errors import AdapterError, TableError
from tabtune_core.execution.jobs import predict as predict_job
from tabtune_core.execution.jobs.predict import predict
from tabtune_core.metrics import score_all
from tabtune_core.store.jobs import read_progress
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.runs import RunStore
from tabtune_core.store.uploaded_adapters import add_adapter


def rows_of(store, run, count=7):
    return load_frame(store.home, store.run(run).settings.dataset).iloc[-count:].reset_index(drop=True)


def ask(store, runs, rows, *, table=None, base=True, **more):
    folder = store.home / "job"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    adapters = [{"id": run, "title": f"adapter {place}"} for place, run in enumerate(runs)]
    table = table or store.run(runs[0]).settings.dataset
    what = {"rows": keep_rows(store.home, rows), "adapters": adapters, "table": table, "base": base, **more}
    told = predict(store.home, folder, device="cpu", **what)
    return json.loads(json.dumps(told)), pd.read_parquet(folder / PREDICTED), pd.read_csv(folder / CSV)


@pytest.mark.parametrize("other", [{"rank": 2}, {"rank": 4, "seed": 1}])
def test_the_adapter_of_another_run_in_place_of_its_own_is_refused(store, other):
    own, another = made_run(store), made_run(store, **other)
    files = [store.run_dir(run) / ADAPTER_FILE for run in (own, another)]
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(AdapterError, match=r"In place of the adapter of .* is that of another run: LoRA r=\d, seed \d"):
        ask(store, [own], rows_of(store, own))
    assert ask(store, [another], rows_of(store, another))[0]["rows"] == 7


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_each_column_equals_the_prediction_of_that_model_alone(store, task, monkeypatch):
    monkeypatch.setattr(
        predict_job, "get_card", lambda model: SimpleNamespace(title="mini")
    )  # as if one model had two weights files
    runs = [
        made_run(store, task=task, seed=0),
        made_run(store, task=task, seed=0, rank=2),
        made_run(store, task=task, model="tabdpt-mini"),
    ]
    rows = rows_of(store, runs[0])
    told, predicted, csv = ask(store, runs, rows)
    titles = [model["title"] for model in told["models"]]
    assert titles == ["Base mini", "Base mini (2)", "adapter 0", "adapter 1", "adapter 2"]
    assert {f"{title}: predicted" for title in titles} < {*csv}
    assert [model["kind"] for model in told["models"]] == ["base", "base", "adapter", "adapter", "adapter"]
    table = load_frame(store.home, store.run(runs[0]).settings.dataset)
    for place, run in enumerate(runs):
        adapted = load_adapter(store.run_dir(run) / "adapter.zip", device="cpu")
        alone = adapted.predict_table(rows, context=adapted.context(table))
        mine = predicted[[name for name in predicted if name.split("_")[0] == f"m{place + 2}"]]
        pd.testing.assert_frame_equal(mine.set_axis(alone.columns, axis=1), alone, atol=1e-6)
        assert csv[f"adapter {place}: predicted"].tolist() == pytest.approx(alone["predicted"].tolist())
    value = "m{}_1" if told["classes"] else "m{}"
    columns = [predicted[value.format(place)].to_numpy() for place in range(5)]
    assert min(np.abs(a - b).max() for i, a in enumerate(columns) for b in columns[:i]) > 1e-3, "a mix-up would pass"
    assert csv["size"].tolist() == pytest.approx(rows["size"].tolist(), nan_ok=True)
    assert not list((store.home / "inputs").iterdir())
    assert read_progress(store.home / "job")[1].endswith(f" of {6 * len(rows):,} predictions"), (
        "three adapters, and a base for each; two of them share theirs"
    )


def test_an_uploaded_adapter_predicts_the_same_with_its_table_and_reports_another_table(store, tmp_path):
    there = RunStore(tmp_path / "there")
    run = made_run(there)
    data = (there.run_dir(run) / "adapter.zip").read_bytes()
    adapter = add_adapter(store.home, data, "theirs.zip")
    rows = rows_of(there, run)
    expected = ask(there, [run], rows)[1]
    same = add_dataset(store.home, mixed_csv(), "same.csv").id
    told, predicted, _ = ask(store, [adapter.id], rows, table=same)
    pd.testing.assert_frame_equal(predicted, expected, atol=1e-6)
    assert all("used to train" in note for note in told["notes"])
    other = add_dataset(store.home, mixed_csv(rows=60, seed=9), "other.csv").id
    told, predicted, _ = ask(store, [adapter.id], rows, table=other)
    assert "is not the one that it was trained on, so 36 rows of this one are its context" in told["notes"][0]
    assert np.abs(predicted["m1_0"] - expected["m1_0"]).max() > 1e-4
    narrow = add_dataset(store.home, b"size,verdict\n" + b"1,keep it\n2,drop it\n" * 20, "narrow.csv").id
    with pytest.raises(AdapterError, match="The table lacks 'colour', 'weight', 'seen', from which adapter 0 predicts"):
        ask(store, [adapter.id], rows, table=narrow)


def test_adapters_of_different_tasks_are_not_compared(store):
    runs = [made_run(store), made_run(store, task="regression")]
    with pytest.raises(AdapterError, match="choose adapters that predict the same thing"):
        ask(store, runs, rows_of(store, runs[0]))


LIKE = ReadAs(
    ReadingChoices(encoding="utf-8", delimiter=",", header=True, day_first=True),
    {"age": "number", "zip": "category", "born": "date", "note": "text", "y": "boolean"},
    ["zip", "age", "born"],
    "y",
)


def test_rows_take_the_column_kinds_of_the_table():
    rows = read_new_rows(b"age,zip,born,more\n7,01234,03/04/2024,x\n,2,,y\n", LIKE)
    assert rows.frame["zip"].tolist() == ["01234", "2"]
    assert rows.frame["age"].tolist() == pytest.approx([7, np.nan], nan_ok=True)
    assert rows.frame["born"].iloc[0] == pd.Timestamp("2024-04-03")
    assert rows.notes == ("Not used, because the adapter was trained without it: 'more'.",)


def test_a_missing_column_is_named_with_the_nearest_one():
    with pytest.raises(
        TableError, match=r"lack 2 of the 3 columns .* 'zip' \(did you mean 'zipp'\?\), 'born'.* has: 'age'"
    ):
        read_new_rows(b"age,zipp\n1,2\n", LIKE)


def test_every_row_is_predicted_in_its_place_or_the_file_is_refused():
    for rows in (b"1,2,2024-04-03\n,,\n2,2,2024-04-03\n,,\n", b",,\n", b"NA,NA,NA\n"):
        read = read_new_rows(b"age,zip,born\n" + rows, LIKE).frame
        assert read["age"].isna().tolist() == [line[:1] in (b",", b"N") for line in rows.splitlines()]
    for bad, why in ((b"1,2,3,4,5\n", "too many cells"), (b'1,"2,2024-04-03\n', "never closed")):
        with pytest.raises(TableError, match=why):
            read_new_rows(b"age,zip,born\n1,2,2024-04-03\n2,2,2024-04-03\n" + bad, LIKE)


@pytest.mark.parametrize(
    ("column", "kind", "cells", "what"),
    [
        ("age", "number", "old", "numbers below 1e100"),
        ("born", "date", "1609545600000", "dates"),  # dates as pandas writes them to JSON
    ],
)
def test_cells_of_another_kind_are_reported_and_refused_in_strict_mode(column, kind, cells, what):
    facts = replace(LIKE, kinds={**LIKE.kinds, column: kind})
    file = pd.DataFrame({"age": 7, "zip": "1", "born": "2024-04-03", "more": [*range(30), "?"]}).assign(
        **{column: cells}
    )
    rows = read_new_rows(file.to_csv(index=False).encode(), facts)
    assert rows.frame[column].isna().all()
    assert rows.notes[0] == f"Cells of {column!r} that are not {what} were read as missing."
    with pytest.raises(TableError, match=f"'{column}' holds other values, but must hold {what}"):
        read_new_rows(file.drop(columns="more").to_csv(index=False).encode(), facts, strict=True)


def test_unknown_words_and_too_large_numbers_are_reported_with_their_count(store):
    run = made_run(store)
    rows = rows_of(store, run, 3).assign(colour=["mauve", "mauve", "red"], size=[1e308, 1.0, 2.0])
    told, _, _ = ask(store, [run], rows)
    assert told["notes"].pop(0).startswith("1 cell of 'size', such as '10000000")
    assert told["notes"] == ["2 rows hold 'mauve' in 'colour', which the context rows do not contain: read as missing."]


def numbered_csv():
    """Returns the table of ``mixed_csv`` with classes 1 and 2, which are read as floats because one is missing."""
    text = mixed_csv().decode().replace("keep it", "1").replace("drop it", "2")
    head, first, *rest = text.splitlines()
    fields = first.split(",")
    return "\n".join([head, ",".join([*fields[:4], "", fields[5]]), *rest]).encode()


def test_whole_number_classes_are_written_as_whole_numbers(store):
    run = made_run(store, data=numbered_csv())
    rows = rows_of(store, run)
    assert rows["verdict"].dtype == float
    told, predicted, _ = ask(store, [run], rows)
    assert told["classes"] == ["1", "2"]
    assert set(predicted["m0"]) | set(predicted["m1"]) <= {"1", "2"}
    cells = pd.read_csv(store.home / "job" / CSV, dtype=str)
    assert set(cells["adapter 0: predicted"]) <= {"1", "2"}
    assert "adapter 0: probability of 2" in cells
    adapted = load_adapter(store.run_dir(run) / "adapter.zip", device="cpu")
    table = load_frame(store.home, store.run(run).settings.dataset)
    assert set(adapted.predict_table(rows, context=adapted.context(table))["predicted"]) <= {"1", "2"}
    saved = pd.read_parquet(store.run_dir(run) / "predictions.parquet")
    assert set(saved["label"]) | set(saved["predicted"]) <= {"1", "2"}


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_labelled_rows_are_scored_as_on_the_leaderboard_and_training_rows_are_reported(store, task):
    run = made_run(store, task=task)
    settings = store.run(run).settings
    table = load_frame(store.home, settings.dataset)
    adapted = load_adapter(store.run_dir(run) / "adapter.zip", device="cpu")
    split = adapted.split(table)
    told, predicted, _ = ask(store, [run], table.iloc[split.test].reset_index(drop=True))
    assert told["scored_rows"] == len(split.test)
    settings = adapted.settings
    truth = labels_of(table, settings)[split.test]
    classes = list(adapted.classes)
    y_N = np.array([classes.index(label) for label in truth]) if classes else truth.astype(float)
    own = score_all(y_N, adapted._predict(table.iloc[split.test], adapted.context(table)))
    assert told["models"][1]["scores"] == pytest.approx(own, abs=1e-5, nan_ok=True)
    assert told["models"][0]["scores"] != told["models"][1]["scores"]
    assert not [note for note in told["notes"] if "used to train" in note]
    assert predicted["truth"].notna().all()

    told, _, _ = ask(
        store, [run], table.iloc[[*split.test[:3], *split.train[:2], split.validation[0]]].reset_index(drop=True)
    )
    assert [note.split(" labelled")[0] for note in told["notes"] if "used to train" in note] == ["3 of 6"]
    unlabelled, predicted, _ = ask(
        store, [run], table.iloc[split.train[:4]].drop(columns=settings.target).reset_index(drop=True)
    )
    assert (unlabelled["scored_rows"], unlabelled["models"][0]["scores"], unlabelled["notes"]) == (0, {}, [])
    assert "truth" not in predicted


def test_regression_has_an_interval_from_validation_rows_checked_on_test_rows(store, monkeypatch):
    run = made_run(store, task="regression")
    rows = rows_of(store, run, 2)
    truth = {"validation": np.linspace(-1, 2, 39), "test": np.array([0, 1.9, 3, 1])}

    def read(store, run_id, part):  # of a run that predicted 0, and 1 before training
        shape = truth[part].shape
        return Predictions(np.arange(len(truth[part])), truth[part], np.zeros(shape), zero_shot=np.ones(shape))

    monkeypatch.setattr(predict_job, "read_predictions", read)
    before, trained = (model["sure"] for model in ask(store, [run], rows)[0]["models"])
    assert (trained["below"], trained["above"], trained["held"]) == pytest.approx((0.921, 1.921, 0.75), abs=1e-3)
    assert (before["below"], before["above"]) == pytest.approx((1.921, 0.921), abs=1e-3)
