"""The arithmetic inside the charts; one colour per rank and one dash per seed, on every page."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import seeding
from chart_examples import EXAMPLES

from tabtune_core.analysis.run_curves import GROWN
from tabtune_core.charts import CHARTS
from tabtune_core.charts.lines import seconds, thin
from tabtune_core.charts.memory import memory, meters_read
from tabtune_core.charts.pareto import pareto
from tabtune_core.charts.rank_curve import rank_curve
from tabtune_core.charts.style import FAINT, PALE, RunStyle, Styles, focus, roles, styles_of


def test_thinning_keeps_a_spike_and_the_ends():
    values = np.zeros(10_000)
    values[4321] = 1.0
    kept = thin(values)
    assert len(kept) < 500
    assert {0, 4321, 9_999} <= set(kept.tolist())


def test_the_time_of_a_step_is_a_difference():
    steps = pd.DataFrame({"run": "a", "step": [1, 2, 4], "seconds": [0.5, 1.5, 2.5]})
    np.testing.assert_allclose(seconds(steps).data[0].y, [0.5, 1.0, 0.5])


def test_a_meter_without_values_is_neither_offered_nor_zero():
    samples = pd.DataFrame(
        {"run": "a", "seconds": [0.0, 1.0], "phase": "train", "resident_bytes": [1e6, 2e6], "nvml_device_bytes": np.nan}
    )
    assert meters_read(samples) == [GROWN, "resident_bytes"]
    assert len(memory(samples, meter="nvml_device_bytes").data) == 0
    np.testing.assert_allclose(memory(samples, meter="resident_bytes").data[0].y, [1.0, 2.0])


@pytest.mark.parametrize(("full", "shown"), [(8e7, True), (8e10, False)])
def test_a_gpu_that_may_fill_up_is_drawn_and_a_large_one_is_named_at_the_edge(full, shown):
    drawn = memory(EXAMPLES["memory"]().assign(ceiling_bytes=full))
    assert drawn.data[-1].name == "GPU full"
    assert (drawn.layout.yaxis.range[1] > full / 1e6) == shown
    assert any(note.text.startswith("GPU full at 80,000") for note in drawn.layout.annotations) != shown


def test_class_shares_are_relative_to_all_classes():
    figure = CHARTS["class_counts"].draw(pd.DataFrame({"label": [f"c{i}" for i in range(100)], "rows": [5] * 100}))
    assert len(figure.data[0].x) == 12
    assert set(figure.data[0].text) == {"5 (1.0%)"}


def test_labels_with_a_common_beginning_keep_separate_bars():
    labels = ["x" * 60 + str(i) for i in range(3)] + ["1", "01", "1.0"]
    figure = CHARTS["class_counts"].draw(pd.DataFrame({"label": labels, "rows": [9, 8, 7, 6, 5, 4]}))
    (bars,) = figure.data
    assert len(set(bars.y)) == 6
    assert list(bars.customdata) == labels
    assert list(figure.layout.yaxis.tickvals) == list(bars.y)
    assert list(bars.y) == sorted(bars.y, reverse=True), "the largest is on top, whichever way the page turns the axis"
    assert figure.layout.yaxis.ticktext[0] == "x" * 20 + "…" + "x" * 18 + "0"


def test_each_rank_is_drawn_at_its_best_rate_and_its_other_rates_are_faint():
    of_runs = {"rank": [2, 4, 8, 8], "status": ["finished"] * 3 + ["outrun"], "fixed_rate": [1e-3] * 3 + [2e-4]}
    scores = {"validation_log_loss": [0.4, 0.3, 0.35, 0.2], "lora_gap_half_width": [0.02, 0.0, 0.03, 0.04]}
    runs = pd.DataFrame({"strategy": "peft", "seed": 0, **of_runs, **scores})
    lines = {line.name: line for line in rank_curve(runs).data}
    assert {name: [*line.y] for name, line in lines.items()} == {"LoRA": [0.4, 0.3, 0.35], "Other settings": [0.2]}
    assert lines["LoRA"].error_y.array.tolist() == [0.02, 0.0, 0.03]
    assert "at one rate" not in rank_curve(runs).layout.xaxis.title.text
    assert "at one rate" in rank_curve(runs[:3]).layout.xaxis.title.text


def test_a_point_is_the_mean_over_seeds_even_if_one_ran_twice():
    runs = pd.DataFrame({"strategy": "peft", "rank": 2, "seed": [0, 0, 1], "validation_log_loss": [0.2, 0.2, 0.4]})
    runs = pd.concat([runs, runs.assign(strategy="inference", rank=None)], ignore_index=True)
    lines = {line.name: list(line.y) for line in rank_curve(runs).data}
    assert lines["LoRA"] == pytest.approx([0.3])
    assert lines["Zero-shot"] == pytest.approx([0.3, 0.3])


def many_runs(*ranks):
    lora = [(f"r={r} seed 0", "peft", r, r, 1 / r) for r in ranks]
    columns = ["run", "strategy", "rank", "train_seconds", "validation_log_loss"]
    return pd.DataFrame([("Zero-shot", "inference", None, 0, 2), *lora], columns=columns).assign(seed=0)


def test_runs_outside_the_limits_are_grey_and_off_the_front():
    figure = pareto(many_runs(1, 2, 4), x="train_seconds", limits={"train_seconds": 2})
    assert list(figure.data[0].x) == [0, 1, 2]
    assert [trace.name for trace in figure.data if trace.marker.color == FAINT] == ["Zero-shot", "r=4 seed 0"]
    assert figure.layout.shapes[0].x0 == 2


def test_an_axis_of_costs_begins_at_0_and_points_have_their_intervals():
    figure = pareto(many_runs(2, 4).assign(lora_gap_half_width=0.1), x="train_seconds")
    assert figure.layout.xaxis.range[0] == 0
    assert [list(trace.error_y.array) for trace in figure.data[1:]] == [[0.1]] * 3
    assert [trace.error_x.array[0] for trace in figure.data[1:]] == pytest.approx([0, 0.34, 0.68])


def test_the_rank_picture_marks_the_best_and_shows_runs_in_progress_open():
    runs = many_runs(2, 4).assign(status=["finished", "finished", "running"], train_seconds=np.nan)
    queued = {"strategy": "peft", "rank": 8, "status": "queued"}
    drawn = rank_curve(pd.concat([runs, pd.DataFrame([queued])]))
    assert list(drawn.data[0].marker.symbol) == ["circle", "circle-open"]
    assert drawn.layout.annotations[0].text == "best so far 0.2500"
    assert list(drawn.layout.xaxis.ticktext) == ["2", "4", "8"]


def test_a_run_that_is_not_compared_is_drawn_but_off_the_front():
    runs = many_runs(1, 2, 4).assign(apart=["", "", "stopped before its end", ""])
    figure = pareto(runs, x="train_seconds")
    assert list(figure.data[0].x) == [0, 1, 4]
    assert [list(points.x) for points in figure.data if points.name == "r=2 seed 0"] == [[2]]
    assert list(pareto(runs.assign(apart="stopped before its end"), x="train_seconds").data[0].x) == []


def test_the_line_of_full_fine_tuning_is_its_best_rate_without_those_that_were_outrun():
    of_runs = {"strategy": ["peft", "base-ft", "base-ft"], "status": ["finished", "finished", "outrun"]}
    scores = {"rank": [2, None, None], "validation_log_loss": [0.4, 0.3, 0.6]}
    runs = pd.DataFrame({**of_runs, **scores, "fixed_rate": np.nan, "seed": 0})
    lines = {line.name: list(line.y) for line in rank_curve(runs).data}
    assert lines["Full fine-tuning"] == [0.3, 0.3]


def styles(home, **sweep):
    runs = seeding.sweep_settings(home, **sweep).expand()
    return runs, styles_of(roles(runs))


def test_colours_mark_ranks_and_dashes_mark_seeds(tmp_path):
    runs, looks = styles(tmp_path, ranks=(2, 4, 8), seeds=(0, 1, 5))
    pairs = list(zip(runs, looks, strict=True))
    by_rank = {
        r: {look.colour for run, look in pairs if (run.strategy, run.lora.rank) == ("peft", r)} for r in (2, 4, 8)
    }
    by_seed = {s: {look.dash for run, look in pairs if (run.strategy, run.seed) == ("peft", s)} for s in (0, 1, 5)}
    assert [len(colours) for colours in by_rank.values()] == [1, 1, 1]
    assert len(set.union(*by_rank.values())) == 3
    assert [len(dashes) for dashes in by_seed.values()] == [1, 1, 1]
    assert len(set.union(*by_seed.values())) == 3
    assert len({(look.colour, look.dash) for look in looks}) == len(runs)


def styles_of_two_dropouts(home, **sweep):
    runs = dataclasses.replace(seeding.sweep_settings(home, **sweep), dropouts=(0.0, 0.1)).expand()
    return styles_of(roles([run for run in runs if run.strategy == "peft"]))


def test_dashes_mark_differences_other_than_rank(tmp_path):
    looks = styles_of_two_dropouts(tmp_path, ranks=(2, 4))
    assert len({look.colour for look in looks}) == 2
    assert len({(look.colour, look.dash) for look in looks}) == 4


@pytest.mark.parametrize("name", ["score", "loss", "memory", "predicted_true", "pareto"])
def test_a_chart_uses_the_style_given_in_its_frame(name):
    frame = EXAMPLES[name]()
    labels = list(dict.fromkeys(frame["run"].astype(str)))
    frame = frame.assign(run=pd.Categorical(frame["run"].astype(str), categories=labels))
    frame.attrs["styles"] = Styles(
        RunStyle(f"#0000{place:02d}", "solid", "circle", place) for place in range(10, 10 + len(labels))
    )
    colours = {of.marker.color or of.line.color for of in CHARTS[name].draw(frame).data if of.name in labels}
    assert colours
    assert all(str(colour).startswith("#00001") for colour in colours)


def test_a_run_that_stopped_at_a_rung_is_pale_and_has_no_name():
    frame = EXAMPLES["score"]()
    frame.attrs["styles"] = styles_of([(run, run, 0) for run in frame["run"].cat.categories], [False] * 3 + [True])
    drawn = CHARTS["score"].draw(frame)
    assert [trace.opacity for trace in drawn.data if trace.name == "LoRA r=8"] == [PALE]
    assert "LoRA r=8" not in [note.name for note in drawn.layout.annotations]


@pytest.mark.parametrize(
    ("trained", "options", "inside", "outside"),
    [
        ([0.063, 0.051, 0.045, 4.5], {"zero_shot": 0.12}, [0.045, 0.12], [4.5]),
        ([0.3, 0.3, 0.3], {"zero_shot": 0.3, "noise": 0.1}, [0.251, 0.349], [0.5]),
        ([0.9, 0.92, -40.0], {"zero_shot": 0.85, "higher": True}, [0.85, 0.92], [-40.0]),
        ([np.nan, 0.4, np.inf], {}, [0.4], [np.nan, np.inf]),
        ([-0.2, -0.1], {"zero_shot": -0.3, "higher": True}, [-0.3, -0.1], [0.8]),
        ([], {"zero_shot": 0.5}, [0.5], [1.1]),
    ],
    ids=["diverged", "equal", "higher-is-better", "not-a-number", "negative", "none-trained"],
)
def test_an_axis_shows_what_is_compared(trained, options, inside, outside):
    low, high = focus(np.array(trained), **options)
    assert all(low < value < high for value in inside)
    assert not any(low <= value <= high for value in outside)


def test_a_reference_far_away_is_named_at_the_edge():
    runs = EXAMPLES["rank_curve"]()
    far = runs[:1].assign(strategy="linear", validation_log_loss=1.1)
    drawn = CHARTS["rank_curve"].draw(pd.concat([runs, far], ignore_index=True))
    assert drawn.layout.yaxis.range[1] < 1
    assert any(
        note.text.startswith("Linear model 1.1") and note.text.endswith("↑") for note in drawn.layout.annotations
    )
    assert drawn.layout.updatemenus[0].buttons[0].args[0] == {"yaxis.autorange": True}
