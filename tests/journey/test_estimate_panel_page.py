"""The estimate on New run, and next to the measurement on Live, without a browser."""

import re

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


def test_a_time_limit_below_one_step_is_reported_before_launch(app, store):
    add_sample(store.home, "breast_cancer")
    seeding.finished_sweep(store)
    new_run(app)
    app.number_input(key="time_limit").set_value(0.01).run()
    warnings = " ".join(str(found.value) for found in app.warning).replace("\\", "")
    assert "The time limit of 0.01 s is shorter than one step, which takes about 0.2" in warnings
    assert not next(found for found in app.button if found.label.startswith("Launch")).disabled


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


def test_what_fits_is_shown_for_a_gpu_of_the_size_that_is_entered(app, store):
    add_sample(store.home, "breast_cancer")
    app.session_state["what_fits"] = True
    new_run(app)

    def lines():
        return next(table.value for table in app.dataframe if "Largest rank" in table.value)

    assert [*lines()["With"]] == ["as set", "recompute activations", "late layers only", "all of these"]
    next(box for box in app.number_input if box.label == "Memory of a GPU (GB)").set_value(1).run()
    assert "16-bit numbers (bf16)" in [*lines()["With"]]
    assert lines()["Used at most (GB)"].iloc[0] > lines()["Used at most (GB)"].iloc[-1]
    assert "not on a GPU" in captions(app)
