"""The page New run: what is compared, its split, estimate and limits, and what stops a launch."""

import dataclasses
import json

import numpy as np
import pytest
import seeding
from page_steps import button, go, texts

from dashboard.views.new_run.estimate_panel import Judged
from tabtune_core.analysis.runtime_estimate import Pace, TrainedOn, kind_of
from tabtune_core.data.datasets import add_dataset, add_sample, delete_dataset
from tabtune_core.execution.cluster import Cluster, ClusterNode, write_cluster
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.search.budget import Clock
from tabtune_core.settings import RunSettings, SweepSettings

RUN = RunSettings(dataset="d", target="y")
SIZES = TrainedOn(train_rows=341, validation_rows=114, features=30, classes=2, device="cpu")


@pytest.fixture
def page(app, store):
    add_sample(store.home, "breast_cancer")
    return go(app, "new_run")


def launch(page):
    return next(found for found in page.button if found.label.startswith("Launch"))


def settings_of(page):
    return SweepSettings.from_toml(page.code[0].value)


def load(page, text):
    next(box for box in page.file_uploader if box.key == "toml_file").upload("sweep.toml", text.encode()).run()
    return button(page, "Fill the form").click().run()


def typed(page, **values):
    """Types values into lists; AppTest knows only listed options."""
    for key, given in values.items():
        box = page.multiselect(key=key)
        box.options.extend(value for value in given if value not in box.options)
        box.set_value(given)
    page.run()
    assert not page.exception


def test_the_machines_of_a_cluster_are_listed_beside_the_device_choice(app, store):
    nodes = ClusterNode("a", 8, ("NVIDIA L4",) * 2), ClusterNode("b", 4, (), "Node b has torch 2.8.0.")
    write_cluster(store.home, Cluster(nodes, ""))
    add_sample(store.home, "breast_cancer")
    page = go(app, "new_run")
    assert not page.exception
    shown = texts(page.caption)
    assert "Runs go to the nodes of a Ray cluster: 1 node, 8 CPUs, 2 GPUs (2 × NVIDIA L4)." in shown
    assert "Node b has torch 2.8.0." in shown
    assert page.selectbox(key="device").options[0] == "auto: a GPU of the cluster; a CPU if it has no GPU"


def test_a_press_uses_the_table_that_was_shown_when_it_happened(app, store):
    chosen = add_sample(store.home, "breast_cancer")
    add_dataset(store.home, b"a,diagnosis\n" + b"1,no\n2,yes\n" * 40, "other.csv")
    page = go(app, "new_run").selectbox(key="chosen_table").set_value(chosen.id).run()
    assert not launch(page).disabled
    delete_dataset(store.home, chosen.id)  # in another tab
    launch(page).click().run()
    assert not page.exception
    assert store.runs() == []
    assert "is no longer in the workspace. The page shows another table." in texts(page.warning)


def test_a_wrong_setting_is_explained_by_its_label_and_leaves_nothing_to_launch(page):
    wrong = {
        "epochs": (0, "Epochs is 0; it must be a whole number of at least 1."),
        "context_rows": (5, "Context rows while training is 5; it must be a whole number of at least 10."),
        "views": (65, "Ensemble size is 65; it must be at most 64."),
        "beta_1": (1.5, "Beta is 1.5; it must be at least 0 and below 1."),
        "seeds": ("zero", "write whole numbers"),
    }
    for key, (value, reason) in wrong.items():
        field = page.text_input(key=key) if isinstance(value, str) else page.number_input(key=key)
        usual = field.value
        field.set_value(value).run()
        assert not page.exception
        assert reason in texts(page.error)
        assert not [found for found in page.button if found.label.startswith("Launch")]
        (page.text_input(key=key) if isinstance(value, str) else page.number_input(key=key)).set_value(usual).run()
        assert not launch(page).disabled


