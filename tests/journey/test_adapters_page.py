"""The Adapters and Try it pages: what is listed, prepared, uploaded and predicted, and odd input."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import seeding
from made_run import made_run, mixed_csv
from page_steps import button, go, texts

from dashboard import queries as page_queries
from tabtune_core.access import FETCH_VARIABLE
from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.prediction_rows import CSV, PREDICTED, ROWS
from tabtune_core.events import to_json
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.uploaded_adapters import list_adapters


def verified_run(store, **more):
    seeding.finished_sweep(store, ranks=(2,), **more)
    return next(run for run in store.runs() if run.settings.strategy == "peft").id


def theirs(store, run, **changes):
    """The adapter package of a run on another machine, for a base model of the package."""
    weights = CATALOGUE["tabicl-mini"].weights["classification"]
    facts = seeding.made_up_facts(store.home, store.run(run).settings)
    facts["settings"]["lora"]["targets"] = [layer["path"] for layer in facts["layers"]]
    facts |= {"base": {**facts["base"], "file": weights.file, "sha256": weights.sha256}} | changes
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tabtune.json", json.dumps(facts))
        (layer,) = facts["layers"]
        shapes = {"lora_A": (layer["rank"], layer["in_features"]), "lora_B": (layer["out_features"], layer["rank"])}
        factors = {f"base_model.model.{layer['path']}.{side}.weight": np.ones(of, "f4") for side, of in shapes.items()}
        archive.writestr("adapter_model.safetensors", safetensors.numpy.save(factors))
    return buffer.getvalue()


def predict_button(app):
    return next(box for box in app.button if (box.key or "").startswith("try_predict"))


def adapters_of(app):
    return next(table.value for table in app.dataframe if "Validation gain" in table.value)


def test_the_list_begins_with_confirmed_gains_and_has_each_adapters_gain(app, store, monkeypatch):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    for run in runs:
        seeding.start(run)
        run.end()
    by_rank = {run.settings.lora.rank: run.id for run in store.runs() if run.settings.strategy == "peft"}
    go(app, "adapters")
    assert not app.exception
    listed = adapters_of(app)
    assert set(listed.index) == set(by_rank.values())
    assert listed["Validation gain"].is_monotonic_decreasing  # without kept predictions no gain is confirmed
    assert listed["Validation gain"].gt(listed["Test gain"]).all()
    assert set(listed["Score"]) == {"log-loss"}
    assert app.query_params["run"] == listed.index[0]
    monkeypatch.setattr(page_queries, "confirmed", lambda sweeps: {by_rank[2]})
    go(app, "adapters")
    assert adapters_of(app).index[0] == by_rank[2]
    assert adapters_of(app)["On test rows"].tolist() == ["✓ confirmed", "", ""]
    assert app.query_params["run"] == listed.index[0], "what a person looked at stays chosen"
    go(app, "adapters", run=by_rank[4])
    assert button(app, "Try it on rows")


def test_an_adapter_whose_verification_was_killed_is_verified_again_and_then_downloaded(app, store):
    run_id = verified_run(store)
    result = dataclasses.replace(store.run(run_id).result, adapter_verified=None)
    store._write("UPDATE runs SET result = ? WHERE id = ?", (to_json(result)[1], run_id))
    go(app, "adapters", run=run_id)
    button(app, "Verify again").click().run()
    assert not app.exception
    job = store.claim_job(1, None)
    assert (job.kind, job.arguments) == ("verify", {"run": run_id})
    store.set_verified(run_id, True)
    store.finish_job(job.id, "finished", result={"verified": True})
    app.run()
    assert not app.exception
    assert button(app, "Try it on rows")


def test_formats_are_prepared_cancelled_verified_downloaded_and_removed(app, store):
    run = verified_run(store)
    go(app, "adapters", run=run)
    assert "Holds 3 rows of your table" in texts(app.markdown), "said before it is prepared"
    for form in ("pipeline", "merged"):
        app.button(key=f"make_{form}_{run}").click().run()
    going = store.claim_job(1, None)
    assert going.arguments == {"run": run, "format": "pipeline"}
    store.job_dir(going.id).mkdir(parents=True)
    write_progress(store.job_dir(going.id), 1, 3, "steps")
    app.run()
    (bar,) = app.get("progress")
    assert bar.proto.text.endswith(": 1 of 3 steps; 1 more to come")
    button(app, "Cancel").click().run()
    assert not app.exception
    assert button(app, "Cancel").disabled
    assert {job.arguments["format"]: (job.status, job.wish) for job in store.jobs()} == {
        "pipeline": ("running", "cancel"),
        "merged": ("cancelled", None),
    }
    store.finish_job(going.id, "cancelled")
    app.run()
    assert texts(app.info).count("It was cancelled.") == 2
    app.button(key=f"make_pipeline_{run}").click().run()
    assert "Preparing" in texts(app.markdown)
    folder = store.job_dir(store.claim_job(1, None).id)
    folder.mkdir(parents=True)
    (folder / f"pipeline-tabicl-mini-r2-{run}.zip").write_bytes(b"x" * 5000)
    result = {"difference": 2.5e-7, "labels": 0, "rows": 114, "through": "tabtune_core.TabularPipeline", "views": 1}
    store.finish_job(folder.name, "finished", result=result)
    app.run()
    assert not app.exception
    (badge,) = [found for found in app.markdown if "verified on 114 test rows" in found.value]
    assert "2.5e-07 of a probability." in badge.help
    assert any("Download (5.0 kB)" in found.proto.label for found in app.get("download_button"))
    app.button(key=f"drop_pipeline_{run}").click().run()
    assert not [job for job in store.jobs("export") if job.arguments["format"] == "pipeline"]
    assert not folder.exists()


def test_an_adapter_from_elsewhere_is_checked_added_tried_and_removed(app, store, monkeypatch, tmp_path):
    run = verified_run(store)
    go(app, "adapters")
    assert "Fetch the adapter" not in [shown.label for shown in app.button]
    app.file_uploader[0].upload("evil.zip", b"\x80\x04cos\nsystem\n").run()
    assert "evil.zip was not added" in texts(app.error)
    base = {"model": "tabicl-mini", "file": "tabicl-mini.ckpt", "repository": None, "revision": None}
    base |= {"sha256": "1" * 64, "licence": {"name": None, "commercial": None}}
    app.file_uploader[0].upload("another base.zip", theirs(store, run, base=base)).run()
    assert "is another file" in texts(app.warning)
    assert button(app, "Try it").disabled
    app.file_uploader[0].upload("../../their *adapter*.zip", theirs(store, run)).run()
    assert not app.exception
    adapter = next(found for found in list_adapters(store.home) if found.id == app.query_params["run"])
    button(app, "Try it").click().run()
    assert app.title[0].value == "Try it"
    assert app.multiselect[0].value == [adapter.id]
    (job,) = store.jobs("predict")
    store.cancel_job(job.id)  # a queued prediction would keep its adapter
    go(app, "adapters", run=adapter.id)
    app.button(key=f"delete_{adapter.id[:12]}").click().run()
    assert len(list_adapters(store.home)) == 1
    monkeypatch.setenv(FETCH_VARIABLE, "1")
    (tmp_path / "there.zip").write_bytes(theirs(store, run))
    monkeypatch.setattr("tabtune_core.lora.hub.at_hand", lambda *_, **__: tmp_path / "there.zip")
    app.run()
    for address in ("/etc/passwd", "hf://ann/churn"):
        app.text_input(key=f"adapter_address_{app.session_state['adapter_uploads']}").set_value(address)
        button(app, "Fetch the adapter").click().run()
        assert not app.exception
        assert bool(app.error) == (address[0] == "/")
    assert "hf://ann/churn" in [adapter.name for adapter in list_adapters(store.home)]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_row_of_the_table_is_predicted_unchanged(app, store, task):
    run = verified_run(store, task=task)
    go(app, "try_it", adapter=run)
    assert not app.exception
    fields = {"classification": 30, "regression": 10}[task]
    assert len(app.number_input) == 1 + fields
    app.number_input[0].set_value(7).run()
    job, first = store.jobs("predict")
    assert first.status == "cancelled", "only the row that is shown is predicted"
    assert [adapter["id"] for adapter in job.arguments["adapters"]] == [run]
    assert job.arguments["base"] is True
    asked = pd.read_parquet(store.home / "inputs" / f"{job.arguments['rows']}.parquet")
    settings = store.run(run).settings
    whole = load_frame(store.home, settings.dataset).iloc[[6]].reset_index(drop=True)
    pd.testing.assert_frame_equal(asked[list(whole.drop(columns=settings.target))], whole.drop(columns=settings.target))
    assert "Waiting for the worker" in texts(app.markdown)


def answered(store, frame, result):
    job = store.add_job("predict", {"rows": "0" * 16, "adapters": [], "table": "x"})
    folder = store.job_dir(job)
    folder.mkdir(parents=True)
    frame.to_parquet(folder / PREDICTED)
    frame.to_csv(folder / CSV)
    store.finish_job(job, "finished", result=result)
    return job


def test_predictions_are_side_by_side_with_labels_and_scores_and_differences_are_marked(app, store):
    run = verified_run(store)
    frame = pd.DataFrame({"truth": ["a", "b", "b"]})
    for model, (labels, first) in {"m0": ("aab", [0.9, 0.8, 0.3]), "m1": ("abb", [0.9, 0.4, 0.2])}.items():
        frame = frame.assign(**{model: list(labels), f"{model}_0": first, f"{model}_1": [1 - share for share in first]})
    models = [
        {"title": "Base TabICL mini", "kind": "base", "scores": {"log_loss": 0.9, "accuracy": 0.5}},
        {"title": "LoRA *r*=2", "kind": "adapter", "scores": {"log_loss": 0.3, "accuracy": 1.0}},
    ]
    result = {"models": models, "classes": ["a", "b"], "rows": 3, "notes": ["2 rows hold 'x' in 'y'."]}
    job = answered(store, frame, result | {"deviation": None, "scored_rows": 3})
    own = pd.DataFrame({"size": [1.5, 2.5, 3.5], "Label": ["c", "d", "e"], "Row": [7, 8, 9]})
    own.to_parquet(store.job_dir(job) / ROWS)
    go(app, "try_it", adapter=run, job=job)
    assert not app.exception
    assert [box.proto.label for box in app.get("download_button")] == ["Download the earlier predictions (CSV)"]
    assert "The models differ in **1 of 3** rows." in texts(app.markdown)
    assert "2 rows hold 'x' in 'y'" in texts(app.markdown)
    by_model = next(table.value for table in app.dataframe if "Accuracy" in table.value).set_index("Model")["Accuracy"]
    assert by_model.tolist() == [0.5, 1.0]
    shown = app.dataframe[-1].value
    assert shown["Row"].tolist() == [2, 1, 3], "where they differ first"
    assert shown["Differ"].tolist() == ["≠", "", ""]
    assert shown["LoRA *r*=2"].tolist() == ["b (0.600)", "a (0.900)", "b (0.800)"]
    columns = ["Label", "size", "Row (column)", "Label (column)"]
    assert shown[columns].to_numpy().tolist()[0] == ["b", 2.5, 8, "d"]
    app.toggle(key="try_only").set_value(True).run()
    assert app.dataframe[-1].value["Row"].tolist() == [2]
    (store.job_dir(job) / PREDICTED).write_bytes(b"PAR1")
    app.run()
    assert not app.exception
    assert "are damaged or gone. Press Predict again" in texts(app.error)


def test_an_uploaded_file_is_read_before_its_rows_can_be_predicted(app, store):
    run = verified_run(store)
    go(app, "try_it", adapter=run)
    app.segmented_control(key="try_way").set_value("Upload rows").run()
    whole = load_frame(store.home, store.run(run).settings.dataset)
    app.file_uploader[0].upload("rows.csv", whole.iloc[:4, 1:].to_csv(index=False).encode()).run()
    assert "The rows lack 1 of the 30 columns" in texts(app.error)
    assert predict_button(app).disabled
    app.file_uploader[0].upload(
        "rows.csv", whole.iloc[:4].drop(columns="diagnosis").assign(more=1).to_csv(index=False).encode()
    ).run()
    assert not app.exception
    assert "Not used" in texts(app.markdown) and "'more'" in texts(app.markdown)
    predict_button(app).click().run()
    job = store.jobs("predict")[0]
    assert len(pd.read_parquet(store.home / "inputs" / f"{job.arguments['rows']}.parquet")) == 4
    app.file_uploader[0].upload("rows.csv", whole.iloc[:4].to_csv(index=False).encode()).run()
    assert "4 rows, 4 with a diagnosis to score against" in texts(app.caption)


def fields_of(app):
    kinds = ("number_input", "selectbox", "date_input", "text_input")
    return {field.label.replace("\\", "").split(" (")[0]: field for kind in kinds for field in app.get(kind)}


def test_a_row_is_a_form_whose_fields_may_be_empty_and_name_a_number_that_the_table_does_not_reach(app, store):
    run = made_run(store, data=mixed_csv())
    settings = store.run(run).settings
    whole = load_frame(store.home, settings.dataset)
    kinds = {column.name: column.kind for column in get_dataset(store.home, settings.dataset).columns}
    go(app, "try_it", adapter=run)
    assert not app.exception
    place = int(app.number_input[0].value) - 1
    fields = fields_of(app)
    names = [name for name in whole if name != settings.target and kinds[name] not in ("text", "ignored")]
    assert set(names) <= set(fields)
    number = "weight"
    assert fields[number].label == f"{number} ({whole[number].min():.6g}…{whole[number].max():.6g})"
    category = next(name for name in names if kinds[name] == "category")
    assert fields[category].options == sorted(whole[category].dropna().unique())
    fields_of(app)[number].set_value(None)
    fields_of(app)[category].set_value(None)
    app.run()
    assert not app.exception
    first, later = sorted(
        (pd.read_parquet(store.home / "inputs" / f"{job.arguments['rows']}.parquet") for job in store.jobs("predict")),
        key=lambda rows: settings.target not in rows,
    )
    assert first.loc[0, settings.target] == whole.loc[place, settings.target]
    assert settings.target not in later
    assert later.loc[0, [number, category]].isna().all()
    unchanged = [name for name in names if name not in (number, category)]
    assert later.loc[0, unchanged].astype(str).tolist() == first.loc[0, unchanged].astype(str).tolist()
    for value, named in ((4012.5, True), (40.125, False), (None, False)):
        fields_of(app)["weight"].set_value(value).run()
        assert not app.exception
        outside = f"'weight' is 4,012.5, outside the table's {whole[number].min():.6g} to {whole[number].max():.6g}."
        assert (outside in texts(app.caption)) == named
        assert ("outside the table" in texts(app.caption)) == named
