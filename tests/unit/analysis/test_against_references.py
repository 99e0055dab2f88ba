"""References and a constant compared with the best LoRA, on cases that can be worked out by hand."""

from functools import partial

import pytest
from made_sweeps import Lab

from tabtune_core.analysis.against_references import rival
from tabtune_core.analysis.gains import beyond_noise
from tabtune_core.settings import RunSettings
from tabtune_core.store.predictions import read_predictions


def beside(lab, strategy, *, trained=True):
    own = [run.id for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft"]
    return rival(lab.board(), "accuracy", partial(read_predictions, lab.store), strategy, own, trained=trained)


def test_a_reference_is_compared_row_by_row_on_the_shared_seeds(tmp_path):
    lora, boosting = (4, (0.9, 0.7), range(18)), ("boosting", (0.5, 0.7), range(10))
    lab = Lab(tmp_path).add(lora, ("linear", (0.8,), range(16)), boosting)
    first, second = beside(lab, "linear"), beside(lab, "boosting")
    assert (first.name, first.score, first.ours, first.seeds) == ("the linear model", 0.8, 0.9, 1)
    assert (second.score, second.ours, second.seeds) == (pytest.approx(0.6), pytest.approx(0.8), 2)
    assert second.ahead.value == pytest.approx(-0.4)
    assert (beyond_noise(first.ahead), beyond_noise(second.ahead)) == (0, -1)
    before = beside(lab, "boosting", trained=False)
    assert (before.ours, before.ahead.value) == (pytest.approx(0.5), pytest.approx(0.0))


def test_without_predictions_no_winner_is_named(tmp_path):
    assert beside(Lab(tmp_path).add((4, (0.9,)), ("boosting", (0.5,))), "boosting").ahead is None
    assert beside(Lab(tmp_path / "none").add((4, (0.9,))), "boosting") is None


@pytest.mark.parametrize(("right", "sign"), [(range(20), -1), (range(10), 0), (range(2), 1)])
def test_a_constant_is_compared_as_a_run_of_its_own(tmp_path, right, sign):
    lab = Lab(tmp_path).add((4, (0.9,), right), ("constant", (0.5,), range(10)))
    assert beyond_noise(beside(lab, "constant").ahead) == sign


def test_seeds_that_chose_other_rates_in_a_race_are_one_rival(tmp_path):
    lab = Lab(tmp_path)
    full = RunSettings(dataset="d", target="y", strategy="base-ft")
    won, lost = (0.8, "finished", range(16)), (None, "outrun")
    lab.race((full, 1e-5, won, lost), (full, 1e-4, lost, won), (4, 1e-3, won, won))
    assert beside(lab, "base-ft").seeds == 2
