"""Exported files open elsewhere and reproduce the predictions of the run; the snippet that people copy is the one that
is tried.
"""

import ast
import contextlib
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_run import made_run
from package_values import package_facts
from tiny import needs

from tabtune_core.api.pipeline import TabularPipeline
from tabtune_core.api.pipeline_file import read_pipeline, write_pipeline
from tabtune_core.data.datasets import load_frame
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.text_features import TextEncoder
from tabtune_core.errors import AdapterError, PipelineError
from tabtune_core.execution.jobs import export as exports
from tabtune_core.execution.jobs.export_formats import FORMATS, file_name, snippet
from tabtune_core.lora.package_reader import read_facts
from tabtune_core.store.jobs import FILE as PROGRESS


@pytest.fixture
def job(store):
    folder = store.home / "job"
    folder.mkdir()
    return folder


@pytest.fixture
def here(monkeypatch):
    """Runs snippets in this process, which has already loaded torch."""

    def run(code, work, visible):
        with contextlib.chdir(work):
            exec(compile(code, "snippet", "exec"), {"__name__": "snippet"})
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(exports, "_run", run)


CASES = [
    ("tabicl-mini", "classification", "merged"),
    ("tabicl-mini", "classification", "pipeline"),
    ("tabicl-mini", "regression", "lora"),
    pytest.param("tabicl-mini", "regression", "merged", marks=pytest.mark.slow),
    *(
        pytest.param(model, task, "merged", marks=pytest.mark.slow)
        for model in ("tabdpt-mini", "mitra-mini")
        for task in ("classification", "regression")
    ),
    *(pytest.param("tabdpt-mini", "regression", form, marks=pytest.mark.slow) for form in ("pipeline", "lora")),
]


@pytest.mark.parametrize(("model", "task", "form"), CASES)
def test_every_format_reproduces_the_predictions_of_the_run(store, job, here, form, model, task):
    needs(model)
    run = made_run(store, model=model, task=task)
    told = exports.export(store.home, job, run=run, format=form)
    assert told["difference"] <= (1e-5 if form == "merged" else 1e-6)
    assert (told["labels"], told["rows"]) == (0, 18)
    assert (job / told["file"]).stat().st_size == told["size_bytes"] > 10_000
    assert {path.name for path in job.iterdir()} == {told["file"], PROGRESS}, "no other file may be left"


def test_learnt_text_encodings_are_checked_before_use(store, job, here, tmp_path):
    told = exports.export(store.home, job, run=made_run(store, kinds=(("remark", "encoded"),)), format="pipeline")
    content = read_pipeline(job / told["file"])
    learnt = content.context.encoder.texts["remark"]
    for rarity_H, refusal in ((learnt.rarity_H * np.nan, "holds numbers"), (learnt.rarity_H[1:], "another size")):
        content.context.encoder.texts["remark"] = TextEncoder(rarity_H, learnt.weights_KH)
        write_pipeline(tmp_path / "bad.zip", content)
        with pytest.raises(PipelineError, match=f"text encoder .*{refusal}"):
            read_pipeline(tmp_path / "bad.zip")
    content.context.encoder.texts["remark"] = learnt
    content.context.encoder.categories["second"] = ("a", "b")
    facts = replace(content.facts, columns=(*content.facts.columns, "second"))
    write_pipeline(tmp_path / "bad.zip", replace(content, facts=facts))
    with pytest.raises(PipelineError, match="have (\\d+) features, and its encoders make"):
        read_pipeline(tmp_path / "bad.zip")


@pytest.mark.parametrize("form", ["pipeline", pytest.param("merged", marks=pytest.mark.slow)])
def test_a_split_by_group_is_kept_in_every_format(store, job, here, form):
    run = made_run(store, split_by="group", split_column="colour")
    told = exports.export(store.home, job, run=run, format=form)
    assert (told["difference"] <= 1e-5, told["rows"]) == (True, 30), "one of three colours"
    if form == "pipeline":
        pipeline = TabularPipeline.load(job / told["file"])
        assert (pipeline.tuning_params["split_by"], pipeline.tuning_params["split_column"]) == ("group", "colour")
        assert "colour" not in pipeline.feature_names_in_


def test_the_shown_snippet_is_tried_in_a_fresh_process(store, job):
    run = made_run(store, views=2)
    told = exports.export(store.home, job, run=run, format="merged")
    assert told["difference"] < 1e-5
    assert (told["through"], told["views"]) == ("tabicl.TabICLClassifier", 1)


