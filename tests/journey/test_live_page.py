"""The Live page: the queue, retries with one change, remedies for failures, shared links, and the shown run."""

import json

import pytest
import seeding
from page_steps import button, go, texts

from dashboard import queries
from dashboard.queries import workspace
from tabtune_core.events import RunFailed
from tabtune_core.execution import lock


@pytest.fixture
def live(app):
    return lambda **query: go(app, "live", **query)


def opened(app, key):
    app.session_state[key] = True
    return app.run()


def test_the_queue_spans_all_sweeps_and_runs_can_be_moved_and_removed(live, app, store):
    going, _ = seeding.going_sweep(store)
    _, other = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(16,)), name="the second")
    live(sweep=going)
    assert "Queue: 4 runs waiting, 3 of them in other sweeps" in texts(app.caption)
    opened(app, "queue")
    assert "Queue" in [behind.label for behind in app.expander], "another label would close it"
    assert not app.exception
    assert [value for value in texts(app.markdown).split("**") if value in ("LoRA r=8", "LoRA r=16")] == [
        "LoRA r=8",
        "LoRA r=16",
    ]
    assert texts(app.markdown).count("the second") == 3
    app.button(key=f"front_{other[2].id}").click().run()
    assert store.runs(status="queued")[0].id == other[2].id
    app.button(key=f"remove_{other[0].id}").click().run()
    assert store.run(other[0].id).status == "cancelled"


def test_a_run_out_of_memory_offers_a_smaller_context_with_one_click(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    seeding.finish(runs[0])
    seeding.start(runs[1])
    runs[1].tell(RunFailed("There was not enough memory.", "OutOfMemoryError"))
    store.finish(runs[1].id, "failed", error="There was not enough memory.")
    live(sweep=sweep, run=runs[1].id)
    assert "used 256 context rows" in texts(app.warning)
    next(found for found in app.button if found.label == "Run again with 128 context rows").click().run()
    new = store.run(store.run(runs[1].id).retried_as)
    assert (new.settings.train.context_rows, new.name) == (128, "Full fine-tuning, 128 context rows")


def test_an_interrupted_run_is_resumed_with_a_click(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    seeding.start(runs[0])
    runs[0].step(1)
    store.finish(runs[0].id, "interrupted", error="The run's process was killed (signal 9).")
    live(sweep=sweep, run=runs[0].id)
    assert "was killed" in texts(app.error)
    assert "has no saved state" in app.button(key=f"resume_{runs[0].id}").help
    app.button(key=f"resume_{runs[0].id}").click().run()
    assert not app.exception
    run = store.run(runs[0].id)
    assert (run.status, run.resumptions, run.retried_as) == ("queued", 1, None)
    assert not [found for found in app.button if found.label == "Resume"]
    assert app.dataframe[0].value["Status"].tolist()[0] == "○ queued, resumed"


def shown(app):
    """The run shown in detail, by the key of its button."""
    return next(button.key.removeprefix("form_") for button in app.button if button.label == "Change and queue")


def test_the_running_run_is_followed_until_one_is_chosen(live, app, store):
    sweep, runs = seeding.going_sweep(store)
    box = f"one_run_{sweep}"
    live(sweep=sweep)
    assert shown(app) == runs[3].id
    runs[3].end()
    seeding.start(runs[4])
    app.run()
    assert shown(app) == runs[4].id
    assert (app.selectbox(key=box).value, "run" in app.query_params) == ("follow", False)
    app.selectbox(key=box).set_value(runs[0].id).run()
    app.run()
    assert shown(app) == runs[0].id
    assert app.query_params["run"] == runs[0].id
    app.selectbox(key=box).set_value("follow").run()
    assert shown(app) == runs[4].id


def test_runs_can_be_drawn_as_means_over_seeds_with_a_band(live, app, store):
    sweep = seeding.finished_sweep(store, seeds=(0, 1), ranks=(2, 4))
    live(sweep=sweep)
    app.toggle(key=f"live_means_{sweep}").set_value(True).run()
    assert not app.exception
    named = {trace.get("name") for trace in everything_drawn(app, "Training loss")}
    assert named == {None, "Full fine-tuning · mean of 2", "LoRA r=2 · mean of 2", "LoRA r=4 · mean of 2"}
    assert app.query_params["means"] == "True"
    assert "bands go from the lowest to the highest run" in texts(app.caption)


def everything_drawn(app, name):
    """The lines of a chart, including those that were sent separately once."""
    sent = [json.loads(found.proto.json) for found in app.get("bidi_component")]
    chart = next(
        one
        for one in sent
        if name
        in json.loads(one.get("figure", "{}")).get("layout", {}).get("yaxis", {}).get("title", {}).get("text", "")
    )
    settled = next((json.loads(one["traces"]) for one in sent if one.get("stamp") == chart["settled"]), [])
    return json.loads(chart["figure"])["data"] + settled


def test_a_failed_sweep_says_why_on_top_and_links_to_its_settings(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2, 16), seeds=(0, 3)))
    for run in runs:
        seeding.start(run)
        store.finish(run.id, "failed", error="There is no device cuda:7.")
    live(sweep=sweep)
    assert "8 of 8 runs failed" in texts(app.error)
    assert texts(app.error).count("There is no device cuda:7.") == 2  # once on top and once at the run
    app.button(key=f"mend_{sweep}").click().run()
    assert not app.exception
    assert app.title[0].value == "New run"
    assert app.session_state["ranks"] == [2, 16]
    assert app.session_state["seeds"] == "0, 3"


def test_a_sweep_deleted_in_another_tab_while_drawn_is_replaced_by_the_next(live, app, store, monkeypatch):
    kept, gone = seeding.finished_sweep(store), seeding.finished_sweep(store)
    real = queries.watched

    def too_late(*asked):
        for run in store.runs(gone) if gone in {sweep.id for sweep in store.sweeps()} else ():
            store.delete(run.id)
        return real(*asked)

    monkeypatch.setattr(queries, "watched", too_late)
    live(sweep=gone)
    assert not app.exception
    assert app.selectbox(key="chosen_sweep").value == kept


def test_stop_reaches_the_running_run_cancel_all_the_queued_ones_too_and_a_failed_run_can_be_retried(live, app, store):
    sweep, runs = seeding.going_sweep(store)
    live()
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


def test_a_worker_that_ends_or_was_stopped_is_reported_and_can_be_started(live, app, store, monkeypatch):
    monkeypatch.setattr(lock, "LOOK_SECONDS", 0.0)
    (store.home / "worker.log").write_text("Traceback\nModuleNotFoundError: No module named 'torch'\n")
    seeding.queue(store, seeding.sweep_settings(store.home))
    live()
    workspace._looked.clear()  # once a second
    app.run()
    assert str(store.home / "worker.log") in texts(app.error)
    assert "No module named 'torch'" in texts(app.code)
    button(app, "Start the worker again").click().run()
    assert not app.exception
    lock.stop_workers(store.home)
    workspace._looked.clear()
    app.run()
    assert "The worker was stopped." in texts(app.info)
    button(app, "Start the worker").click().run()
    assert not app.exception
