"""Runs that differ only in their seed are drawn as one line."""

import dataclasses
import types

import seeding

from dashboard.views.live.view import legend_by


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
