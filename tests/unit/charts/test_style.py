"""One colour per rank and one dash per seed, on every page."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import seeding
from chart_examples import EXAMPLES

from tabtune_core.charts import CHARTS
from tabtune_core.charts.style import PALE, RunStyle, Styles, focus, roles, styles_of


def styles(home, **sweep):
    runs = seeding.sweep_settings(home, **sweep).expand()
    return runs, styles_of(roles(runs))


def test_colours_mark_ranks_and_dashes_mark_seeds(tmp_path):
    runs, looks = styles(tmp_path, ranks=(2, 4, 8), seeds=(0, 1, 5))
    pairs = list(zip(runs, looks, strict=True))
    by_rank = {
        rank: {look.colour for run, look in pairs if (run.strategy, run.lora.rank) == ("peft", rank)}
        for rank in (2, 4, 8)
    }
    by_seed = {
        seed: {look.dash for run, look in pairs if (run.strategy, run.seed) == ("peft", seed)} for seed in (0, 1, 5)
    }
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
    colours = {
        found.marker.color or found.line.color for found in CHARTS[name].draw(frame).data if found.name in labels
    }
    assert colours
    assert all(str(colour).startswith("#00001") for colour in colours)


def test_a_run_that_stopped_at_a_rung_is_pale_and_has_no_name():
    frame = EXAMPLES["score"]()
    frame.attrs["styles"] = styles_of(
        [(label, label, 0) for label in frame["run"].cat.categories], [False] * 3 + [True]
    )
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
