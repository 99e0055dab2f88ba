"""The pages without a browser: with nothing, with one table, with one run, with a sweep that goes on, and with odd input."""

import subprocess
import sys

import pytest
import seeding

from tabtune_core.data.datasets import add_dataset, add_sample, list_datasets
from tabtune_core.events import Note
from tabtune_core.settings import RunSettings

PAGES = ("data", "new_run", "live", "leaderboard", "compare", "adapters")
RUN_PAGES = ("live", "leaderboard", "compare", "adapters")
CSV = b"name,age,city,bought\n" + b"".join(
    b"p%d,%d,%s,%s\n" % (i, 20 + i % 40, b"Rome" if i % 3 else b"", b"yes" if i % 2 else b"no") for i in range(60)
)


def go(app, name, **query):
    app.run()
    for key, value in query.items():
        app.query_params[key] = value
    return app.switch_page(f"views/{name}.py").run()


def texts(elements):
    return " ".join(str(element.value) for element in elements)


def button(app, label):
    return next(found for found in app.button if found.label == label)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_with_nothing_says_what_to_do_next(app, name):
    go(app, name)
    assert not app.exception
    assert app.title
    assert len(app.button) >= 1


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_a_finished_run(app, store, name):
    sweep = seeding.sweep_settings(store.home, ranks=(2,))
    _, runs = seeding.queue(store, sweep)
    for run in runs:
        seeding.finish(run)
    go(app, name)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_a_sweep_that_goes_on(app, store, name):
    seeding.finished_sweep(store, seeds=(0, 1))
    seeding.going_sweep(store)
    go(app, name)
    assert not app.exception


@pytest.mark.parametrize("name", RUN_PAGES)
def test_an_address_with_an_unknown_id_is_no_crash(app, store, name):
    seeding.finished_sweep(store)
    go(app, name, sweep="../../etc/passwd", run="<script>", board="no such sweep", metric="no such metric", model="?", dropout="-7")
    assert not app.exception


def test_one_click_loads_the_sample_and_proposes_its_target(app, home):
    app.run()
    button(app, "Use the sample table").click().run()
    assert not app.exception
    assert [dataset.name for dataset in list_datasets(home)] == ["breast_cancer.csv"]
    assert app.selectbox(key="chosen_target").value == "diagnosis"


def test_an_upload_is_read_and_chosen(app, home):
    add_sample(home, "iris")
    app.run()
    app.file_uploader[0].upload("people.csv", CSV).run()
    assert not app.exception
    assert next(dataset for dataset in list_datasets(home) if dataset.name == "people.csv").rows == 60
    assert app.selectbox(key="chosen_target").value == "bought"


