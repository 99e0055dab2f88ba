"""What a sweep says about rank, on cases that can be worked out by hand."""

import dataclasses
import math
import re
import shutil
from functools import partial

import numpy as np
import pandas as pd
import pytest
from made_sweeps import MEGABYTES, Lab, right_rows

from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.recommendation import recommend, with_noise
from tabtune_core.analysis.row_groups import TooFew
from tabtune_core.events import to_json
from tabtune_core.metrics import METRICS, metrics_of, score_all
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.predictions import read_predictions
from tabtune_core.store.run_folder import PREDICTIONS_FILE


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def half_width(differences_N):
    """See ``difference``."""
    return difference(differences_N).half


def difference(differences_N):
    """The mean of paired differences of the predicted class, with half a row more in each direction."""
    n, off_N = len(differences_N), differences_N - differences_N.mean()
    error = math.sqrt((off_N**2).sum() / (n * (n - 1)) + (off_N**2).max() / (n - 1) ** 2)
    return Difference(differences_N.mean(), error, n - 1, (off_N**3).sum() / ((n - 1) * error) ** 3)


def right(pairs):
    """Returns 1 for each of 40 rows that is predicted right."""
    return right_rows(pairs).astype(float)


FOUR_RANKS = (
    (2, (0.5,), range(10)),
    (4, (0.75,), range(2, 17)),
    (32, (0.8,), range(16)),
    ("inference", (0.5,), range(10)),
)


def test_differences_are_paired_row_by_row(lab):
    rows = lab.add(*FOUR_RANKS).rows()
    assert rows.loc["2", ["gap", "gap_half_width"]].tolist() == pytest.approx(
        [0.3, half_width(right(range(16)) - right(range(10)))]
    )
    assert rows.loc["4", ["gap", "lora_gap_half_width"]].tolist() == pytest.approx(
        [0.05, half_width(right(range(16)) - right(range(2, 17)))]
    )
    expected = [0.3, half_width(right(range(16)) - right(range(10)))]
    assert rows.loc["32", ["gain", "gain_half_width"]].tolist() == pytest.approx(expected)
    assert rows.loc["32", ["test_gain", "test_gain_half_width"]].tolist() == pytest.approx(expected)
    assert rows.loc["inference", ["gain", "gain_half_width"]].isna().all(), "zero-shot gains nothing over itself"
    # r=4 is within one standard error of r=32, not r=2
    assert rows["tied"].dropna().to_dict() == {"32": True, "4": True, "2": False}


def test_the_chosen_rank_names_its_rule_and_the_cost_of_the_best(lab):
    lab.add(*FOUR_RANKS)
    half = half_width(right(range(16)) - right(range(2, 17)))
    assert (
        "On the validation rows r=4 is the smallest rank within one standard error of the best (r=32). r=32 used 3.0 "
        "MB more memory, "
        f"trained 28.0 s longer and has an adapter that is 28.0 kB larger, for +0.0500 ± {half:.4f} accuracy, which "
        "may still be noise."
    ) in lab.said()
    assert "Rank hardly changes memory here (100.0 to 104.0 MB); the number of context rows does." in lab.said()


def test_no_sentence_compares_the_costs_of_a_gpu_and_a_cpu(lab, monkeypatch):
    made = lab.result
    monkeypatch.setitem(MEGABYTES, 8, 50)  # that of full fine-tuning
    lab.result = lambda one, *scores: dataclasses.replace(
        made(one, *scores),
        memory_meter="torch_allocated" if one.strategy == "base-ft" else "resident",
    )
    lab.add(*FOUR_RANKS, ("base-ft", (0.4,)))
    assert "saved no memory" not in lab.said()
    lab.result = made
    lab.add(*FOUR_RANKS, ("base-ft", (0.4,)))
    assert "saved no memory" in lab.said()


def test_a_best_rank_that_costs_less_is_described_without_a_negative_number(lab, monkeypatch):
    monkeypatch.setitem(MEGABYTES, 4, 107.2)
    lab.add((2, (0.5,), range(10)), (4, (0.95,), range(19)), (32, (0.6,), range(12)), ("inference", (0.5,), range(10)))
    monkeypatch.setitem(MEGABYTES, 32, 90.0)
    assert "Compared with r=2 it used 7.2 MB more memory, trained 2.0 s longer" in lab.said()
    assert not re.search(r"-\d+\.\d (MB|s|kB)", lab.said())


