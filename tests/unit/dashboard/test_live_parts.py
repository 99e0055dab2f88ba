"""The Live page's arithmetic: time left, settled lines."""

import dataclasses
import json
import types

import pytest
from chart_examples import EXAMPLES

from dashboard.components.plotly_chart import join, settle
from dashboard.views.live.progress import time_left
from tabtune_core.analysis.curves import Progress
from tabtune_core.charts import CHARTS
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.settings.sweep import RUNGS, trained_share

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


def test_the_time_left_of_a_sweep_is_unknown_until_a_similar_run_has_ended():
    runs = [row("a", "finished", 0, 10, "inference"), row("b", "queued")]
    assert time_left(runs, dict.fromkeys("ab", far()), now=20) is None
    assert time_left(runs[:1], {"a": far()}, now=20) is None
    for elsewhere in ({"device": "H100"}, {"node": "b"}):
        runs = [row("a", "finished", 0, 10, **elsewhere), row("b", "running", 10), row("c", "queued")]
        assert time_left(runs, {"a": far(), "b": far(eta=9.0), "c": far()}, now=20) is None
    late = [row("a", "finished", 0, 10, targets=("late_layers",)), row("b", "queued")]
    assert time_left(late, dict.fromkeys("ab", far()), now=20) is None


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
