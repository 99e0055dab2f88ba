"""The pages without a browser: empty, with one table, one run, a running sweep, and odd input."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import seeding
from page_steps import button, go, texts

from dashboard.queries import workspace
from tabtune_core.data.datasets import add_dataset, add_sample, list_datasets
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.execution import worker_watch
from tabtune_core.models.catalogue import CATALOGUE

PAGES = ("data", "new_run", "live", "leaderboard", "compare", "adapters", "try_it")
ALL_PAGES = (*PAGES, "guide")


def test_each_empty_page_says_what_to_do_next(app):
    for name in PAGES:
        go(app, name)
        assert not app.exception, name
        assert app.title, name
        assert len(app.button) >= 1, name


def test_each_page_shows_a_finished_run(app, store):
    seeding.finished_sweep(store, ranks=(2,))
    for name in ALL_PAGES:
        go(app, name)
        assert not app.exception, name
        assert not app.error, name


def test_each_page_shows_a_running_sweep(app, store):
    seeding.finished_sweep(store, seeds=(0, 1))
    seeding.going_sweep(store)
    for name in ALL_PAGES:
        go(app, name)
        assert not app.exception, name


NAMED = (
    *(
        "sweep",
        "run",
        "runs",
        "only",
        "job",
        "adapter",
        "adapters",
        "table",
        "target",
        "way",
        "split",
        "model",
        "view",
        "status",
    ),
    *(
        "ranks",
        "alpha",
        "dropout",
        "dropouts",
        "tied",
        "seeds",
        "length",
        "text",
        "archived",
        "settings",
        "metric",
        "board",
    ),
)
"""Names that addresses have, or might."""
ODD = (
    "",
    "x",
    "-1",
    "1,1",
    "NaN",
    "inf",
    "1e400",
    "9" * 400,
    "true",
    "../../etc/passwd",
    "<script>",
    "é\u202e",
    "Rank",
    "classes",
    "0" * 32,
)


def test_an_address_may_say_anything(app, store):
    chance = np.random.default_rng(0)
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=tuple(range(1, 8))))
    for run in runs:
        seeding.start(run)
        run.end()
    known = [run.id for run in runs]
    for _ in range(40):
        name = str(chance.choice(ALL_PAGES))
        values = (ODD, known)[chance.integers(2)]
        said = {
            key: ",".join(chance.choice(values, chance.integers(1, 12)))
            for key in chance.choice(NAMED, 12, replace=False)
        }
        app.query_params.clear()
        go(app, name, **said)
        assert not app.exception, (name, said)


def test_one_click_loads_the_sample_and_proposes_its_target(app, home):
    app.run()
    button(app, "Use the sample table").click().run()
    assert not app.exception
    assert [dataset.name for dataset in list_datasets(home)] == ["breast_cancer.csv"]
    assert app.selectbox(key="chosen_target").value == "diagnosis"
    assert not [radio for radio in app.radio if radio.key == "chosen_way"], "words are classes, and nothing is asked"


def test_an_unreadable_upload_says_why_and_loses_nothing(app, home):
    add_sample(home, "iris")
    app.run()
    app.file_uploader[0].upload("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(500)).run()
    assert not app.exception
    assert "picture\\.csv was not added" in texts(app.error)
    assert not [found for found in app.button if found.label.startswith("Try again")]
    assert [dataset.name for dataset in list_datasets(home)] == ["iris.csv"]


def test_a_table_is_read_again_with_reading_choices(app, home):
    text = "when;code;amount\n" + "".join(
        f"0{i % 9 + 1}/0{i % 7 + 1}/2024;{i % 3};{i if i % 4 else 'lost'}\n" for i in range(60)
    )
    key = add_dataset(home, text.encode(), "codes.csv").id[:12]
    app.run()
    button(app, "Read the file again").click().run()
    assert "already read with these choices" in texts(app.info)
    app.selectbox(key=f"reading_day_first_{key}").set_value("false")
    app.multiselect(key=f"reading_missing_{key}").set_value(["lost"])
    button(app, "Read the file again").click().run()
    assert not app.exception
    (dataset,) = list_datasets(home)
    assert dataset.reading == ReadingChoices(
        encoding="utf-8", delimiter=";", header=True, day_first=False, missing_marks=("lost",)
    )
    assert [column.kind for column in dataset.columns] == ["date", "number", "number"]
    assert app.selectbox(key="chosen_table").value == dataset.id


def test_a_continuous_target_is_predicted_as_a_number_unless_it_is_split(app, home):
    add_sample(home, "diabetes")
    app.run()
    assert "standard deviation" in texts(app.caption)
    assert app.radio(key="chosen_way").value == "numbers"
    app.radio(key="chosen_way").set_value("halves").run()
    assert not app.error
    go(app, "new_run")
    assert app.radio(key="chosen_way").value == "halves"


def test_launch_queues_every_rank_both_baselines_and_the_references(app, store):
    add_sample(store.home, "breast_cancer")
    go(app, "new_run")
    app.pills(key="ranks").set_value([2, 16]).run()
    app.toggle(key="one_rate").set_value(True).run()
    assert "Launch 7 runs" in [found.label for found in app.button]
    button(app, "Launch 7 runs").click().run()
    assert not app.exception
    assert [run.name for run in store.runs()] == [
        "Zero-shot",
        "Linear model",
        "Gradient boosting",
        "Constant",
        "LoRA r=2",
        "LoRA r=16",
        "Full fine-tuning",
    ]
    assert {run.settings.target for run in store.runs()} == {"diagnosis"}


def test_a_numeric_target_is_launched_as_regression_on_a_model_that_supports_it(app, store, tmp_path):
    weights = tmp_path / "weights.ckpt"
    weights.write_bytes(b"PK")
    add_sample(store.home, "diabetes")
    go(app, "new_run")
    models = app.selectbox(key="chosen_model")
    assert not [title for title in models.options if title.startswith("TabICL v1 ")]
    assert "**TabICL v1**. No weights for regression" in models.help
    models.set_value("tabicl-v2").run()
    app.text_input(key="checkpoint").set_value(str(weights)).run()
    assert app.selectbox(key="selection_metric").options == ["RMSE", "Mean absolute error", "R²"]
    button(app, "Launch 16 runs").click().run()
    assert not app.exception
    assert {(run.settings.task, run.settings.model, run.settings.selection_metric) for run in store.runs()} == {
        ("regression", "tabicl-v2", "rmse")
    }


def test_a_model_without_its_package_says_how_to_install_it(app, store, monkeypatch):
    family = CATALOGUE["tabicl-v1"].family
    absent = dataclasses.replace(family.upstream, distribution="no-such-package")
    family = dataclasses.replace(family, upstream=absent, install="pip install it")
    monkeypatch.setitem(CATALOGUE, "tabicl-v1", dataclasses.replace(CATALOGUE["tabicl-v1"], family=family))
    add_sample(store.home, "iris")
    go(app, "new_run")
    assert "`pip install it`" in app.selectbox(key="chosen_model").help


def test_the_limits_of_a_model_are_shown_and_enforced_before_launch(app, store, monkeypatch):
    family = dataclasses.replace(CATALOGUE["tabicl-mini"].family, feature_limit=3, context_limit=1000)
    monkeypatch.setitem(CATALOGUE, "tabicl-mini", dataclasses.replace(CATALOGUE["tabicl-mini"], family=family))
    add_sample(store.home, "iris")
    go(app, "new_run")
    assert "At most 3 columns, 1,000 context rows." in " ".join(found.help or "" for found in app.caption)
    told = texts(app.error).replace("\\", "")
    assert "takes at most 3" in told
    assert next(found for found in app.button if found.label.startswith("Launch")).disabled
    app.number_input(key="context_rows").set_value(2000).run()
    assert "takes at most 1,000 context rows" in texts(app.error).replace("\\", "")


@pytest.mark.parametrize(
    ("seeds", "told"), [("zero", "write whole numbers"), ("4294967296", "it must be below 4294967296")]
)
def test_a_wrong_setting_is_explained_and_leaves_nothing_to_launch(app, store, seeds, told):
    add_sample(store.home, "breast_cancer")
    go(app, "new_run")
    app.text_input(key="seeds").set_value(seeds).run()
    assert not app.exception
    assert told in texts(app.error).replace("\\", "")
    assert not [found for found in app.button if found.label.startswith("Launch")]


SMALLEST = """ranks = []
zero_shot = true
[run]
dataset = "elsewhere"
target = "t"
[run.lora]
alpha = 1e-3
dropout = 0
bias = "all"
rank_pattern = { "icl_predictor.decoder" = 1 }
[run.train]
steps = 1
learning_rate = 1e-12
batch_size = 1
context_rows = 10
predict_context_rows = 10
validation_rows = 10
test_rows = 10
weight_decay = 0
betas = [0, 0]
eps = 1e-300
warmup_ratio = 0
warmup_steps = 0
clip_norm = 0
eval_every = 1
patience = 0
lr_ratio = 1e-3
amp = "bf16"
schedule = "constant"
"""


def test_a_number_too_large_for_browsers_and_an_unknown_name_are_refused_with_a_reason(app, store):
    add_sample(store.home, "breast_cancer")
    go(app, "new_run")
    app.text_area(key="pasted_toml").set_value(SMALLEST.replace("patience = 0", "patience = 9007199254740992")).run()
    button(app, "Fill the form").click().run()
    assert not app.exception
    assert "patience is 9,007,199,254,740,992" in texts(app.error).replace("\\", "")
    assert app.number_input(key="patience").value is None
    app.text_area(key="pasted_toml").set_value(SMALLEST.replace("dropout", "drpout")).run()
    button(app, "Fill the form").click().run()
    assert "run.lora.dropout" in texts(app.error).replace("\\", "")


def test_settings_of_a_stored_table_choose_it_and_its_column(app, store):
    sweep = seeding.sweep_settings(store.home)
    add_sample(store.home, "iris")
    go(app, "new_run")
    app.selectbox(key="chosen_table").set_value(
        next(found.id for found in list_datasets(store.home) if found.name == "iris.csv")
    ).run()
    app.text_area(key="pasted_toml").set_value(sweep.to_toml()).run()
    button(app, "Fill the form").click().run()
    assert app.selectbox(key="chosen_table").value == sweep.run.dataset
    assert app.selectbox(key="chosen_target").value == "diagnosis"
    assert not app.warning


def test_stop_reaches_the_running_run_cancel_all_the_queued_ones_too_and_a_failed_run_can_be_retried(app, store):
    sweep, runs = seeding.going_sweep(store)
    go(app, "live")
    button(app, "Stop and keep the best").click().run()
    assert store.wish(runs[3].id) == "stop"
    assert store.run(runs[4].id).status == "queued"
    button(app, "Cancel all").click().run()
    assert store.wish(runs[3].id) == "cancel"
    assert store.run(runs[4].id).status == "cancelled"
    app.selectbox(key=f"one_run_{sweep}").set_value(runs[2].id).run()
    assert "more memory than there is" in texts(app.error)
    button(app, "Run again").click().run()
    assert store.run(runs[2].id).retried_as is not None


def test_a_worker_that_keeps_ending_is_reported_with_the_end_of_its_log(app, store, monkeypatch):
    monkeypatch.setattr(worker_watch, "LOOK_SECONDS", 0.0)
    (store.home / "worker.log").write_text("Traceback\nModuleNotFoundError: No module named 'torch'\n")
    seeding.queue(store, seeding.sweep_settings(store.home))
    go(app, "live")
    workspace._looked.clear()  # once a second
    app.run()
    assert str(store.home / "worker.log") in texts(app.error).replace("\\", "")
    assert "No module named 'torch'" in texts(app.code)
    button(app, "Start the worker again").click().run()
    assert not app.exception


def test_a_worker_that_a_person_stopped_is_not_restarted_automatically(app, store):
    worker_watch.worker_lock.stop_workers(store.home)
    seeding.queue(store, seeding.sweep_settings(store.home))
    go(app, "live")
    assert "The worker was stopped with `loralab worker --stop`." in texts(app.info)
    button(app, "Start the worker").click().run()
    assert not app.exception


def test_the_leaderboard_opens_with_what_rank_buys_and_recommends_nothing_across_all_runs(app, store):
    seeding.finished_sweep(store, seeds=(0, 1))
    go(app, "leaderboard", metric="accuracy")
    said = texts(app.markdown).replace("\\", "")
    assert "Validation chooses r=4: its accuracy there is" in said
    assert (
        "No gain over zero-shot is claimed: how much of its gain on these rows is noise is not known." in said
    )  # these made-up runs keep no predictions
    assert "r=4 has the best validation accuracy of the LoRA runs" in said
    assert "predictions of its rows are missing" in texts(app.caption)
    assert app.dataframe[0].value.groupby("Run")["Place"].max().idxmax() == "Zero-shot"
    app.selectbox(key="chosen_metric").set_value("ece").run()
    assert app.dataframe[0].value["Place"].tolist() == [1] * 5
    app.selectbox(key="chosen_board").set_value("all").run()
    assert not app.exception
    assert "Places across sweeps mean little" in texts(app.caption)
    assert app.dataframe[0].value["± gain on test"].isna().all(), "no predictions tell"


def test_the_pages_of_a_regression_sweep_show_regression_scores(app, store):
    sweep = seeding.finished_sweep(store, task="regression", ranks=(2, 4))
    go(app, "live", sweep=sweep)
    assert {"Loss (the model's own unit)", "Best validation RMSE"} <= set(app.dataframe[0].value)
    assert "**RMSE**" in texts(app.markdown)
    assert app.selectbox(key="live_metric_regression").options == ["Mean absolute error", "R²"], (
        "the one that decides has its chart"
    )
    go(app, "leaderboard", board=sweep)
    assert app.selectbox(key="chosen_metric").options == ["By RMSE", "By mean absolute error", "By R²"]
    assert "r=4 has the best validation RMSE of the LoRA runs: 33.195." in texts(app.markdown).replace("\\", "")
    go(app, "compare", sweep=sweep)
    assert app.selectbox(key="chosen_metric").options == ["RMSE", "Mean absolute error", "R²"]
    go(app, "adapters")
    assert "Validation RMSE" in [metric.label for metric in app.metric]
    assert not app.exception


def test_the_adapter_page_shows_the_packages_readme_or_says_that_it_is_damaged(app, store):
    seeding.finished_sweep(store)
    go(app, "adapters")
    assert "made\\-up adapter" in texts(app.markdown)
    assert {"adapter_model.safetensors", "tabtune.json", "README.md"} == set(
        next(table.value for table in app.dataframe if "File" in table.value)["File"]
    )
    for run in store.runs():
        if run.settings.strategy == "peft":
            (store.run_dir(run.id) / "adapter.zip").write_bytes(b"no zip")
    app.run()
    assert "cannot be opened" in texts(app.error)


@pytest.mark.parametrize(("verified", "offered"), [(True, 2), (False, 0), (None, 0)])
def test_only_a_verified_adapter_is_offered(app, store, verified, offered):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    for run in runs:
        seeding.start(run)
        run.end(verified=verified)
    go(app, "adapters")
    assert not app.exception
    assert len(app.get("download_button")) == offered
    assert ("No download" in texts(app.info)) == (not offered)


def test_no_page_loads_torch(home):
    """Loading torch would cost every visit seconds and the server hundreds of megabytes."""
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; import seeding; from pathlib import Path;"
        "from tabtune_core.store.runs import RunStore; import dashboard.server.application, dashboard.start;"
        f"seeding.finished_sweep(RunStore(Path({str(home)!r})));"
        "app = AppTest.from_file('dashboard/app.py', default_timeout=30).run();"
        f"[app.switch_page(f'views/{{name}}/page.py').run() for name in {PAGES!r}];"
        "assert not app.exception; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    root = seeding.__file__.rsplit("/tests/", 1)[0]
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root}/tests", "TABTUNE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr[-2000:]
