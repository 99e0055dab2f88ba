"""The page New run: grids, proposals, warnings, parts and texts."""

import pytest
from page_steps import go

from dashboard.views.new_run import form_widgets
from tabtune_core.data.datasets import add_dataset, add_sample, delete_dataset
from tabtune_core.execution.cluster import Cluster, ClusterNode, write_cluster
from tabtune_core.models import checkpoints
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import SweepSettings


@pytest.fixture
def page(app, store):
    """The page on a table of 569 rows."""
    add_sample(store.home, "breast_cancer")
    return go(app, "new_run")


def texts(elements):
    return " ".join(str(element.value) for element in elements).replace("\\", "")


def test_the_machines_of_a_cluster_are_listed_beside_the_device_choice(app, store):
    write_cluster(
        store.home,
        Cluster((ClusterNode("a", 8, ("NVIDIA L4",) * 2), ClusterNode("b", 4, (), "Node b has torch 2.8.0.")), ""),
    )
    add_sample(store.home, "breast_cancer")
    app.run()
    page = app.switch_page("views/new_run/page.py").run()
    assert not page.exception
    said = texts(page.caption)
    assert "Runs go to the nodes of a Ray cluster: 1 node, 8 CPUs, 2 GPUs (2 × NVIDIA L4)." in said
    assert "Node b has torch 2.8.0." in said
    assert "Free memory on a node of the cluster: not known." in said
    assert (
        next(box for box in page.selectbox if box.key == "device").options[0]
        == "auto: a GPU of the cluster; a CPU if it has no GPU"
    )


def test_a_press_uses_the_table_that_was_shown_when_it_happened(app, store):
    chosen, other = (
        add_sample(store.home, "breast_cancer"),
        add_dataset(store.home, b"a,diagnosis\n" + b"1,no\n2,yes\n" * 40, "other.csv"),
    )
    page = go(app, "new_run").selectbox(key="chosen_table").set_value(chosen.id).run()
    assert not launch(page).disabled
    delete_dataset(store.home, chosen.id)  # in another tab
    launch(page).click().run()
    assert not page.exception
    assert store.runs() == []
    assert "The table that was chosen here is no longer in the workspace. The page shows another table." in texts(
        page.warning
    )
    delete_dataset(store.home, other.id)
    page.run()
    assert "is no longer in the workspace." in texts(page.warning)
    assert "Add a table first" in texts(page.info)


def launch(page):
    return next(found for found in page.button if found.label.startswith("Launch"))


def typed(page, **values):
    """Types values into lists; AppTest knows only listed options."""
    for key, given in values.items():
        box = page.multiselect(key=key)
        box.options.extend(value for value in given if value not in box.options)
        box.set_value(given)
    page.run()
    assert not page.exception


def keys_in(block):
    """The keys of all widgets in a part of the page."""
    kids = getattr(block, "children", {}).values()
    found = {block.key} if getattr(block, "key", None) else set()
    return found.union(*map(keys_in, kids))


@pytest.mark.parametrize(
    "value",
    ["inf", "-1e999", "nan", "1e30", "", "text", "9" * 5000, ["2", "1e999"], ["steps", ""]],
    ids=lambda value: repr(value)[:16],
)
def test_an_address_with_values_that_no_field_can_hold_opens_the_form(app, store, value):
    add_sample(store.home, "breast_cancer")
    page = go(
        app, "new_run", **dict.fromkeys(("length", "epochs", "context_rows", "views", *form_widgets.FIELDS), value)
    )
    assert not page.exception
    assert page.number_input(key="epochs").value == form_widgets.DEFAULTS["epochs"]
    assert not page.query_params.keys() & {"epochs", "context_rows", "length"}


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("epochs", 0, "Epochs is 0; it must be a whole number of at least 1."),
        ("context_rows", 5, "Context rows while training is 5; it must be a whole number of at least 10."),
        ("views", 65, "Ensemble size is 65; it must be at most 64."),
        ("beta_1", 1.5, "Beta is 1.5; it must be at least 0 and below 1."),
        ("lr_ratio", -1.0, "Rate of B against A (LoRA+) is -1.0; it must be above 0."),
    ],
)
def test_a_number_out_of_range_is_explained_by_its_label_and_nothing_can_be_launched(page, key, value, said):
    page.number_input(key=key).set_value(value).run()
    assert not page.exception
    assert said in texts(page.error)
    assert not [found for found in page.button if found.label.startswith("Launch")]