def test_a_grid_can_be_typed_is_counted_and_launched(page, store):
    typed(page, dropouts=["0", "0.07"], learning_rates=["1e-4", "2e-4"], target_sets=["prediction_head+row_attention"])
    assert (
        "31 runs** = 3 ranks x 2 dropouts x 2 sets of target modules x 2 learning rates + zero-shot + 3 rates of full "
        "fine-tuning + 3 references" in texts(page.markdown)
    )
    launch(page).click().run()
    assert not page.exception
    runs = store.runs()
    assert len({run.name for run in runs}) == len(runs) == 31
    assert {run.settings.lora.dropout for run in runs if run.settings.strategy == "peft"} == {0, 0.07}
    assert ("prediction_head", "row_attention") in {run.settings.lora.targets for run in runs}
    assert {run.settings.target for run in runs} == {"diagnosis"}
    assert store.sweeps()[0].name.endswith("dropout 0, 0.07; rate 0.0001, 0.0002; 2 sets of target modules")


def test_over_a_hundred_runs_need_confirmation_and_over_a_thousand_are_refused(page):
    page.text_input(key="seeds").set_value(", ".join(map(str, range(30)))).run()
    assert launch(page).label == "Launch 480 runs"
    assert launch(page).disabled
    page.checkbox(key="sure").check().run()
    assert not launch(page).disabled
    page.text_input(key="seeds").set_value(", ".join(map(str, range(300)))).run()
    assert "2,400 runs (3 ranks + 2 baselines + 3 references, x 300 seeds); at most 1,000" in texts(page.error)


def test_one_button_fills_in_the_guides_values_keeps_the_ranks_and_a_second_visit_remembers(page):
    assert page.multiselect(key="learning_rates").placeholder == "2e-4, 8e-4, 3.2e-3: each rank keeps its best"
    assert page.multiselect(key="full_learning_rates").placeholder == "2e-5, 8e-5, 3.2e-4: the best is kept"
    page.pills(key="ranks").set_value([2, 16]).run()
    proposal = page.button(key="use_proposal")
    assert proposal.label == "Use the guide's values for 569 rows: dropout 0.1, and rank 4 too"
    proposal.click().run()
    assert "use_proposal" not in [found.key for found in page.button]
    run = (sweep := settings_of(page)).run
    assert (sweep.ranks, run.lora.alpha, run.lora.dropout, run.train.learning_rate) == ((2, 4, 16), None, 0.1, None)
    go(page, "data")
    page.query_params.clear()
    go(page, "new_run")
    assert settings_of(page) == sweep


def test_one_rate_for_all_ranks_is_one_click_away(page, store):
    assert launch(page).label == "Launch 16 runs"
    page.toggle(key="one_rate").set_value(True).run()
    assert page.multiselect(key="learning_rates").placeholder.startswith("2e-4 (measured")
    assert launch(page).label == "Launch 8 runs"
    page.toggle(key="one_rate").set_value(False).run()
    launch(page).click().run()
    assert not page.exception
    assert [run.rung for run in store.runs()] == [-1] * 4 + [0] * 12


def test_minutes_replace_the_ranks_and_a_time_shorter_than_the_runs_is_refused(page, store, monkeypatch):
    clock = Clock([Pace(kind_of(RUN), SIZES.size_of(RUN), 20 / SIZES.steps_of(RUN))], SIZES)
    judged = dataclasses.replace(Judged(), clock=clock)
    monkeypatch.setattr("dashboard.views.new_run.estimate_panel.estimate_panel", lambda *args, **more: judged)
    page.number_input(key="minutes").set_value(0.5).run()
    assert "ranks" not in {box.key for box in page.pills}
    assert "A run takes about 20 s here; at least 1 minute" in texts(page.error)
    assert button(page, "Find the best").disabled
    page.number_input(key="minutes").set_value(15.0).run()
    button(page, "Find the best").click().run()
    assert not page.exception
    [search] = store.searches_that_go_on()
    assert (search.seconds, search.template.lora.rank, len(search.last)) == (900, 8, 1)
    assert [run.settings.strategy for run in store.runs()] == ["inference", "linear", "boosting", "constant", "peft"]


