"""The ensemble of a sweep, on cases that can be worked out by hand."""

from functools import partial

import numpy as np
import pytest
from made_sweeps import Lab

from tabtune_core.analysis.ensemble import LORA, ensemble_of
from tabtune_core.metrics import METRICS
from tabtune_core.store.predictions import read_predictions

ZERO = ("inference", (0.5,), range(10))


def together(lab, rank_by="accuracy"):
    own = [run.id for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft"]
    return ensemble_of(lab.board(rank_by), own, rank_by, partial(read_predictions, lab.store))


def test_models_with_errors_of_their_own_are_mixed_and_what_lora_adds_is_measured(tmp_path):
    lab = Lab(tmp_path).add(ZERO, (4, (0.7,), range(14)), ("boosting", (0.65,), range(7, 20)))
    found = together(lab)
    assert found.weights.keys() == {LORA, "gradient boosting"} and sum(found.weights.values()) == 1
    assert found.others == ("zero-shot", "gradient boosting")
    assert found.validation == found.test == 1.0  # one of the two is right everywhere, and surer where both are
    assert found.added.value > 0 and found.gain.value == pytest.approx(0.5)
    assert "zero-shot and gradient boosting together" in found.sentence(METRICS["accuracy"])


def test_weights_are_the_greedy_optimum_of_the_log_loss(tmp_path):
    lab = Lab(tmp_path).add((4, (0.5,), range(10)), ("boosting", (0.5,), range(10, 20)))
    found = together(lab, "accuracy")
    assert {name: float(weight) for name, weight in found.weights.items()} == {LORA: 0.5, "gradient boosting": 0.5}


def test_a_lora_that_is_worse_on_every_row_gets_no_weight(tmp_path):
    found = together(Lab(tmp_path).add(ZERO, (4, (0.6,), range(3)), ("boosting", (0.9,), range(18))))
    assert LORA not in found.weights and found.added is None
    assert found.sentence(METRICS["accuracy"]).startswith("LoRA adds nothing to gradient boosting:")


def test_a_model_that_predicts_as_an_earlier_one_gets_no_weight(tmp_path):
    same = [("base-ft", (0.8,), range(16)), ("boosting", (0.8,), range(16)), (4, (0.8,), range(16))]
    assert len(together(Lab(tmp_path).add(*same)).weights) == 1


def test_beside_zero_shot_alone_nothing_is_said_twice(tmp_path):
    found = together(Lab(tmp_path).add(ZERO, (4, (0.9,), range(18))))
    assert found.added is None and found.sentence(METRICS["accuracy"]) == ""
    found = together(Lab(tmp_path / "one").add((4, (0.9,), range(18)), ("boosting", (0.8,), range(16))))
    assert set(found.weights) == {LORA} and found.added is None  # LoRA against boosting has its own sentence


def test_costs_are_those_of_all_members(tmp_path):
    lab = Lab(tmp_path).add((4, (0.5, 0.5), range(10)), ("boosting", (0.5, 0.5), range(10, 20)))
    board, found = lab.board().set_index("strategy"), together(lab)
    assert found.train_seconds == pytest.approx(
        board.loc["peft", "train_seconds"].iloc[0] + board.loc["boosting", "train_seconds"].iloc[0]
    )
    assert found.memory_bytes == board["growth_memory_bytes"].max() and found.adapter_bytes == 4000


@pytest.mark.parametrize(
    "runs",
    [[(4, (0.9,), range(18))], [(4, (0.9,)), ("boosting", (0.5,))], [(4, (0.9,), range(9)), ("boosting", (0.5,))]],
)
def test_one_member_or_missing_predictions_make_no_ensemble(tmp_path, runs):
    assert together(Lab(tmp_path).add(*runs)) is None


def test_members_with_other_rows_or_seeds_stay_out(tmp_path):
    lab = Lab(tmp_path).add(ZERO, (4, (0.9,), range(18)), ("boosting", (0.9,), range(2, 20)))
    read = partial(read_predictions, lab.store)
    [run] = [run.id for run in lab.store.runs(lab.sweep) if run.settings.strategy == "boosting"]

    def others(which, part):
        rows = read(which, part)
        if which == run:
            rows.rows_N[:] = np.roll(rows.rows_N, 1)
        return rows

    own = [one.id for one in lab.store.runs(lab.sweep) if one.settings.strategy == "peft"]
    assert "gradient boosting" not in ensemble_of(lab.board(), own, "accuracy", others).weights
    lab = Lab(tmp_path / "seeds").add((4, (0.9, 0.9), range(18)), ("boosting", (0.9,), range(2, 20)))
    assert together(lab) is None
