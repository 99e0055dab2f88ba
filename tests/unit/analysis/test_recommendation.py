"""What a sweep says about rank, on cases that can be worked out by hand."""

import dataclasses
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from made_sweeps import Lab, right_rows

from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.row_groups import TooFew
from tabtune_core.events import Note, to_json
from tabtune_core.metrics import metrics_of, score_all
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_folder import PREDICTIONS_FILE


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def difference(differences_N):
    """The mean of paired differences of the predicted class, with half a row more in each direction."""
    n, off_N = len(differences_N), differences_N - differences_N.mean()
    error = math.sqrt((off_N**2).sum() / (n * (n - 1)) + (off_N**2).max() / (n - 1) ** 2)
    return Difference(differences_N.mean(), error, n - 1, (off_N**3).sum() / ((n - 1) * error) ** 3)


def half_width(pairs, before):
    """Half of the interval of the difference between two models that predict these pairs right."""
    return difference(right_rows(pairs).astype(float) - right_rows(before)).half


FOUR_RANKS = (
    (2, [0.5], range(10)),
    (4, [0.75], range(2, 17)),
    (32, (0.8,), range(16)),
    ("inference", [0.5], range(10)),
)


def test_differences_are_paired_row_by_row(lab):
    rows = lab.add(*FOUR_RANKS).rows()
    assert rows.loc["2", ["gap", "gap_half_width"]].tolist() == pytest.approx([0.3, half_width(range(16), range(10))])
    assert rows.loc["4", ["gap", "lora_gap_half_width"]].tolist() == pytest.approx(
        [0.05, half_width(range(16), range(2, 17))]
    )
    expected = [0.3, half_width(range(16), range(10))]
    assert rows.loc["32", ["gain", "gain_half_width"]].tolist() == pytest.approx(expected)
    assert rows.loc["32", ["test_gain", "test_gain_half_width"]].tolist() == pytest.approx(expected)
    assert rows.loc["inference", ["gain", "gain_half_width"]].isna().all(), "zero-shot gains nothing over itself"
    # r=4 is within one standard error of r=32, not r=2
    assert rows["tied"].dropna().to_dict() == {"32": True, "4": True, "2": False}


def test_the_chosen_rank_names_its_rule_and_the_cost_of_the_best(lab):
    lab.add(*FOUR_RANKS)
    half = half_width(range(16), range(2, 17))
    enough, dearer = f"ranks 4 and 32 are within noise (±{half:.4f})", "used 3.0 MB more memory, trained 28.0 s longer"
    noise = f"has an adapter that is 28.0 kB larger, for +0.0500 ± {half:.4f} accuracy, which may still be noise."
    assert all(part in lab.texts() for part in ("Rank 4 is enough:", enough, dearer, noise))


def test_a_run_that_kept_the_pretrained_model_has_no_gain_despite_rounding(lab):
    lab.add((2, (0.8 + 1e-9,), range(16), range(16)), ("inference", (0.8,), range(16)), zero_shot=0.8, best_step=0)
    assert (
        lab.answer()
        .sentences[0]
        .startswith("The best LoRA (r=2) is not better than zero-shot on the validation rows. Use")
    )


