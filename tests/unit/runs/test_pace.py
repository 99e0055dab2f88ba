"""Times come from the user's own runs, scaled by size, or are not known."""

import pytest

from tabtune_core.runs.pace import Pace, train_seconds
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings

RUN = RunSettings(dataset="d", target="y", train=TrainSettings(steps=10, context_rows=100))
SWEEP = SweepSettings(run=RUN, ranks=(2, 4), full_fine_tuning=False).expand()
SIZE = {"train_rows": 600, "features": 5, "device": "cpu"}


def test_time_is_the_median_of_near_runs_scaled_by_context_and_features():
    paces = [Pace("peft", "cpu", 1000, seconds) for seconds in (1.0, 2.0, 9.0)]
    assert train_seconds(SWEEP, paces, **SIZE) == pytest.approx(2 * 10 * 2.0 / 2)


@pytest.mark.parametrize("other", [Pace("base-ft", "cpu", 500, 1.0), Pace("peft", "cuda", 500, 1.0), Pace("peft", "cpu", 5000, 1.0)])
def test_runs_of_another_strategy_device_or_size_say_nothing(other):
    assert train_seconds(SWEEP, [other], **SIZE) is None


def test_zero_shot_alone_needs_no_training():
    zero_shot = SweepSettings(run=RUN, ranks=(), full_fine_tuning=False).expand()
    assert train_seconds(zero_shot, [], **SIZE) == 0