def test_a_grid_can_be_typed_is_counted_and_launched(page, store):
    typed(page, dropouts=["0", "0.07"], learning_rates=["1e-4", "2e-4"], target_sets=["prediction_head+row_attention"])
    assert (
        "31 runs** = 3 ranks x 2 dropouts x 2 sets of target modules x 2 learning rates + zero-shot + 3 rates of full "
        "fine-tuning + 3 references" in texts(page.markdown)
    )
    assert launch(page).label == "Launch 31 runs"
    launch(page).click().run()
    assert not page.exception
    runs = store.runs()
    assert len({run.name for run in runs}) == len(runs) == 31
    assert {run.settings.lora.dropout for run in runs if run.settings.strategy == "peft"} == {0, 0.07}
    assert ("prediction_head", "row_attention") in {run.settings.lora.targets for run in runs}
    assert (
        store.sweeps()[0].name
        == "breast_cancer.csv: TabICL mini, r = 2, 4, 8; dropout 0, 0.07; rate 0.0001, 0.0002; 2 sets of target modules"
    )


def test_over_a_hundred_runs_need_confirmation_and_over_a_thousand_are_refused(page):
    page.text_input(key="seeds").set_value(", ".join(map(str, range(30)))).run()
    assert launch(page).label == "Launch 480 runs"
    assert launch(page).disabled
    page.checkbox(key="sure").check().run()
    assert not launch(page).disabled
    page.text_input(key="seeds").set_value(", ".join(map(str, range(300)))).run()
    assert "The sweep has 2,400 runs (3 ranks + 2 baselines + 3 references, x 300 seeds); at most 1,000" in texts(
        page.error
    )


def test_one_button_fills_in_the_guides_values_and_a_second_visit_remembers_them(page):
    card = get_card("tabicl-mini")
    assert page.multiselect(key="learning_rates").placeholder == "2e-4, 8e-4, 3.2e-3: each rank keeps its best"
    assert page.multiselect(key="full_learning_rates").placeholder == card.told_rate("classification", "base-ft")
    proposal = page.button(key="use_proposal")
    assert proposal.label == "Use the guide's values for 569 rows: rank 4, dropout 0.1"
    assert "small data, up to 10,000 rows" in proposal.help
    proposal.click().run()
    assert "use_proposal" not in [found.key for found in page.button]
    run = (sweep := SweepSettings.from_toml(page.code[0].value)).run
    assert (sweep.ranks, run.lora.alpha, run.lora.dropout, run.train.learning_rate) == ((4,), None, 0.1, None)
    go(page, "data")
    page.query_params.clear()
    go(page, "new_run")
    assert SweepSettings.from_toml(page.code[0].value) == sweep


def test_one_rate_for_all_ranks_is_one_click_away(page, store):
    assert launch(page).label == "Launch 16 runs"
    page.toggle(key="one_rate").set_value(True).run()
    assert page.multiselect(key="learning_rates").placeholder.startswith("2e-4 (measured")
    assert launch(page).label == "Launch 8 runs"
    page.toggle(key="one_rate").set_value(False).run()
    launch(page).click().run()
    assert not page.exception
    assert [run.rung for run in store.runs()] == [-1] * 4 + [0] * 12


def test_weights_that_cannot_be_downloaded_stop_the_launch_before_anything_is_queued(page, store, monkeypatch):
    from urllib.error import URLError

    monkeypatch.setattr(checkpoints, "is_here", lambda weights: False)
    monkeypatch.setattr(
        checkpoints, "urlopen", lambda *args, **more: (_ for _ in ()).throw(URLError(OSError("no route")))
    )
    page.selectbox(key="chosen_model").set_value("tabicl-v2").run()
    assert not launch(page).disabled  # no server is asked before a person launches
    launch(page).click().run()
    assert not page.exception
    assert "could not be downloaded (OSError: no route)" in texts(page.error)
    assert store.runs() == []


def test_a_short_measurement_gives_the_time_before_the_first_run(page, store, monkeypatch):
    monkeypatch.setattr("dashboard.queries.boards.worker_of", lambda home: True)
    page.run()
    (job,) = store.jobs("pace")
    assert {one["strategy"] for one in job.arguments["settings"]} == {"peft", "base-ft"}
    assert "Training time" not in texts(page.caption)
    facts = {
        "train_rows": 341,
        "validation_rows": 114,
        "features": 30,
        "classes": 2,
        "device": "cpu",
        "seconds_a_step": 0.5,
    }
    measured = [{"settings": one, **facts} for one in job.arguments["settings"]]
    store.claim_job(1, None)
    store.finish_job(job.id, "finished", result={"measured": measured})
    page.run()
    assert not page.exception
    assert "from a measurement of a few steps on this machine" in texts(page.caption)
    assert "of training" in texts(page.markdown)
    assert len(store.jobs("pace")) == 1
    page.pills(key="ranks").set_value([16]).run()
    assert len(store.jobs("pace")) == 1, "another rank is no other kind of work"