def test_a_run_that_kept_the_pretrained_model_has_no_gain_despite_rounding(lab):
    lab.add((2, (0.8 + 1e-9,), range(16), range(16)), ("inference", (0.8,), range(16)), zero_shot=0.8, best_step=0)
    assert (
        lab.found().sentences[0]
        == "The best LoRA (r=2) is not better than zero-shot on the validation rows. Use the pretrained model as it is."
    )


def test_a_configuration_without_a_gain_may_have_a_better_run(lab):
    lab.add((2, (0.6, 0.4), range(12)), ("inference", (0.5, 0.5), range(10)))
    assert (
        lab.found()
        .sentences[0]
        .startswith("The best LoRA (r=2) is not better than zero-shot on the validation rows, on average over")
    )


def test_the_sentence_is_reversed_when_lower_is_better(lab):
    before, after = (
        score_all(np.ones(40, int), np.column_stack([1 - p, p]))["log_loss"]
        for p in (np.where(right(range(n)) > 0, 0.9, 0.2) for n in (10, 19))
    )
    lab.add((4, (after,), range(19)), ("inference", (before,), range(10)), metric="log_loss", zero_shot=before)
    assert f"its log-loss there is {after:.4f}, zero-shot has {before:.4f}" in lab.said("log_loss")
    assert re.search(
        r"it improves log-loss by 0\.\d+ nats over zero-shot, 95 % interval \d\.\d+ to \d\.", lab.said("log_loss")
    )


def test_the_sentence_when_the_best_rank_is_the_smallest(lab):
    lab.add((2, (0.95,), range(19)), (4, (0.9,), range(18)), ("inference", (0.5,), range(10)))
    assert (
        "r=2 is the smallest rank, and no larger one is better on the validation rows. r=4 used 1.0 MB more memory"
        in lab.said()
    )


def test_the_interval_over_seeds_includes_their_spread(lab):
    """Both seeds hold out the same rows, so a second seed cannot reduce the noise of the rows."""
    alone = lab.add((4, (0.8,), range(16)), ("inference", (0.5,), range(10))).found().claim.found
    both = lab.add((4, (0.8, 0.8), range(16)), ("inference", (0.5, 0.5), range(10))).found().claim.found
    assert both.half == pytest.approx(alone.half)
    runs = [run for run in lab.store.runs(lab.sweep) if run.settings.strategy == "peft"]
    shutil.rmtree(lab.store.run_dir(runs[1].id))
    lab.predict(runs[1].id, range(10))
    apart = lab.found().claim.found
    # 0.3 and 0: the noise of the first one's rows explains part of their variance
    assert apart.between_seeds == pytest.approx(0.3**2 / 2 - alone.error**2 / 2)
    assert apart.half > both.half
    assert "the spread over 2 seeds" in lab.said()


@pytest.mark.parametrize("metric", metrics_of("classification"))
def test_equal_predictions_tie_under_every_score(lab, metric):
    y_N, p_N = np.ones(40, dtype=int), np.where(right_rows(range(12)), 0.9, 0.2)
    score = score_all(y_N, np.column_stack([1 - p_N, p_N]))[metric]
    lab.add((2, (score,), range(12)), (4, (score,), range(12)), metric=metric)
    expected = {} if np.isnan(score) else {"2": True, "4": True}
    assert lab.rows(metric)["tied"].to_dict() == expected


def test_a_validation_only_lead_of_full_fine_tuning_is_mentioned_but_not_claimed(lab):
    said = lab.add((4, (0.8,), range(16)), ("base-ft", (0.85,), range(17))).said()
    change = f"+0.0500 ± {half_width(right(range(17)) - right(range(16))):.4f} accuracy"
    assert "Validation chooses r=4 among the LoRA runs" in said
    assert f"On the validation rows full fine-tuning is ahead of the best LoRA (r=4): {change}. " in said
    assert f"The test rows do not confirm it: {change}." in said
    assert "Full fine-tuning is better" not in said


def test_a_lead_of_full_fine_tuning_without_predictions_has_no_interval(lab):
    said = lab.add((4, (0.8,)), ("base-ft", (0.85,))).said()
    change = "+0.0500 accuracy (noise not known)"
    lead = f"On the validation rows full fine-tuning is ahead of the best LoRA (r=4): {change}."
    assert f"{lead} The test rows do not confirm it: {change}." in said


