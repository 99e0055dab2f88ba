"""Times come from the user's own runs of the same kind of work, scaled by size, or are unknown."""

import dataclasses
import types

import pytest

from tabtune_core.analysis.runtime_estimate import (
    Pace,
    TrainedOn,
    came_from,
    growth_ratio,
    kind_of,
    pace_of,
    train_seconds,
)
from tabtune_core.events import RunPlanned
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings

RUN = RunSettings(dataset="d", target="y", train=TrainSettings(steps=10, context_rows=100, batch_size=100))
SWEEP = SweepSettings(run=RUN, ranks=(2, 4), full_fine_tuning=False).expand()
TABLE = TrainedOn(train_rows=600, validation_rows=200, features=5, classes=2, device="cpu")
KIND, SIZE = kind_of(RUN), TABLE.size_of(RUN)


def other(**changes):
    """Returns the run with changed settings, given by section."""
    return RUN.changed(**changes)


def test_time_is_the_median_of_similar_runs_scaled_by_rows_and_features():
    twice = dataclasses.replace(SIZE, features=10)
    estimate = train_seconds(SWEEP, [Pace(KIND, twice, seconds) for seconds in (1.0, 2.0, 9.0)], TABLE)
    assert (estimate.seconds, estimate.runs) == (pytest.approx(2 * 10 * 2.0 / 2), 3)
    assert came_from(estimate) == "from 3 finished runs like these"
    assert came_from(train_seconds(SWEEP, [Pace(KIND, SIZE, 1.0)], TABLE)) == "from 1 finished run like this"


def test_runs_of_another_kind_of_work_or_of_a_very_different_size_are_ignored():
    kinds = {"strategy": "base-ft", "targets": ("late_layers",), "dropout": 0.0, "bias": "all", "use_dora": True}
    kinds |= {"amp": "bf16", "gradient_checkpointing": True, "views": 4, "model": "tabdpt-1.3", "task": "regression"}
    sizes = {"context": 201, "query": 49, "features": 2, "validation": 99, "eval_every": 4, "classes": 11}
    paces = [Pace(kind_of(other(**{name: value})), SIZE, 0.1) for name, value in kinds.items()]
    paces += [Pace(KIND, dataclasses.replace(SIZE, **{k: v}), 0.1) for k, v in (sizes | {"device": "cuda"}).items()]
    assert [pace for pace in paces if train_seconds(SWEEP, [pace], TABLE)] == []
    known = Pace(KIND, SIZE, 0.1)
    late = other(targets=("late_layers",))
    assert train_seconds([RUN], [known], TABLE) and train_seconds([RUN, late], [known], TABLE) is None


def test_rates_that_race_count_with_the_steps_that_they_train_on_average():
    paces, rates = [Pace(KIND, SIZE, 2.0)], [other(learning_rate=rate) for rate in (1e-4, 1e-3, 1e-2)]
    apart, racing = (train_seconds(rates, paces, TABLE, halving=halving).seconds for halving in (False, True))
    assert (apart, racing) == (60, pytest.approx(60 * (3 / 6 + 2 / 6 + 2 / 3) / 3))
    assert train_seconds(rates[:1], paces, TABLE, halving=True).seconds == 20


def test_a_time_limit_caps_the_estimate_but_not_below_one_step():
    paces = [Pace(KIND, SIZE, 2.0)]
    seconds = [train_seconds([other(time_limit=limit)], paces, TABLE).seconds for limit in (None, 100.0, 7.0, 0.5)]
    assert seconds == pytest.approx([20, 20, 7, 2])


def test_a_measurement_is_used_until_a_similar_run_has_finished():
    measured, finished = Pace(KIND, SIZE, 5.0, measured=True), Pace(KIND, SIZE, 1.0)
    alone, beside = (train_seconds(SWEEP, paces, TABLE) for paces in ([measured], [measured, finished]))
    assert (alone.seconds, came_from(alone)) == (100.0, "from a measurement of a few steps on this machine")
    assert (beside.seconds, came_from(beside)) == (20.0, "from 1 finished run like this")


def test_memory_is_scaled_by_similar_finished_runs():
    plan = RunPlanned("cpu", 10, 600, 200, 200, 100, 100, 5, ("a", "b"), 9, 9, (), {})
    result = types.SimpleNamespace(train_seconds=1.0, steps_done=10, growth_memory_bytes=50_000_000)
    alone, large = (pace_of(types.SimpleNamespace(settings=run, result=result), plan) for run in (RUN, other(rank=64)))
    measured = dataclasses.replace(alone, measured=True, growth_ratio=9.0)
    assert growth_ratio([alone, measured], TABLE, RUN) == alone.growth_ratio > 0
    assert growth_ratio([large], TABLE, RUN) < alone.growth_ratio  # the adapter of that rank is part of the growth
    assert growth_ratio([measured], TABLE, RUN) == 9.0
    assert growth_ratio([alone], TABLE, other(bias="all")) is None