def test_a_regression_runs_on_a_model_for_it_and_limits_are_named_before_launch(app, store, tmp_path, monkeypatch):
    family = dataclasses.replace(CATALOGUE["tabicl-v1"].family, install="pip install it")
    absent = dataclasses.replace(family, upstream=dataclasses.replace(family.upstream, distribution="no-such-package"))
    monkeypatch.setitem(CATALOGUE, "tabicl-v1", dataclasses.replace(CATALOGUE["tabicl-v1"], family=absent))
    narrow = dataclasses.replace(CATALOGUE["tabicl-mini"].family, feature_limit=3, context_limit=1000)
    monkeypatch.setitem(CATALOGUE, "tabicl-mini", dataclasses.replace(CATALOGUE["tabicl-mini"], family=narrow))
    iris, diabetes = (add_sample(store.home, name).id for name in ("iris", "diabetes"))
    go(app, "new_run", table=iris)
    assert "`pip install it`" in app.selectbox(key="chosen_model").help
    assert "takes at most 3" in texts(app.error)
    assert launch(app).disabled
    app.number_input(key="context_rows").set_value(2000).run()
    assert "takes at most 1,000 context rows" in texts(app.error)
    app.number_input(key="context_rows").set_value(None).run()
    app.selectbox(key="chosen_table").set_value(diabetes).run()
    assert "**TabICL v1**. No weights for regression" in app.selectbox(key="chosen_model").help
    app.selectbox(key="chosen_model").set_value("tabicl-v2").run()
    (tmp_path / "weights.ckpt").write_bytes(b"PK")
    app.text_input(key="checkpoint").set_value(str(tmp_path / "weights.ckpt")).run()
    assert app.selectbox(key="selection_metric").options == ["RMSE", "Mean absolute error", "R²"]
    launch(app).click().run()
    assert not app.exception
    assert {(run.settings.task, run.settings.model, run.settings.selection_metric) for run in store.runs()} == {
        ("regression", "tabicl-v2", "rmse")
    }


def test_settings_from_a_file_choose_their_table_and_split_and_odd_ones_are_refused_with_a_reason(app, store):
    sweep = seeding.sweep_settings(store.home)
    other = add_sample(store.home, "iris").id
    page = go(app, "new_run", table=other)
    text = sweep.to_toml()
    load(page, text.replace("[run.train]", "[run.train]\npatience = 9007199254740992", 1))
    assert not page.exception
    assert "patience is 9,007,199,254,740,992" in texts(page.error)
    load(page, text.replace("dropout", "drpout"))
    assert "run.lora.dropout" in texts(page.error)
    load(page, text.replace(sweep.run.dataset, "elsewhere"))
    assert "are for another table with the column 'diagnosis'" in texts(page.warning)
    split = text.replace('split_by = "random"', 'split_by = "group"\nsplit_column = "mean radius"')
    assert json.dumps("mean radius") in split
    load(page, split)
    assert not page.exception
    assert page.selectbox(key="chosen_table").value == sweep.run.dataset
    assert page.selectbox(key="chosen_target").value == "diagnosis"
    assert page.selectbox(key="chosen_split").value == "by group: mean radius"
    assert not page.error


def test_memory_and_time_are_estimated_and_runs_that_cannot_fit_need_confirmation(page, store, monkeypatch):
    assert "known after the first run" in texts(page.caption)
    seeding.finished_sweep(store)
    page.run()
    assert "from 4 finished runs like these" in texts(page.caption)
    page.session_state["what_fits"] = True
    page.run()
    what_fits = next(table for table in page.dataframe if "Largest rank" in table.value)
    assert [*what_fits.value["With"]] == ["as set", "recompute activations", "late layers only", "all of these"]
    next(box for box in page.number_input if box.label == "Memory of a GPU (GB)").set_value(24).run()
    assert "measurements of the small models on a CPU" in texts(page.caption)
    page.session_state["what_fits"] = False
    monkeypatch.setattr("dashboard.queries.memory_of_devices", lambda: ((3 * 10**8, 4 * 10**8), []))
    page.run()
    assert "the CPU has 0.4 GB in all. Lower " in texts(page.error)
    assert launch(page).disabled
    page.checkbox(key="insists").check().run()
    assert not launch(page).disabled