def test_full_fine_tuning_that_is_behind_is_not_mentioned(lab):
    said = lab.add((4, (0.8,), range(16)), ("base-ft", (0.75,), range(15))).said()
    assert "ull fine-tuning" not in said
    assert "among" not in said
    assert "Rank hardly changes memory" not in said, "one rank alone says nothing about memory"


def test_memory_that_grows_with_rank_is_not_blamed_on_context_alone(lab):
    lab.add((2, (0.6,)), (64, (0.8,)))
    assert "Rank hardly changes memory" not in lab.said()


def test_without_predictions_nothing_is_claimed_and_the_text_says_so(lab):
    lab.add((2, (0.7, 0.7)), (4, (0.8, 0.8)), ("inference", (0.5, 0.5)))
    assert "No gain over zero-shot is claimed: how much of its gain on these rows is noise is not known." in lab.said()
    assert "r=4 has the best validation accuracy of the LoRA runs: 0.8000." in lab.said()
    assert lab.rows()["tied"].isna().all()
    assert "±" not in lab.said()


def test_earlier_predictions_without_zero_shot_compare_ranks_but_claim_no_gain(lab):
    lab.add(*FOUR_RANKS)
    for run in lab.store.runs():
        path = lab.store.run_dir(run.id) / PREDICTIONS_FILE
        frame = pd.read_parquet(path)
        frame.drop(columns=[name for name in frame if name.startswith("zero_shot")]).to_parquet(path)
    assert lab.found().claim.verdict == "not known"
    assert "r=4 is the smallest rank within one standard error" in lab.said()
    assert "better than zero-shot" not in lab.said()


def test_predictions_of_other_rows_or_from_a_damaged_file_give_no_interval(lab):
    lab.add((2, (0.7,), range(14)), (4, (0.8,), range(16)))
    worse, best = (lab.store.run_dir(run.id) / PREDICTIONS_FILE for run in lab.store.runs())
    pd.read_parquet(best).assign(row=range(1, 81)).to_parquet(best)
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": False, "2": True}
    pd.read_parquet(best).assign(row=range(80)).to_parquet(best)
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": False, "2": False}
    worse.write_bytes(b"no parquet")
    assert lab.rows()["gap_error"].isna().to_dict() == {"4": False, "2": True}
    assert "Runs without predictions for these rows have none." in lab.said()


def test_a_nan_score_excludes_its_seed_for_all_configurations(lab):
    lab.add((2, (0.6, 0.6, math.nan)), (4, (0.8, 0.7, 0.1)))
    assert lab.rows()["score"].to_dict() == pytest.approx({"4": 0.75, "2": 0.6})
    assert "Compared on seeds 0, 1, where every configuration has a score." in lab.said()


def test_a_claim_counts_every_seed_of_the_chosen_configuration(lab):
    lab.add((2, (0.6,), range(12)), (4, (0.8, 0.8), range(16)), ("inference", (0.5, 0.5), range(10)))
    assert len(lab.found().claim.runs) == 2
    assert "Compared on seed 0, where every configuration has a score." in lab.said()


def test_test_rows_used_for_choosing_under_another_seed_are_not_called_unused(lab):
    lab.add((4, (0.8, 0.8), range(16)), ("inference", (0.5, 0.5), range(10)))
    assert "only the test rows, which were not used for any choice, can confirm an improvement" in lab.said()
    for run in lab.store.runs():
        path = lab.store.run_dir(run.id) / PREDICTIONS_FILE
        frame = pd.read_parquet(path)
        frame.assign(row=(frame["row"] + 40 * run.settings.seed) % 80).to_parquet(
            path
        )  # the second seed validates on the first one's
    assert (
        "only the test rows, 100% of which are validation rows under another seed, can confirm an improvement"
        in lab.said()
    )


def test_with_too_few_rows_of_a_class_nothing_is_claimed_and_the_needed_number_is_given(lab):
    lab.add(*FOUR_RANKS, metric="balanced_accuracy")
    for run in lab.store.runs():
        path = lab.store.run_dir(run.id) / PREDICTIONS_FILE
        frame = pd.read_parquet(path)
        frame.assign(label=np.where(frame["row"] % 40 < 3, "no", "yes")).to_parquet(path)
    found = lab.found("balanced_accuracy")
    assert (found.claim.verdict, found.claim.found) == ("too few", TooFew("random", "no", 3, 5, 3))
    assert (
        "No gain over zero-shot is claimed: the test rows are too few to tell (they hold 3 rows with the class 'no', "
        "and it takes 5)." in " ".join(found.sentences)
    )
    assert "Too few rows give no interval." in found.basis


