"""A tooltip's text about a setting is a mean over runs that differ in nothing else."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import seeding

from tabtune_core.analysis.setting_effects import _sentence, experience
from tabtune_core.store.runs import RunStore


@pytest.fixture
def told(tmp_path):
    """Runs whose log-loss falls with the dropout and does not move with the rank."""
    store = RunStore(tmp_path)

    def tell(metric="log_loss", **axes):
        sweep = dataclasses.replace(seeding.sweep_settings(tmp_path, ranks=(2, 4)), full_fine_tuning=False, **axes)
        for run in seeding.queue(store, sweep)[1]:
            run.accuracy = lambda step, lora=run.settings.lora: 0.9 + 0.1 * lora.dropout
            seeding.finish(run)
        return experience(store.runs(), metric, "iris.csv")

    return tell


def test_a_setting_with_several_values_shows_the_mean_of_each(told):
    said = told(dropouts=(0.0, 0.1, 0.2), seeds=(0, 1))
    assert set(said) == {"rank", "dropout"}
    assert said["dropout"] == (
        "In 12 of your runs on iris.csv that differ in nothing else: dropout 0.2 → log-loss 0.1780, 0.1 → 0.1940, 0 "
        "→ 0.2100 (best"
        " first; the first and the last differ by 0.0320 ± 0.0000 nats)."
    )
    assert said["rank"].endswith(
        "rank 2 → log-loss 0.1940, 4 → 0.1940 (best first; they differ by 0.0000 ± 0.0000 nats)."
    )


def test_the_better_score_comes_first_whatever_its_direction(told):
    assert "dropout 0.1 → accuracy 0.9100, 0 → 0.9000 (best first;" in told("accuracy", dropouts=(0.0, 0.1))["dropout"]


def test_runs_that_also_differ_in_another_setting_are_not_compared(told):
    told(dropouts=(0.1,))
    said = told(dropouts=(0.2,), seeds=(1,))
    assert "dropout" not in said


def test_a_setting_with_one_value_has_no_text(told):
    said = told()
    assert set(said) == {"rank"}
    assert "they differ by 0.0000 nats (noise not known)" in said["rank"], "one pair of runs has no spread"


@pytest.mark.parametrize("how", ["stopped", "archived"])
def test_a_stopped_or_archived_run_is_not_compared(tmp_path, how):
    store = RunStore(tmp_path)
    seeding.finished_sweep(store, ranks=(2, 4))
    whole = {run.settings.lora.rank: run for run in store.runs() if run.settings.strategy == "peft"}
    assert set(experience(store.runs(), "log_loss", "iris.csv")) == {"rank"}
    if how == "archived":
        store.archive(whole[4].id)
    runs = [
        dataclasses.replace(run, status="stopped") if (run.id, how) == (whole[4].id, "stopped") else run
        for run in store.runs()
    ]
    assert experience(runs, "log_loss", "iris.csv") == {}


@pytest.mark.parametrize(("values", "ranks", "seeds"), [(2, 4, 3), (6, 1, 5), (4, 3, 4), (7, 2, 3)])
def test_settings_without_an_effect_differ_beyond_noise_in_at_most_one_sweep_of_twenty(values, ranks, seeds):
    """A value's score is as good or bad under all ranks of a seed."""
    rng, beyond = np.random.default_rng(0), 0
    for _ in range(200):
        scores = np.repeat(0.3 + 0.05 * rng.normal(size=(seeds, values)), ranks, axis=0)
        groups = pd.DataFrame(scores, index=np.repeat(range(seeds), ranks), columns=map(str, range(values)))
        apart, half = re.search(
            r"differ by (\S+) ± (\S+) nats", _sentence("dropout", groups, "log_loss", "t.csv")
        ).groups()
        beyond += float(apart) > float(half)
    assert beyond / 200 <= 0.05 + 2.33 * np.sqrt(0.05 * 0.95 / 200)


def test_runs_of_one_seed_show_no_noise(told):
    assert "they differ by 0.0160 nats (noise not known)" in told(dropouts=(0.0, 0.1))["dropout"]
