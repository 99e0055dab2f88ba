"""The estimate on New run, and beside the measurement on Live, without a browser."""

import seeding

from dashboard.form.estimate_panel import judge
from tabtune_core.data.datasets import add_sample


def new_run(app):
    app.run()
    app.query_params["model"] = "tabicl-mini"
    return app.switch_page("views/new_run.py").run()


def captions(app):
    return " ".join(str(caption.value) for caption in app.caption)


def badge(app):
    return next(str(found.value) for found in app.markdown if "-badge[" in str(found.value) and "at most, of" in str(found.value))


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


def test_time_is_unknown_before_the_first_run_and_then_comes_from_it(app, store):
    add_sample(store.home, "breast_cancer")
    new_run(app)
    assert "known after the first run" in captions(app)
    seeding.finished_sweep(store)
    app.run()
    assert "Training takes about" in captions(app)


def test_judgement_leaves_room_for_the_error_of_the_estimate():
    assert [judge(need, 100) for need in (80, 81, 100, 101)] == ["fits", "tight", "tight", "exceeds"]