def test_the_interval_over_seeds_includes_their_spread(lab):
    """Both seeds hold out the same rows, so a second seed cannot reduce the noise of the rows."""
    alone = lab.add((4, (0.8,), range(16)), ("inference", (0.5,), range(10))).answer().claim.difference
    both = lab.add((4, (0.8, 0.8), range(16)), ("inference", (0.5, 0.5), range(10))).answer().claim.difference
    assert both.half == pytest.approx(alone.half)
    runs = [run for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft"]
    shutil.rmtree(lab.store.run_dir(runs[1].id))
    lab.predict(runs[1].id, range(10))
    apart = lab.answer().claim.difference
    # 0.3 and 0: the noise of the first one's rows explains part of their variance
    assert apart.between_seeds == pytest.approx(0.3**2 / 2 - alone.error**2 / 2)
    assert apart.half > both.half
    assert "the spread over 2 seeds" in lab.texts()


@pytest.mark.parametrize("metric", metrics_of("classification"))
def test_equal_predictions_tie_under_every_score(lab, metric):
    y_N, p_N = np.ones(40, dtype=int), np.where(right_rows(range(12)), 0.9, 0.2)
    score = score_all(y_N, np.column_stack([1 - p_N, p_N]))[metric]
    lab.add((2, (score,), range(12)), (4, (score,), range(12)), metric=metric)
    expected = {} if np.isnan(score) else {"2": True, "4": True}
    assert lab.rows(metric)["tied"].to_dict() == expected


def test_without_predictions_nothing_is_claimed_and_the_text_says_so(lab):
    lab.add((2, (0.7, 0.7)), (4, (0.8, 0.8)), ("inference", (0.5, 0.5)))
    assert "No gain over zero-shot is claimed: how much of its gain on these rows is noise is not known." in lab.texts()
    assert "r=4 at one rate has the best validation accuracy of the LoRA runs: 0.8000." in lab.texts()
    assert lab.rows()["tied"].isna().all()
    assert "±" not in lab.texts()


def test_predictions_of_other_rows_or_from_a_damaged_file_give_no_interval(lab):
    lab.add((2, (0.7,), range(14)), (4, (0.8,), range(16)))
    worse, best = (lab.store.run_dir(run.id) / PREDICTIONS_FILE for run in lab.store.runs())
    pd.read_parquet(best).assign(row=range(1, 81)).to_parquet(best)
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": False, "2": True}
    pd.read_parquet(best).assign(row=range(80)).to_parquet(best)
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": False, "2": False}
    worse.write_bytes(b"no parquet")
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": False, "2": True}
    assert "Runs without predictions for these rows have none." in lab.texts()


def test_a_nan_score_excludes_its_seed_for_all_configurations(lab):
    lab.add((2, (0.6, 0.6, math.nan)), (4, (0.8, 0.7, 0.1)))
    assert lab.rows()["score"].to_dict() == pytest.approx({"4": 0.75, "2": 0.6})
    assert "Compared on seeds 0, 1, where every configuration has a score." in lab.texts()


def test_a_claim_counts_every_seed_of_the_chosen_configuration(lab):
    lab.add((2, (0.6,), range(12)), (4, (0.8, 0.8), range(16)), ("inference", (0.5, 0.5), range(10)))
    assert len(lab.answer().claim.runs) == 2
    assert "Compared on seed 0, where every configuration has a score." in lab.texts()


def test_with_too_few_rows_of_a_class_nothing_is_claimed_and_the_needed_number_is_given(lab):
    lab.add(*FOUR_RANKS, metric="balanced_accuracy")
    for run in lab.store.runs():
        path = lab.store.run_dir(run.id) / PREDICTIONS_FILE
        frame = pd.read_parquet(path)
        frame.assign(label=np.where(frame["row"] % 40 < 3, "no", "yes")).to_parquet(path)
    found = lab.answer("balanced_accuracy")
    assert (found.claim.verdict, found.claim.difference) == ("too few", TooFew("random", "no", 3, 5))
    assert "effectively 3 rows with the class 'no', at least 5 needed." in " ".join(found.sentences)
    assert "Too few rows give no interval." in found.basis


def test_other_settings_that_differ_at_one_rank_are_named(lab):
    lab.add(
        (LoraSettings(rank=4, dropout=0.0), (0.6,), range(12)),
        (LoraSettings(rank=4, dropout=0.2), (0.95,), range(19)),
        (32, (0.9,), range(18)),
        ("inference", (0.5,), range(10)),
    )
    assert "Rank 4 is enough: no larger rank is better on the validation rows at one rate. r=32 (drop" in lab.texts()


def test_configurations_of_one_rank_and_score_are_in_the_order_of_the_board(lab):
    lab.add(*((LoraSettings(rank=4, alpha=alpha), (0.6,)) for alpha in (32.0, 8.0, 16.0)))
    assert lab.rows()["alpha"].tolist() == lab.board()["alpha"].tolist() == [32.0, 8.0, 16.0]


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (TrainSettings(steps=3), "trained for 3 steps, the others for 30 epochs"),
        (TrainSettings(context_rows=64), "trained with 64 context rows, the others with 512"),
    ],
)
def test_a_run_with_other_steps_or_rows_has_a_gain_but_is_not_compared(lab, train, told):
    """A gain over the zero-shot of other runs would be 0.4."""
    lab.add(
        *FOUR_RANKS,
        (RunSettings(dataset="d", target="y", lora=LoraSettings(rank=2), train=train), (0.9,), range(18), range(17)),
    )
    other = next(run for run in lab.store.runs() if run.settings.changed(learning_rate=None).train == train)
    lab.store._write(
        "UPDATE runs SET result = ? WHERE id = ?",
        (to_json(dataclasses.replace(other.result, zero_shot_validation={"accuracy": 0.85}))[1], other.id),
    )
    assert lab.board().set_index("run").loc[other.id, "gain"] == pytest.approx(0.05)
    assert "Validation chooses r=32" in lab.texts()
    assert told in lab.texts()


def test_runs_with_different_held_out_rows_are_never_paired(lab):
    lab.add(*FOUR_RANKS, rows_sha256="a")
    other = RunSettings(dataset="d", target="y", lora=LoraSettings(rank=8), validation_share=0.3)
    lab.end(lab.store.duplicate(lab.store.runs()[0].id, other, "more"), other, 0.9, [range(18)], rows_sha256="b")
    assert "more (its held-out rows differ from those of the others)" in lab.texts()
    assert "Validation chooses r=32" in lab.texts()


