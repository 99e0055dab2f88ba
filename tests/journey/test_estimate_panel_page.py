"""The estimate on New run, and next to the measurement on Live, without a browser."""

import re

import pytest
import seeding

from tabtune_core.data.datasets import add_sample


def new_run(app):
    app.run()
    app.query_params["model"] = "tabicl-mini"
    return app.switch_page("views/new_run/page.py").run()


def captions(app):
    return " ".join(str(caption.value) for caption in app.caption)


def first_look(app):
    return [button for button in app.button if "for a first look: about" in button.label]


def badge(app):
    return next(
        str(found.value)
        for found in app.markdown
        if "-badge[" in str(found.value) and "at most, of" in str(found.value)
    )


def test_a_plan_for_a_smaller_gpu_turns_fits_into_exceeds(app, store):
    add_sample(store.home, "breast_cancer")
    new_run(app)
    assert not app.exception
    app.number_input(key="planned_gigabytes").set_value(80.0).run()
    assert "fits" in badge(app)
    assert "80.0 GB on a GPU of 80 GB" in badge(app)
    app.number_input(key="context_rows").set_value(100_000)
    app.number_input(key="planned_gigabytes").set_value(1.0).run()
    assert "1.0 GB on a GPU of 1 GB" in badge(app)
    assert not app.exception


@pytest.mark.parametrize("gigabytes", [0.0, -3.0, 1e300])
def test_a_plan_for_an_impossible_gpu_is_explained(app, store, gigabytes):
    add_sample(store.home, "breast_cancer")
    new_run(app)
    app.number_input(key="planned_gigabytes").set_value(gigabytes).run()
    assert not app.exception
    assert [str(found.value) for found in app.error] == [
        "A GPU has 1 to 10,000 GB. The estimate is for the device chosen above."
    ]
    assert "Disk: about" in captions(app)


def test_time_is_unknown_before_the_first_run_and_then_comes_from_it(app, store):
    add_sample(store.home, "breast_cancer")
    new_run(app)
    assert "not known before a run like each of these has finished" in captions(app)
    assert re.search(
        r"Training takes, over the loaded model: Full fine-tuning \d+ to \d+ MB; LoRA r=2 \d+ to \d+ MB", captions(app)
    )
    seeding.finished_sweep(store)
    app.run()
    assert re.search(r"Full fine-tuning about \d+ MB; LoRA r=2 about \d+ MB", captions(app))
    assert "in all if nothing stops early, from 4 finished runs like these" in captions(app)
    assert not first_look(app)
    app.session_state["length"] = "steps"
    app.run().number_input(key="steps").set_value(1_000_000).run()
    (shorter,) = first_look(app)
    shorter.click().run()
    assert app.number_input(key="steps").value == 100
    assert not first_look(app)


def test_time_is_not_estimated_from_runs_of_other_parts(app, store):
    add_sample(store.home, "breast_cancer")
    seeding.finished_sweep(store)
    new_run(app)
    assert "Training takes about" in captions(app)
    app.multiselect(key="targets").set_value(["late_layers"]).run()
    assert "Training takes about" not in captions(app)
    assert "Training time: not known before a run like each of these has finished" in captions(app)


def test_a_time_limit_below_one_step_is_reported_before_launch(app, store):
    add_sample(store.home, "breast_cancer")
    seeding.finished_sweep(store)
    new_run(app)
    app.number_input(key="time_limit").set_value(0.01).run()
    warnings = " ".join(str(found.value) for found in app.warning).replace("\\", "")
    assert "The time limit of 0.01 s is shorter than one step, which takes about 0.2" in warnings
    assert not next(found for found in app.button if found.label.startswith("Launch")).disabled


def test_a_time_limit_of_zero_is_refused_before_launch(app, store):
    add_sample(store.home, "breast_cancer")
    new_run(app)
    app.number_input(key="time_limit").set_value(0.0).run()
    errors = " ".join(str(found.value) for found in app.error).replace("\\", "")
    assert "Time limit of a run (s) is 0.0; it must be above 0. It is in seconds; leave it out for no limit." in errors
    assert not [found for found in app.button if found.label.startswith("Launch") and not found.disabled]


def launch_is_open(app):
    return not next(found for found in app.button if found.label.startswith("Launch")).disabled


def test_a_run_that_cannot_fit_in_memory_starts_only_after_confirmation(app, store, monkeypatch):
    monkeypatch.setattr("dashboard.queries.memory_of_devices", lambda: ((10**9, 12 * 10**8), []))
    add_sample(store.home, "breast_cancer")
    new_run(app)
    assert launch_is_open(app)
    monkeypatch.setattr("dashboard.queries.memory_of_devices", lambda: ((3 * 10**8, 4 * 10**8), []))
    app.run()
    errors = " ".join(str(found.value) for found in app.error).replace("\\", "")
    assert "the CPU has 0.4 GB in all. Lower " in errors
    assert not launch_is_open(app)
    app.checkbox(key="insists").check().run()
    assert launch_is_open(app)


def test_a_run_that_does_not_fit_on_the_disk_starts_only_after_confirmation(app, store, monkeypatch):
    add_sample(store.home, "breast_cancer")
    monkeypatch.setattr("tabtune_core.training.memory.fitting.disk_of", lambda path: (10**6, 10**9))
    new_run(app)
    errors = " ".join(str(found.value) for found in app.error).replace("\\", "")
    assert "are free. Delete runs, or start fewer; full fine-tuning takes most." in errors
    assert "Disk: about" in " ".join(str(found.value) for found in app.caption)
    assert not launch_is_open(app)
    app.checkbox(key="insists").check().run()
    assert launch_is_open(app)
