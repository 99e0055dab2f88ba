"""The Live page: the queue, retries with one change, remedies for failures, shared links, and the shown run."""

import dataclasses
import json

import pytest
import seeding

from dashboard import queries
from dashboard.queries.curves import _held as held
from tabtune_core.events import MemorySampled, RunFailed, RunPlanned
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings.labels import short_rate
from tabtune_core.store.runs import RunStore


@pytest.fixture
def live(app):
    """Opens the page with these query parameters."""

    def open_page(**query):
        app.run()
        for name, value in query.items():
            app.query_params[name] = value
        return app.switch_page("views/live/page.py").run()

    return open_page


def texts(elements):
    return " ".join(str(element.value) for element in elements).replace("\\", "")


def opened(app, key):
    """Opens an expander or a popover, as a click does."""
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


def progress_text(app):
    return next(found.proto.text for found in app.get("progress")).replace("\\", "")


def test_a_sweep_behind_others_says_what_it_waits_for(live, app, store):
    seeding.going_sweep(store)
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(16,)), name="the second")
    live(sweep=sweep)
    assert progress_text(app) == "0 of 3 runs have ended. Waits for 2 runs of breast_cancer: TabICL mini."
    store.move_to_front(runs[2].id)
    app.run()
    assert progress_text(app) == "0 of 3 runs have ended. Waits for 1 run of breast_cancer: TabICL mini."


def test_a_cancelled_sweep_does_not_look_like_a_success(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    seeding.finish(runs[0])
    for run in runs[1:]:
        store.ask(run.id, "cancel")
    live(sweep=sweep)
    assert progress_text(app) == "5 of 5 runs have ended; 4 of them were cancelled."
    assert next(found.proto.value for found in app.get("progress")) == 20


def test_the_table_shows_final_scores_and_says_that_evaluations_use_fewer_context_rows(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    for run in runs[:2]:
        seeding.start(run)
        run.tell(
            dataclasses.replace(store.last_event(run.id, RunPlanned), context_rows=8192, evaluation_context_rows=2048)
        )
        run.step(10)
        if run is runs[0]:
            run.accuracy = lambda step: 0.5
            run.end()
    live(sweep=sweep)
    shown = app.dataframe[0]
    final, now = shown.value["Best validation log-loss"][:2]
    assert final == store.run(runs[0].id).result.validation["log_loss"] > now
    assert (
        "While a run trains: with 2,048 context rows; when it has ended, with all that its predictions use."
        in shown.proto.columns
    )


def test_running_sweeps_are_shown_before_ended_ones(live, app, store):
    going, _ = seeding.going_sweep(store)
    (ended,) = seeding.many_runs(store, sweeps=1, per_sweep=10)
    live()
    assert app.selectbox(key="chosen_sweep").value == going
    assert next(iter(queries.sweeps())) == ended


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [
        ({"slot": "cpu", "node": "desk"}, {"slot": "cpu", "node": "desk"}, None),
        ({"slot": "cuda:0", "node": "desk"}, {"slot": "cuda:1", "node": "desk"}, ["cuda:0", "cuda:1", ""]),
        (
            {"slot": "cuda:0", "executor": "ray", "node": "forge (a1b2)"},
            {"slot": "cuda:0", "executor": "ray", "node": "anvil (c3d4)"},
            ["cuda:0 of forge (a1b2)", "cuda:0 of anvil (c3d4)", ""],
        ),
    ],
    ids=["one place", "two GPUs", "two nodes"],
)
def test_the_place_of_runs_is_a_column_if_it_differs_between_runs(live, app, store, first, second, where):
    sweep, _ = seeding.queue(store, seeding.sweep_settings(store.home))
    for place in (first, second):
        store.claim(1, None, **{"executor": "local", **place})
    live(sweep=sweep)
    assert not app.exception
    shown = app.dataframe[0].value
    assert (shown["Where"].tolist()[:3] if "Where" in shown else None) == where


def test_a_run_can_be_queued_again_with_one_setting_changed(live, app, store):
    sweep, runs = seeding.going_sweep(store)
    live(sweep=sweep)
    key = runs[3].id
    opened(app, f"tweak_{key}")
    app.selectbox(key=f"tweak_field_{key}").set_value("dropout").run()
    app.text_input(key=f"tweak_value_dropout_{key}").set_value("1").run()
    assert "Dropout is 1; it must be at least 0 and below 1" in texts(app.error)
    assert app.button(key=f"tweak_queue_{key}").disabled
    app.text_input(key=f"tweak_value_dropout_{key}").set_value("0.4").run()
    app.button(key=f"tweak_queue_{key}").click().run()
    new = store.runs(sweep)[-1]
    assert (new.name, new.status, new.settings.lora.dropout) == ("LoRA r=4, dropout 0.4", "queued", 0.4)
    assert new.settings.lora.rank == runs[3].settings.lora.rank


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


def test_a_diverged_run_offers_half_the_rate_with_one_click(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    for run in runs[:3]:
        seeding.start(run)
        run.end("diverged" if run is runs[2] else "finished")
    live(sweep=sweep, run=runs[2].id)
    rate = CATALOGUE["tabicl-mini"].usual_rate("classification", "peft")
    assert f"At the learning rate {short_rate(rate)} the loss diverged" in texts(app.warning)
    assert "Halve the learning rate" in texts(app.warning)
    app.button(key=f"fix_diverged_{runs[2].id}").click().run()
    new = store.run(store.run(runs[2].id).retried_as)
    assert (new.settings.learning_rate, new.name) == (rate / 2, f"LoRA r=2, learning rate {short_rate(rate / 2)}")


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
    return next(button.key.removeprefix("stop_") for button in app.button if button.label == "Stop and keep the best")


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
    app.selectbox(key=f"live_group_{sweep}").set_value("seeds").run()
    assert not app.exception
    named = {trace.get("name") for trace in everything_drawn(app, "Training loss")}
    assert named == {None, "Full fine-tuning · mean of 2", "LoRA r=2 · mean of 2", "LoRA r=4 · mean of 2"}
    assert app.query_params["group"] == "seeds"
    assert "bands extend from the lowest to the highest run" in texts(app.caption)
    app.selectbox(key=f"live_group_{sweep}").set_value("rank").run()
    assert "LoRA r=4 · mean of 2" in {trace.get("name") for trace in everything_drawn(app, "Training loss")}
    assert not app.exception


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


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (["interrupted"], "**1 of 3 runs was interrupted.**"),
        (["interrupted", "failed", "interrupted"], "**2 of 3 runs were interrupted, 1 failed.**"),
    ],
)
def test_an_interrupted_run_is_not_said_to_have_failed(live, app, store, ends, said):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    for run, status in zip(runs, ends, strict=False):
        seeding.start(run)
        store.finish(run.id, status, error="The worker was stopped.")
    live(sweep=sweep)
    assert said in texts(app.error)