@pytest.mark.parametrize(
    ("boosting", "advice"),
    [
        (range(20), "Use gradient boosting."),
        (range(14), "Use gradient boosting: LoRA r=4 is not shown to be better"),
        (range(2, 14), "Cannot tell: LoRA r=4 and gradient boosting are not shown to differ."),
        (range(2), "Take LoRA r=4."),
    ],
)
def test_the_advice_is_over_references_too(lab, boosting, advice):
    lab.add((4, (0.9,), range(14)), ("inference", (0.5,), range(2)), ("boosting", (0.8,), boosting))
    assert lab.answer().sentences[2].startswith(advice) and lab.texts().count("without a foundation model") == 1
    assert lab.answer().verdict.headline == advice.rstrip(".").split(":")[0]


@pytest.mark.parametrize(("split_by", "unit"), [("group", "group by group"), ("time", "by block of time")])
def test_the_basis_says_what_the_interval_counts_as_one(tmp_path, split_by, unit):
    by = {"dataset": "d", "target": "y", "split_by": split_by, "split_column": "who"}
    runs = [
        (RunSettings(lora=LoraSettings(rank=rank), **by), (score,), range(18)) for rank, score in ((2, 0.9), (4, 0.8))
    ]
    assert f"{unit} (40 validation" in Lab(tmp_path).add(*runs).answer().basis


def test_a_constant_that_is_as_good_on_the_test_rows_is_named_and_one_that_leads_is_the_answer(tmp_path):
    runs = (2, (0.8,), range(8)), (4, (0.9,), range(8)), ("linear", (0.7,))
    alike = Lab(tmp_path / "alike").add(*runs, ("constant", (0.95,), range(10)), metric="log_loss").answer("log_loss")
    assert "a constant is not shown to be better or worse than the model as it is" in " ".join(alike.sentences)
    assert alike.verdict.headline != "No run beats a constant"
    lab = Lab(tmp_path / "lead").add(*runs, ("constant", (0.6,), range(20)), metric="log_loss")
    verdict = lab.answer("log_loss").verdict
    assert (verdict.headline, verdict.choice) == ("No run beats a constant", None)
    assert "No run beats a constant on the validation rows" in lab.texts("log_loss")


def test_the_verdict_holds_the_numbers_of_the_smallest_rank_as_good(lab):
    lab.add(
        (2, (0.9,), range(2, 20)),
        (4, (0.95,), range(19)),
        ("inference", (0.5,), range(10)),
        ("linear", (0.6,), range(2)),
    )
    verdict = lab.answer().verdict
    assert (verdict.headline, verdict.choice, verdict.lora) == ("Take LoRA r=2", "peft", "r=2")
    assert (verdict.part, verdict.scores) == ("test", {"accuracy": (0.5, 0.9)})
    assert 0 < verdict.gain.low < 0.4 < verdict.gain.high
    assert list(verdict.costs.values()) == [100e6, 12.0, 2000]
    assert (verdict.classic.strategy, verdict.classic.score, verdict.classic.ours) == ("linear", 0.6, 0.95)


def test_seconds_of_disturbed_runs_enter_no_sentence(lab):
    lab.add((2, (0.95,), range(19)), (32, (0.9,), range(18)), ("inference", (0.5,), range(10)))
    assert "trained 30.0 s longer" in lab.texts()
    for run in lab.store.runs():
        lab.store.append(run.id, Note("The run was disturbed: its threads waited.", "warning"))
    assert "longer" not in lab.texts()


def test_a_repeated_run_counts_once_in_score_and_interval(lab):
    lab.add((4, (0.8,), range(16)), (2, (0.7,), range(14)), ("inference", (0.5,), range(10)))
    before = lab.rows().loc["4", ["score", "score_half_width", "gain", "gain_half_width"]].tolist()
    [run] = [
        run for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft" and run.settings.lora.rank == 4
    ]
    lab.end(lab.store.duplicate(run.id, run.settings, "again"), run.settings, 0.95, [range(19)])
    assert lab.rows().loc["4", ["score", "score_half_width", "gain", "gain_half_width"]].tolist() == before
    assert "again (repeats another run)" in lab.texts()


def test_the_page_says_that_its_intervals_are_wider_than_those_of_the_board(lab):
    lab.add(*FOUR_RANKS, ("linear", (0.6,), range(12)))
    found = lab.answer()
    assert found.verdict.gain.choices == 2 and "Intervals here on the test rows are wider" in found.basis
    alone, halves = found.configurations.iloc[0]["test_gain_half_width"], found.claim.difference.half
    assert halves > alone == pytest.approx(dataclasses.replace(found.claim.difference, choices=1).half)