def test_a_short_measurement_gives_the_time_before_the_first_run(page, store, monkeypatch):
    monkeypatch.setattr("dashboard.queries.boards.worker_of", lambda home: True)
    page.run()
    (job,) = store.jobs("pace")
    assert {one["strategy"] for one in job.arguments["settings"]} == {"peft", "base-ft"}
    assert "Training time" not in texts(page.caption)
    sizes = {"train_rows": 341, "validation_rows": 114, "features": 30, "classes": 2}
    facts = {**sizes, "device": "cpu", "seconds_a_step": 0.5}
    measured = [{"settings": one, **facts} for one in job.arguments["settings"]]
    store.claim_job(1, None)
    store.finish_job(job.id, "finished", result={"measured": measured})
    page.run()
    assert not page.exception
    assert "from a measurement of a few steps on this machine" in texts(page.caption)
    assert "of training" in texts(page.markdown)
    page.pills(key="ranks").set_value([16]).run()
    assert len(store.jobs("pace")) == 1, "another rank is no other kind of work"


DRAW = np.random.default_rng(0)
ORDERS = "day,customer_id,city,amount,returned\n" + "".join(
    f"2024-{i // 20 + 1:02}-{i % 20 + 1:02},{1000 + DRAW.integers(60)},{'Rome' if i % 2 else 'Oslo'},{DRAW.normal():.9f},"
    f"{'yes' if i % 12 == 0 else 'no'}\n"
    for i in range(240)
)


def test_the_answer_about_the_split_on_data_is_that_of_new_run_and_impossible_splits_stop_it(app, store):
    add_dataset(store.home, ORDERS.encode(), "orders.csv")
    app.query_params["target"] = "returned"
    app.run()
    asked = app.radio(key="chosen_split")
    options = ["at random", "by time: day", "by group: customer_id"]
    assert [option.replace("\\", "") for option in asked.options] == options
    asked.set_value("by time: day").run()
    button(app, "Next: choose a model").click().run()
    go(app, "new_run")
    assert app.selectbox(key="chosen_split").value == "by time: day"
    assert "Split by time on 'day': trains on 144 rows up to 2024-08-04, validates on 48 rows" in texts(app.caption)
    launch(app).click().run()
    assert {(run.settings.split_by, run.settings.split_column) for run in store.runs()} == {("time", "day")}
    assert store.sweeps()[0].name.endswith("; split by time: day")
    go(app, "new_run", target="returned")
    app.selectbox(key="chosen_split").set_value("by group: city").run()
    assert launch(app).disabled
    assert "has 2 different values; a split by group needs at least 3" in texts(app.error)
    app.selectbox(key="chosen_split").set_value("by group: amount").run()
    assert (settings_of(app).run.split_by, settings_of(app).run.split_column) == ("group", "amount")
    assert "Each row has its own 'amount'" in texts(app.caption)


def test_a_rare_class_is_balanced_and_rare_classes_are_merged_with_one_click_on_both_pages(app, store):
    table = add_dataset(store.home, ORDERS.encode(), "orders.csv").id
    advice = "rank by average precision, with balanced class weights"
    go(app, "data", table=table, target="returned")
    assert advice in texts(app.markdown)
    assert advice in texts(go(app, "new_run").caption)
    go(app, "data").button(key="balance").click().run()
    assert advice not in texts(app.markdown)
    go(app, "new_run")
    assert settings_of(app).run.selection_metric == "average_precision" and advice not in texts(app.caption)
    app.selectbox(key="selection_metric").set_value("log_loss").run()
    assert advice in texts(app.caption)
    assert settings_of(app).run.train.class_weights == "balanced"
    kinds = "".join(f"{i},{name}\n" for i, name in enumerate([*"xxxxxyyyy"] * 8 + [*"abcd"] * 2))
    merged = add_dataset(store.home, f"size,kind\n{kinds}".encode(), "kinds.csv").id
    rare = "4 classes of 'kind' "
    go(app, "data").selectbox(key="chosen_table").set_value(merged).run()
    app.selectbox(key="chosen_target").set_value("kind").run()
    assert rare in texts(app.markdown)
    app.button(key="group_rare").click().run()
    assert rare not in texts(app.markdown)
    go(app, "new_run")
    assert settings_of(app).run.group_rare_classes == 10
    app.button(key="group_rare").click().run()
    assert settings_of(app).run.group_rare_classes == 0 and rare in texts(app.caption)