def test_all_failed_runs_can_be_retried_with_one_click(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home, ranks=(2,)))
    for run in runs[:2]:
        seeding.start(run)
        store.finish(run.id, "failed", error="Broken.")
    live(sweep=sweep)
    app.button(key=f"again_all_{sweep}").click().run()
    assert [run.status for run in store.runs(sweep)] == ["failed", "failed", "queued", "queued", "queued"]
    assert "runs failed" not in texts(app.error)


def test_a_shared_link_opens_the_same_view(live, app, store):
    seeding.finished_sweep(store)
    sweep, runs = seeding.going_sweep(store)
    seeding.queue(store, seeding.sweep_settings(store.home))
    live(sweep=sweep, run=runs[1].id, axis="seconds", score="ece", smooth="0.9", log="True")
    assert not app.exception
    assert shown(app) == runs[1].id
    assert app.selectbox(key="live_metric_classification").value == "ece"
    assert app.select_slider(key="live_smoothing").value == 0.9
    assert app.toggle(key="live_log").value is True
    link = next(code.value for code in app.code if "/live?" in code.value)
    for part in (f"sweep={sweep}", f"run={runs[1].id}", "axis=seconds", "score=ece", "smooth=0.9", "log=True"):
        assert part in link
    app.toggle(key="live_log").set_value(False).run()
    assert "log" not in app.query_params


def test_all_runs_are_shown_again_once_none_is_chosen(live, app, store):
    sweep = seeding.finished_sweep(store)
    live(sweep=sweep, only=store.runs(sweep)[1].id)
    box = next(found for found in app.multiselect if found.label == "Only these runs")
    assert len(box.value) == 1
    box.set_value([]).run()
    app.toggle(key="live_log").set_value(True).run()
    assert "Only these runs" not in [found.label for found in app.multiselect]
    assert "only" not in app.query_params


def drawn(app, name):
    """The figure of a chart."""
    sent = [
        json.loads(json.loads(found.proto.json)["figure"])
        for found in app.get("bidi_component")
        if '"figure"' in found.proto.json
    ]
    return next(figure for figure in sent if name in figure["layout"]["yaxis"]["title"]["text"])


def test_gpu_readings_are_not_available_without_a_gpu(live, app, store):
    sweep, runs = seeding.going_sweep(store)
    live(sweep=sweep)
    app.session_state[f"more_{sweep}"] = "GPU load, power, temperature"
    app.run()
    assert drawn(app, "GPU utilization (%)")["data"] == []
    runs[3].tell(MemorySampled("train", 400_000_000, utilisation_percent=93, power_watts=411.6))
    held.cache_clear()  # a running run is read again only after a while, on a slow machine after seconds
    app.run()
    assert len(drawn(app, "GPU utilization (%)")["data"]) == 1


def test_the_remaining_time_is_shown_once_a_similar_run_has_ended(live, app, store):
    sweep, runs = seeding.queue(store, seeding.sweep_settings(store.home))
    for run in runs[:2]:
        seeding.finish(run)
    live(sweep=sweep)
    assert "left for the sweep" not in texts(app.caption)
    seeding.finish(runs[2])
    app.run()
    assert "left for the sweep. Estimated: each remaining run takes as long" in texts(app.caption)


@pytest.mark.parametrize(("whose", "part"), [(queries, "watched"), (RunStore, "run")])
def test_a_sweep_deleted_in_another_tab_while_drawn_is_replaced_by_the_next(live, app, store, monkeypatch, whose, part):
    kept, gone = seeding.finished_sweep(store), seeding.finished_sweep(store)
    real = getattr(whose, part)

    def too_late(*asked):
        for run in store.runs(gone) if gone in {sweep.id for sweep in store.sweeps()} else ():
            store.delete(run.id)
        return real(*asked)

    monkeypatch.setattr(whose, part, too_late)
    live(sweep=gone)
    assert not app.exception
    assert app.selectbox(key="chosen_sweep").value == kept