def test_a_configuration_that_ran_twice_with_one_seed_counts_it_once(lab):
    lab.add(("inference", (0.5, 0.5), range(10)), (4, (0.9, 0.6), range(18)), (8, (0.8, 0.6), range(16)))
    first = next(
        run for run in lab.store.runs(lab.sweep) if run.settings.lora.rank == 4 and run.settings.strategy == "peft"
    )
    again = lab.store.duplicate(first.id, first.settings)
    lab.end(again, first.settings, 0.9, (range(18),))
    assert lab.rows().loc["4", ["score", "gain"]].tolist() == pytest.approx([0.75, 0.25])
    assert "Validation chooses r=4: its accuracy there is 0.7500, zero-shot has 0.5000." in lab.said()


def test_a_configuration_without_any_score_is_not_compared(lab):
    lab.add((2, (math.nan, math.nan)), (4, (0.8, 0.7)), (32, (0.9, 0.9)))
    assert set(lab.rows().index) == {"4", "32"}


def test_other_settings_that_differ_at_one_rank_are_named(lab):
    lab.add(
        (LoraSettings(rank=4, dropout=0.0), (0.6,), range(12)),
        (LoraSettings(rank=4, dropout=0.2), (0.95,), range(19)),
        (32, (0.9,), range(18)),
        ("inference", (0.5,), range(10)),
    )
    assert (
        "r=4 (dropout 0.2) is the smallest rank, and no larger one is better on the validation rows. r=32 (dropout "
        "0.05)" in lab.said()
    )


def test_one_run_alone_is_not_compared(lab):
    assert lab.add((4, (0.8,))).said() == ""


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
    assert "Validation chooses r=32: its accuracy there is 0.8000" in lab.said()
    assert told in lab.said()


def test_runs_with_different_held_out_rows_are_never_paired(lab):
    lab.add(*FOUR_RANKS, rows_sha256="a")
    other = RunSettings(dataset="d", target="y", lora=LoraSettings(rank=8), validation_share=0.3)
    lab.end(lab.store.duplicate(lab.store.runs()[0].id, other, "more"), other, 0.9, [range(18)], rows_sha256="b")
    assert "more (its held-out rows differ from those of the others)" in lab.said()
    assert "Validation chooses r=32" in lab.said()


def test_a_renamed_zero_shot_run_is_still_the_baseline(lab):
    lab.add(*FOUR_RANKS)
    before = lab.said()
    for run in lab.store.runs():
        lab.store.rename(run.id, "anything")
    assert lab.said() == before


def test_each_run_is_marked_as_within_the_noise_or_beyond_it(lab):
    lab.add(*FOUR_RANKS, (8, (math.nan,)))
    board = lab.board()
    own = partial(half_widths, metric=METRICS["accuracy"], load=partial(read_predictions, lab.store))
    noisy = with_half_widths(with_noise(board, recommend(lab.store, board, "accuracy").configurations), own)
    assert list(noisy.columns[: len(board.columns)]) == list(board.columns)
    by_rank = noisy[noisy["strategy"] == "peft"].set_index("rank")
    assert by_rank["tied_with_best"].dropna().to_dict() == {2: False, 4: True, 32: True}
    assert by_rank["test_gain_half_width"].isna().to_dict() == {2: False, 4: False, 8: True, 32: False}
    assert by_rank.loc[32, "gain_half_width"] == pytest.approx(half_width(right(range(16)) - right(range(10))))


def test_a_subset_of_a_board_gets_the_same_noise_as_the_whole(lab):
    board = lab.add(*FOUR_RANKS).board()
    configurations, some = lab.found().configurations, board["strategy"].eq("peft") & board["rank"].ne(32)
    assert some.tolist() == [False, True, True, False]
    pd.testing.assert_frame_equal(with_noise(board[some], configurations), with_noise(board, configurations)[some])


def test_runs_have_the_half_width_of_their_gain_and_configurations_that_of_the_mean(lab):
    lab.add((4, (0.8, 0.75), range(16)), ("inference", (0.5, 0.5), range(10)))
    lab.predict(lab.store.runs()[1].id, range(2, 17), range(10))
    own = [
        half_widths(run.id, METRICS["accuracy"], partial(read_predictions, lab.store))["gain"]
        for run in lab.store.runs()[:2]
    ]
    assert own == pytest.approx([half_width(right(rows) - right(range(10))) for rows in (range(16), range(2, 17))])
    assert lab.rows().loc["4", "gain_half_width"] not in own


