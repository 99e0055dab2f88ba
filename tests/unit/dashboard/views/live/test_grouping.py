"""Grouping of runs that are drawn together."""

import dataclasses
import types

import seeding

from dashboard.views.live.view import EACH, SEEDS, groupings, legend_by, usual_grouping


def runs_of(home, dropouts=(), **sweep):
    settings = dataclasses.replace(seeding.sweep_settings(home, **sweep), dropouts=dropouts).expand()
    return [
        types.SimpleNamespace(id=f"{i}", sweep="one", ended=i, settings=s, name=s.label, created=i)
        for i, s in enumerate(settings)
    ]


def names(runs, by, shown=None):
    return dict(legend_by(by, runs, shown or runs).names)


def test_only_settings_that_differ_can_be_grouped_by(tmp_path):
    assert list(groupings(runs_of(tmp_path, ranks=(4,)))) == [EACH]
    assert list(groupings(runs_of(tmp_path, ranks=(2, 4), seeds=(0, 1)))) == [EACH, SEEDS, "rank", "seed"]
    assert "dropout" in groupings(runs_of(tmp_path, ranks=(2,), dropouts=(0.0, 0.2)))


def test_means_over_seeds_are_the_default_for_many_runs(tmp_path):
    assert usual_grouping(runs_of(tmp_path, ranks=(2, 4), seeds=(0, 1))) == EACH
    assert usual_grouping(runs_of(tmp_path, ranks=(2, 4, 8), seeds=(0, 1, 2))) == SEEDS
    assert usual_grouping(runs_of(tmp_path, ranks=tuple(range(1, 20)))) == EACH


def test_a_group_names_its_number_of_runs_and_mixes_no_strategies(tmp_path):
    runs = runs_of(tmp_path, ranks=(2, 4), seeds=(0, 1, 2))
    assert sorted(set(names(runs, "rank").values())) == [
        "Full fine-tuning · mean of 3",
        "LoRA r=2 · mean of 3",
        "LoRA r=4 · mean of 3",
        "Zero-shot · mean of 3",
    ]
    assert set(names(runs, "seed").values()) == {
        f"{start}, seed {seed}{end}"
        for seed in (0, 1, 2)
        for start, end in (("Zero-shot", ""), ("Full fine-tuning", ""), ("LoRA", " · mean of 2"))
    }
    assert set(names(runs, "rank", runs[:2] + runs[2:3]).values()) == {"Zero-shot", "Full fine-tuning", "LoRA r=2"}


def test_configurations_of_one_rank_are_distinguished(tmp_path):
    runs = runs_of(tmp_path, ranks=(2,), seeds=(0, 1), dropouts=(0.0, 0.2))
    assert {"LoRA r=2, dropout 0 · mean of 2", "LoRA r=2, dropout 0.2 · mean of 2"} <= set(names(runs, SEEDS).values())


def test_ranks_keep_their_colours_when_runs_are_drawn_together(tmp_path):
    runs = runs_of(tmp_path, ranks=(2, 4), seeds=(0, 1))
    alone, together = legend_by(EACH, runs, runs), legend_by("rank", runs, runs)
    colours = {name: look.colour for (_, name), look in zip(alone.names, alone.styles, strict=True)}
    groups = dict(zip(dict.fromkeys(together.labels.values()), together.styles, strict=True))
    assert groups["LoRA r=4 · mean of 2"].colour == next(
        colour for name, colour in colours.items() if name.startswith("LoRA r=4")
    )