def test_an_unreadable_upload_says_why_and_loses_nothing(app, home):
    add_sample(home, "iris")
    app.run()
    app.file_uploader[0].upload("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(500)).run()
    assert not app.exception
    assert "picture\\.csv was not added" in texts(app.error)
    assert [dataset.name for dataset in list_datasets(home)] == ["iris.csv"]


def test_a_number_as_target_offers_the_split_at_the_median(app, home):
    add_sample(home, "diabetes")
    app.run()
    assert "not a class" in texts(app.error)
    next(toggle for toggle in app.toggle if "median" in toggle.label).set_value(True).run()
    assert not app.error
    go(app, "new_run")
    assert "Split at the median" in texts(app.caption)


def test_an_open_question_reads_the_file_again(app, home):
    ambiguous = "\n".join(["day,label", *(f"0{i % 9 + 1}/0{i % 7 + 1}/2024,{'ab'[i % 2]}" for i in range(40))])
    dataset = add_dataset(home, ambiguous.encode(), "days.csv")
    assert [question.field for question in dataset.questions] == ["day_first"]
    app.run()
    app.radio[0].set_value("false").run()
    button(app, "Read the file again with these answers").click().run()
    assert not app.exception
    assert [found.reading.day_first for found in list_datasets(home)] == [False]


def test_launch_queues_every_rank_and_both_baselines(app, store):
    add_sample(store.home, "breast_cancer")
    go(app, "new_run")
    app.pills(key="ranks").set_value([2, 16]).run()
    assert "Launch 4 runs" in [found.label for found in app.button]
    button(app, "Launch 4 runs").click().run()
    assert not app.exception
    assert [run.name for run in store.runs()] == ["Zero-shot", "Full fine-tuning", "LoRA r=2", "LoRA r=16"]
    assert {run.settings.target for run in store.runs()} == {"diagnosis"}


def test_a_target_that_cannot_be_predicted_is_explained_and_mended_with_one_click(app, store):
    add_sample(store.home, "diabetes")
    go(app, "new_run")
    assert "not a class" in texts(app.error)
    assert next(found for found in app.button if found.label.startswith("Launch")).disabled
    button(app, "Split at the median into two classes").click().run()
    assert not app.error
    button(app, "Launch 5 runs").click().run()
    assert not app.exception
    assert all(run.settings.split_at_median for run in store.runs())
    assert len(store.runs()) == 5


def test_a_wrong_setting_is_explained_and_leaves_nothing_to_launch(app, store):
    add_sample(store.home, "breast_cancer")
    go(app, "new_run")
    app.text_input(key="seeds").set_value("zero").run()
    assert "write whole numbers" in texts(app.error)
    assert not [found for found in app.button if found.label.startswith("Launch")]


def test_settings_as_text_come_back_into_the_form(app, store):
    sweep = seeding.sweep_settings(store.home, ranks=(3, 32))
    go(app, "new_run")
    app.text_area(key="pasted_toml").set_value(sweep.to_toml().replace("dropout = 0.05", "dropout = 0.3")).run()
    button(app, "Put them into the form").click().run()
    assert not app.exception
    assert app.pills(key="ranks").value == [3, 32]
    assert app.slider(key="dropout").value == 0.3


def test_settings_with_an_unknown_name_suggest_the_nearest(app, store):
    sweep = seeding.sweep_settings(store.home)
    go(app, "new_run")
    app.text_area(key="pasted_toml").set_value(sweep.to_toml().replace("dropout", "drpout")).run()
    button(app, "Put them into the form").click().run()
    assert "run.lora.dropout" in texts(app.error)


def test_stop_is_asked_of_the_running_run(app, store):
    _, runs = seeding.going_sweep(store)
    go(app, "live")
    button(app, "Stop and keep the best").click().run()
    assert store.wish(runs[3].id) == "stop"
    assert store.run(runs[4].id).status == "queued"


def test_cancel_all_reaches_what_runs_and_what_waits(app, store):
    _, runs = seeding.going_sweep(store)
    go(app, "live")
    button(app, "Cancel all").click().run()
    assert store.wish(runs[3].id) == "cancel"
    assert store.run(runs[4].id).status == "cancelled"


def test_a_failed_run_says_why_and_runs_again(app, store):
    sweep, runs = seeding.going_sweep(store)
    go(app, "live")
    app.selectbox(key=f"one_run_{sweep}").set_value(runs[2].id).run()
    assert "more memory than there is" in texts(app.error)
    button(app, "Run again").click().run()
    assert store.run(runs[2].id).retried_as is not None


def test_a_diverged_run_says_what_to_change(app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    seeding.finish(runs[0])
    seeding.start(runs[1])
    runs[1].tell(Note("The loss was not finite at step 3.", "warning"))
    runs[1].end("diverged")
    go(app, "live", sweep=sweep)
    app.selectbox(key=f"one_run_{sweep}").set_value(runs[1].id).run()
    assert "Halve the learning rate" in texts(app.warning)


def test_live_opens_the_sweep_of_its_address(app, store):
    first = seeding.finished_sweep(store)
    seeding.finished_sweep(store)
    go(app, "live", sweep=first)
    assert app.selectbox(key="chosen_sweep").value == first


def test_the_leaderboard_ranks_by_the_chosen_metric(app, store):
    seeding.finished_sweep(store)
    go(app, "leaderboard")
    assert app.dataframe[0].value["Run"].iloc[-1] == "Zero-shot"
    app.selectbox(key="chosen_metric").set_value("ece").run()
    assert not app.exception
    assert app.dataframe[0].value["Place"].tolist() == [1] * 5


def test_the_leaderboard_opens_with_what_rank_buys(app, store):
    seeding.finished_sweep(store, seeds=(0, 1))
    go(app, "leaderboard", metric="accuracy")
    said = texts(app.markdown).replace("\\", "")
    assert "r=4 is more than one standard error better than zero-shot on these 114 validation rows: +0.0285 ± 0.0000 accuracy." in said
    assert "no smaller rank is within one standard error of it; against r=2 it costs +3.3 MB, +0.0 s and +132 kB" in said
    assert "paired differences over 2 seeds" in texts(app.caption).replace("\\", "")
    shown = app.dataframe[0].value
    tied = shown.groupby("Run")["Within noise of the best"].first()
    assert tied[["LoRA r=2 seed 0", "LoRA r=4 seed 0", "Zero-shot seed 1"]].tolist() == ["no", "✓ yes", "no"]
    assert shown["± gain"].notna().all()


def test_all_runs_together_have_no_recommendation(app, store):
    seeding.finished_sweep(store, seeds=(0, 1))
    go(app, "leaderboard")
    app.selectbox(key="chosen_board").set_value("all").run()
    assert not app.exception
    assert "share the first place" in texts(app.markdown)
    assert "± gain" not in app.dataframe[0].value


def test_the_leaderboard_says_no_gain(app, store):
    _, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    for run in runs:
        seeding.start(run)
        run.end(best_step=0)
    go(app, "leaderboard")
    assert "No gain over zero-shot" in texts(app.caption)
    assert "LoRA r=2" in texts(app.caption)


def test_compare_shows_only_the_settings_that_differ(app, store):
    seeding.finished_sweep(store)
    go(app, "compare")
    settings = set(app.dataframe[-1].value["Setting"])
    assert {"strategy", "lora.rank"} <= settings
    assert "dataset" not in settings


def test_the_adapter_page_reads_the_readme_out_of_the_package(app, store):
    seeding.finished_sweep(store)
    go(app, "adapters")
    assert "made-up adapter" in texts(app.markdown)
    assert {"adapter_model.safetensors", "tabtune.json", "README.md"} == set(app.dataframe[0].value["File"])


def test_a_damaged_adapter_is_said(app, store):
    seeding.finished_sweep(store)
    for run in store.runs():
        if run.settings.strategy == "peft":
            (store.run_dir(run.id) / "adapter.zip").write_bytes(b"no zip")
    go(app, "adapters")
    assert "damaged" in texts(app.error)


def test_names_out_of_a_file_do_not_turn_into_markup(app, home):
    add_dataset(
        home,
        b'":red[x] **bold** [a](http://b)",label\n' + b"".join(b"%d,%s\n" % (i % 7, b"ab"[i % 2 : i % 2 + 1]) for i in range(40)),
        "odd.csv",
    )
    app.run()
    assert not app.exception


def test_no_page_loads_torch(home):
    """torch would cost every visit seconds and the server hundreds of megabytes."""
    code = (
        "import sys; from streamlit.testing.v1 import AppTest; import seeding; from pathlib import Path;"
        "from tabtune_core.runs.store import RunStore; import dashboard.server, dashboard.__main__;"
        f"seeding.finished_sweep(RunStore(Path({str(home)!r})));"
        "app = AppTest.from_file('dashboard/app.py', default_timeout=30).run();"
        f"[app.switch_page(f'views/{{name}}.py').run() for name in {PAGES!r}];"
        "assert not app.exception; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    root = seeding.__file__.rsplit("/tests/", 1)[0]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": f"{root}:{root}/tests", "TABTUNE_HOME": str(home)},
                           capture_output=True, text=True, timeout=120)  # fmt: skip
    assert found.returncode == 0, found.stderr[-2000:]


def test_a_run_of_a_table_that_is_gone_still_shows(app, store):
    settings = RunSettings(dataset="0" * 64, target="gone")
    store.add_sweep([settings], "orphan")
    for name in RUN_PAGES:
        go(app, name)
        assert not app.exception
