"""A refresh sends only the charts that have changed."""

import pytest
import seeding
import streamlit as st

from dashboard import queries
from dashboard.formatting import labels
from dashboard.queries.curves import _held as held
from dashboard.queries.curves import grouped_legend, legend_of
from dashboard.views.live import drawing
from dashboard.views.live.drawing import Curves, OpenCharts
from tabtune_core.events import MemorySampled
from tabtune_core.store.runs import RunStore


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path))
    return RunStore(tmp_path)


@pytest.fixture
def shown(monkeypatch):
    """Figures of the drawn page, by key."""
    drawn = {}
    monkeypatch.setattr(drawing, "show_drawn", lambda figure, key, **_: drawn.update({key: figure}))
    return drawn


@pytest.fixture
def fed(monkeypatch):
    """The content of each refresh."""
    sent = []
    monkeypatch.setattr(drawing, "feed", sent.append)
    return sent


def looked(sweep):
    """Returns the sweep as a tab sees it a second later."""
    held.cache_clear()
    look = queries.look(sweep)
    return Curves(labels(look.runs), look.runs, legend_of(look.runs), sweep, 40), look


def test_each_refresh_sends_changes_that_match_the_drawn_figure(store, shown, fed):
    sweep, runs = seeding.going_sweep(store)
    curves, look = looked(sweep)
    opened = OpenCharts(1.0)
    opened.draw(curves, "loss", key="loss", label="", unit="nats", x="step")
    opened.draw(curves, "score", key="score", label="", metric="accuracy", x="step")
    opened.refresh(curves, look)
    runs[3].tell(seeding.StepDone(99, 0.12, 1e-3, 0.1, 1.0))
    opened.refresh(*looked(sweep))
    opened.refresh(*looked(sweep))
    assert [set(one) for one in fed] == [set(), {f"loss_{sweep}"}, {f"loss_{sweep}"}]
    assert fed[1] == fed[2]
    stamp, figure = fed[1][f"loss_{sweep}"]
    assert stamp == shown[f"loss_{sweep}"].stamp
    assert figure != shown[f"loss_{sweep}"].figure
    opened.draw(looked(sweep)[0], "loss", key="loss", label="", unit="nats", x="step")
    assert figure == shown[f"loss_{sweep}"].figure


def test_the_page_is_redrawn_when_the_meter_changes(store, shown, fed, monkeypatch):
    class DrawnAnew(Exception):
        pass

    def rerun():
        raise DrawnAnew

    monkeypatch.setattr(st, "rerun", rerun)
    sweep, runs = seeding.going_sweep(store)
    curves, look = looked(sweep)
    opened = OpenCharts(1.0)
    opened.meters = curves.meters()
    opened.refresh(curves, look)
    runs[3].tell(MemorySampled("train", 400_000_000, torch_allocated_bytes=5_000_000))
    with pytest.raises(DrawnAnew):
        opened.refresh(*looked(sweep))


def test_a_chart_is_drawn_once_for_all_tabs_until_something_changes(store, shown, fed):
    sweep, runs = seeding.going_sweep(store)

    def drawn(curves):
        opened = OpenCharts(1.0)
        for chart in ("loss", "score"):
            opened.draw(curves, chart, key=chart, label="")
        return opened.sent

    curves, _ = looked(sweep)
    first, again = drawn(curves), drawn(curves)
    assert all(again[key] is first[key] for key in first)
    runs[3].step(26)  # no evaluation in it
    changed = drawn(looked(sweep)[0])
    assert [changed[key].stamp != first[key].stamp for key in first] == [True, False]


def test_memory_and_seconds_are_drawn_without_runs_of_another_device_and_their_means(store):
    runs = store.runs(seeding.finished_sweep(store, seeds=(0, 1), ranks=(2, 4)))
    ranks = {run.id: run.settings.lora.rank for run in runs if run.settings.strategy == "peft"}
    away = frozenset(run.id for run in runs if run.settings.seed == 1 and ranks.get(run.id) != 2)  # zero-shot, too
    each = Curves(labels(runs), runs, legend_of(runs), "", 60, away)
    means = Curves(labels(runs), runs, grouped_legend({run.id: run.settings.label for run in runs}, runs), "", 60, away)

    def drawn(curves, chart, x):
        return [(ranks[run.id], run.settings.seed) for run in curves.drawn_by(chart, x).shown if run.id in ranks]

    for chart, x in (("memory", "step"), ("seconds", ""), ("loss", "seconds")):
        assert sorted(drawn(each, chart, x)) == [(2, 0), (2, 1), (4, 0)]
        assert sorted(drawn(means, chart, x)) == [(2, 0), (2, 1)], "a mean of one would look like a mean of two"
    assert each.drawn_by("loss", "step") is each
    levels = [run.settings.strategy for run in each.drawn_by("score", "seconds").shown]
    assert levels.count("inference") == 2, "a score without training has no time"