def test_numeric_differences_are_in_the_targets_unit_with_enough_digits(lab):
    lab.add((2, [54_000.0]), ("base-ft", [50_000.0]), ("inference", [60_000.0]), metric="rmse", zero_shot=60_000.0)
    assert "(r=2): +4,000 RMSE (in the target's unit, + is better, noise not known)" in lab.said("rmse")


def test_the_text_says_when_lora_takes_more_memory_than_full_fine_tuning(lab, monkeypatch):
    monkeypatch.setitem(MEGABYTES, 8, 50)  # the memory of full fine-tuning, where the rank has no effect
    lab.add((2, (0.6,)), (4, (0.7,)), ("base-ft", (0.7,)), ("inference", (0.5,)))
    assert "LoRA saved no memory here (100.0 MB at least, full fine-tuning 50.0 MB)" in lab.said()
    monkeypatch.setitem(MEGABYTES, 8, 500)
    lab.add((2, (0.6,)), (4, (0.7,)), ("base-ft", (0.7,)), ("inference", (0.5,)))
    assert "saved no memory" not in lab.said()


@pytest.mark.parametrize(
    ("boosting", "advice"), [(range(20), "gradient boosting is better than r=4 by"), (range(16), "Use r=4")]
)
def test_a_reference_better_on_the_test_rows_replaces_the_advice(lab, boosting, advice):
    lab.add((4, (0.9,), range(14)), ("inference", (0.5,), range(2)), ("boosting", (0.8,), boosting))
    assert advice in lab.found().sentences[2] and lab.said().count("without a foundation model") == 1
    assert ("Use r=4" in lab.said()) == (advice == "Use r=4")


@pytest.mark.parametrize(
    ("boosting", "linear", "first"), [(0.8, 0.85, "The linear model"), (0.85, 0.8, "Gradient boosting")]
)
def test_the_better_of_two_leading_references_is_advised(lab, boosting, linear, first):
    lab.add(
        (4, (0.6,), range(12)),
        ("inference", (0.5,), range(10)),
        ("boosting", (boosting,), range(16)),
        ("linear", (linear,), range(16)),
    )
    assert (
        lab.found()
        .sentences[0]
        .startswith(f"{first}, without a foundation model, has the best validation accuracy: 0.8500;")
    )
    assert lab.found().sentences[0].endswith(f"Use {first[0].lower()}{first[1:]}.")


def test_references_do_not_change_the_text_about_rank(tmp_path):
    runs = [("inference", (0.5, 0.52, 0.51)), (2, (0.6, 0.65, 0.62)), (4, (0.7, 0.72, 0.71))]
    alone = Lab(tmp_path / "alone").add(*runs)
    beside = Lab(tmp_path / "beside").add(*runs, ("boosting", (0.9, 0.95, 0.92)), ("linear", (0.4,)))
    of_ranks = [sentence for sentence in beside.found().sentences if "foundation model" not in sentence]
    assert (
        [sentence.replace(" among the LoRA runs", "") for sentence in of_ranks] == list(alone.found().sentences) != []
    )
    assert set(beside.rows().index) == set(alone.rows().index)
    assert beside.board()["strategy"].iloc[0] == "boosting"


@pytest.mark.parametrize(
    ("split_by", "unit"), [("group", "group by group"), ("time", "block of time by block of time")]
)
def test_the_basis_says_what_the_interval_counts_as_one(tmp_path, split_by, unit):
    by = {"dataset": "d", "target": "y", "split_by": split_by, "split_column": "who"}
    runs = [
        (RunSettings(lora=LoraSettings(rank=rank), **by), (score,), range(18)) for rank, score in ((2, 0.9), (4, 0.8))
    ]
    assert f"differences {unit} (40 validation" in Lab(tmp_path).add(*runs).found().basis


@pytest.mark.parametrize(("guess", "said"), [((0.5, 0.5), True), ((0.1, 0.9), False)])
def test_a_model_that_is_no_better_than_guessing_is_named(tmp_path, guess, said):
    lab = Lab(tmp_path, guess).add((2, (0.4,), range(8)), (4, (0.3,), range(8)), metric="log_loss")
    assert ("guessing with the shares of the classes in its training rows" in lab.said("log_loss")) == said