def test_a_file_with_other_predictions_is_not_offered(store, job, here, monkeypatch):
    run = made_run(store)
    write = exports._WRITERS["lora"]

    def spoil(source, file, work):
        write(source, file, work)
        content = torch.load(file, weights_only=True)
        for entry in ("tensors", "lora_a", "lora_b"):
            content[entry] = {name: 2 * value for name, value in content[entry].items()}
        torch.save(content, file)

    monkeypatch.setitem(exports._WRITERS, "lora", spoil)
    with pytest.raises(AdapterError, match="got other predictions than the run, by up to"):
        exports.export(store.home, job, run=run, format="lora")
    assert [path.name for path in job.iterdir()] == [PROGRESS]


def test_a_file_that_a_fresh_process_cannot_open_is_removed_and_the_log_is_named(store, job, monkeypatch):
    monkeypatch.setattr(exports, "_run", lambda *given: subprocess.CompletedProcess([], 1, "", "no such package"))
    with pytest.raises(AdapterError, match=rf"could not open the file.*{job / 'log.txt'}"):
        exports.export(store.home, job, run=made_run(store), format="pipeline")
    assert [path.name for path in job.iterdir()] == [PROGRESS]


def test_the_pipeline_holds_the_context_rows_and_the_results_of_the_run(store, job, here):
    run = made_run(store)
    told = exports.export(store.home, job, run=run, format="pipeline")
    pipeline = TabularPipeline.load(job / told["file"])
    facts = read_facts(store.run_dir(run) / "adapter.zip")
    assert pipeline._context.sha256 == facts.context_sha256
    assert len(pipeline._context.rows) == len(facts.context_rows) == 54
    assert pipeline.result.best_step == 1
    rows = load_frame(store.home, store.run(run).settings.dataset)[pipeline.feature_names_in_]
    assert [*rows.columns] == [name for name in facts.kinds if name in facts.features] != [*facts.features]
    np.testing.assert_array_equal(pipeline.predict_proba(rows.to_numpy(dtype=object)), pipeline.predict_proba(rows))
    assert {form for form, kind in FORMATS.items() if kind.holds_rows} == {"pipeline"}


@pytest.mark.parametrize(
    ("form", "model", "table"),
    [
        ("merged", "tabicl-mini", 'it\'s "mine".csv'),
        ("pipeline", "tabdpt-mini", "../../etc/passwd"),
        ("lora", "mitra-mini", "$(touch x);`y` .csv"),
        ("merged", "mitra-mini", "line\nbreak.csv"),
    ],
)
def test_the_name_of_a_table_is_quoted_in_a_snippet_and_never_part_of_a_path(form, model, table):
    facts = package_facts(model, table_name=table, reading=ReadingChoices(delimiter=";", missing_marks=(table,)))
    code = snippet(form, facts, "abc", table=table).code
    assert table in {node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)}
    assert file_name(form, facts, "abc").startswith(("merged-", "pipeline-", "lora_adapters-"))
    assert "/" not in file_name(form, facts, "abc")


def test_differences_between_numbers_are_in_standard_deviations():
    from tabtune_core.engine.verify import compare

    assert compare(np.array([1.0, 3.0]), np.array([1.0, 2.0]), np.array([0.0, 4.0])) == (0.5, 0)
    assert compare(np.array([[0.6, 0.4]]), np.array([[0.4, 0.6]]), np.array([0])) == (pytest.approx(0.2), 1)
    assert compare(np.zeros(2), np.zeros(3), np.zeros(3))[0] == np.inf


@pytest.mark.parametrize(
    ("asked", "computed_on", "expected"),
    [
        ("auto", "cpu (2 threads)", ("cpu", "", 1e-6)),
        ("cuda:1", "cuda:1 (H100)", ("cuda:1", "GPU-b", 1e-5)),
        ("auto", "cuda:0 (T4)", ("cuda:2", "GPU-c", 1e-5)),
        ("auto", "cuda:0 (A100)", ("auto", None, 1e-3)),
    ],
)
def test_a_file_is_tried_on_the_device_of_the_run_or_with_more_tolerance(monkeypatch, asked, computed_on, expected):
    monkeypatch.setattr(exports, "card_names", lambda: ["H100", "H100", "T4"])
    monkeypatch.setattr(exports, "card_uuids", lambda: ["GPU-a", "GPU-b", "GPU-c"])
    assert exports._trial(asked, computed_on) == expected
