"""The Live page: time left, settled lines, refreshes that send only what has changed, and means over seeds."""

import dataclasses
import json
import types

import pytest
import seeding
import streamlit as st
from chart_examples import EXAMPLES

from dashboard import queries
from dashboard.components.plotly_chart import join, settle
from dashboard.formatting import labels
from dashboard.queries.curves import _held as held
from dashboard.queries.curves import grouped_legend, legend_of
from dashboard.views.live import drawing
from dashboard.views.live.drawing import Curves, OpenCharts
from dashboard.views.live.progress import time_left
from dashboard.views.live.view import legend_by
from tabtune_core.analysis.curves import Progress
from tabtune_core.charts import CHARTS
from tabtune_core.events import MemorySampled
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.settings.sweep import RUNGS, trained_share
from tabtune_core.store.runs import RunStore

LORA = RunSettings(dataset="d", target="y")


def row(name, status, started=None, ended=None, strategy="peft", targets=(), rung=-1, device="CPU", node="a"):
    settings = dataclasses.replace(LORA, strategy=strategy, lora=LoraSettings(targets=targets))
    result = types.SimpleNamespace(train_wall_seconds=0.0)
    of = {"id": name, "status": status, "started": started, "ended": ended, "settings": settings}
    return types.SimpleNamespace(**of, rung=rung, result=result, device=device, node=node)


def far(*, eta=None):
    return Progress(0, None, None, eta)


def test_the_time_left_of_a_sweep_comes_from_similar_runs():
    ended = [row("a", "finished", 0, 10), row("b", "finished", 10, 40)]
    ended += [row("c", "failed", 40, 900), row("d", "diverged", 40, 60)]
    runs = [*ended, row("e", "running", 60), row("f", "queued")]
    known = dict.fromkeys("abcdef", far())
    assert time_left(runs, known | {"e": far(eta=7.0)}, now=65) == 7 + 20
    assert time_left(runs, known, now=65) == 15 + 20
    assert time_left(runs, known, now=965) == 20


def test_concurrent_runs_share_the_time_left_but_it_is_at_least_the_longest_run():
    runs = [row("a", "finished", 0, 20), row("b", "running", 20), row("c", "running", 20)]
    runs += [row("d", "queued"), row("e", "queued")]
    known = dict.fromkeys("ade", far())
    assert time_left(runs, known | {"b": far(eta=8.0), "c": far(eta=12.0)}, now=25) == (8 + 12 + 20 + 20) / 2
    assert time_left(runs[:4], known | {"b": far(eta=1.0), "c": far(eta=90.0)}, now=25) == 90


def test_most_rates_of_a_rank_are_expected_to_stop_at_a_rung():
    known = dict.fromkeys("abcd", far())
    rivals = [row(name, "queued", rung=0) for name in "bcd"]
    assert time_left([row("a", "finished", 0, 20), *rivals], known, now=20) == pytest.approx(3 * 20 * trained_share(3))
    alone = row("b", "queued", rung=len(RUNGS))
    assert time_left([row("a", "finished", 0, 20), alone], known, now=20) == 20


def test_the_time_left_of_a_sweep_is_unknown_until_a_run_of_its_kind_and_device_has_steps():
    runs = [row("a", "finished", 0, 10, "inference"), row("b", "queued")]
    assert time_left(runs, dict.fromkeys("ab", far()), now=20) is None
    assert time_left(runs[:1], {"a": far()}, now=20) is None
    for elsewhere in ({"device": "H100"}, {"node": "b"}):
        runs = [row("a", "finished", 0, 10, **elsewhere), row("b", "running", 10), row("c", "queued")]
        assert time_left(runs, {"a": far(), "b": far(eta=9.0), "c": far()}, now=20) is None


def test_without_a_similar_run_one_takes_as_long_as_others_with_as_many_steps():
    late = [row("a", "finished", 0, 10, targets=("late_layers",)), row("b", "queued")]
    assert time_left(late, dict.fromkeys("ab", far()), now=20) == 10
    first = [row("a", "running", 0, targets=("late_layers",)), row("b", "queued")]
    assert time_left(first, {"a": Progress(10, 40, "train", 6.0), "b": far()}, now=2) == 6 + 8


@pytest.mark.parametrize("name", ["loss", "score", "memory"])
def test_lines_drawn_in_two_parts_equal_those_drawn_at_once(name):
    draw, rows = CHARTS[name].draw, EXAMPLES[name]()
    more = {"axis_end": 20.0} if name == "score" else {}
    old = rows["run"].isin(["LoRA r=2"])
    whole = json.loads(draw(rows, **more).to_json())["data"]
    settled = settle(draw(rows[old], **more))
    parts = json.loads(draw(rows[~old], **more).to_json())["data"] + json.loads(settled.traces)
    assert sorted(parts, key=lambda trace: trace["legendrank"]) == whole


def test_without_new_points_the_settled_lines_keep_their_axes():
    draw, rows = CHARTS["loss"].draw, EXAMPLES["loss"]()
    settled = settle(draw(rows))
    both = join(draw(rows.iloc[:0]), settled)
    assert [note.name for note in both.layout.annotations] == ["Full fine-tuning", "LoRA r=2", "LoRA r=8"]
    assert both.layout.yaxis.title.text == "Training loss (nats)"
    assert settle(draw(rows.iloc[:0])) is None


def test_a_range_covers_finished_and_running_lines():
    rows = EXAMPLES["score"]().assign(accuracy=0.9)
    level, higher = settle(CHARTS["score"].draw(rows)), CHARTS["score"].draw(rows.assign(accuracy=0.95))
    assert join(higher, level).layout.yaxis.range == pytest.approx((0.8955, 0.95475))
    rising = settle(CHARTS["score"].draw(EXAMPLES["score"]()))
    assert join(CHARTS["score"].draw(rows), rising).layout.yaxis.range == pytest.approx((0.792, 0.908))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("TABTUNE_HOME", str(tmp_path))
    return RunStore(tmp_path)


@pytest.fixture
def shown(monkeypatch):
    drawn = {}
    monkeypatch.setattr(drawing, "show_drawn", lambda figure, key, **_: drawn.update({key: figure}))
    return drawn


@pytest.fixture
def fed(monkeypatch):
    sent = []
    monkeypatch.setattr(drawing, "feed", sent.append)
    return sent


def looked(sweep):
    """Returns the sweep as a tab sees it a second later."""
    held.cache_clear()
    look = queries.look(sweep)
    return Curves(labels(look.runs), look.runs, legend_of(look.runs), sweep, 40, frozenset()), look


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


def runs_of(home, dropouts=(), **sweep):
    settings = dataclasses.replace(seeding.sweep_settings(home, **sweep), dropouts=dropouts).expand()
    return [
        types.SimpleNamespace(id=f"{i}", sweep="one", ended=i, status="finished", settings=s, name=s.label, created=i)
        for i, s in enumerate(settings)
    ]


def test_a_mean_names_its_number_of_runs_and_keeps_the_colour_of_its_rank(tmp_path):
    runs = runs_of(tmp_path, ranks=(2, 4), seeds=(0, 1, 2), dropouts=(0.0, 0.2))
    together = legend_by(True, runs, runs)
    groups = dict(zip(dict.fromkeys(together.labels.values()), together.styles, strict=True))
    lora = {f"LoRA r={rank}, dropout {dropout} · mean of 3" for rank in (2, 4) for dropout in ("0", "0.2")}
    assert set(groups) == {"Zero-shot · mean of 3", "Full fine-tuning · mean of 3", *lora} | {
        name for name in groups if name.startswith(("Linear", "Gradient"))
    }
    assert len({(style.colour, style.dash) for name, style in groups.items() if name in lora}) == len(lora)
    assert len({style.colour for name, style in groups.items() if name in lora}) == 2
    part = legend_by(True, runs, [run for run in runs if run.settings.strategy == "inference"][:1])
    assert dict(part.names) == {"0": "Zero-shot"}


def test_each_run_has_its_own_line_without_means(tmp_path):
    runs = runs_of(tmp_path, ranks=(2, 4), seeds=(0, 1))
    assert len(set(legend_by(False, runs, runs).labels.values())) == len(runs)
