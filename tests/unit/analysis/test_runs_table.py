import math
from dataclasses import replace

import pytest
import random_sweeps
from made_sweeps import Lab

from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.recommendation import recommend
from tabtune_core.analysis.runs_table import COLUMNS, NO_ADAPTER, NO_GAIN, costs_note, elsewhere, leaderboard
from tabtune_core.charts.rank_curve import answer
from tabtune_core.errors import SettingError
from tabtune_core.events import RunPlanned
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.store.runs import RunStore

ZERO_SHOT = {"log_loss": 0.6, "accuracy": 0.7}
BASE = replace(random_sweeps.BASE, best_step=5, zero_shot_validation=ZERO_SHOT, adapter_verified=True)
PLAN = RunPlanned("cpu", 9, 1, 1, 1, 1, 1, 1, (), 1, 1, (), {})
RATE = CATALOGUE["tabicl-mini"].usual_rate("classification", "peft")


@pytest.fixture
def board_of(tmp_path):
    """Makes a leaderboard from (settings, result) pairs; a result of None is a failed run."""
    store = RunStore(tmp_path)

    def board(*pairs, rank_by="log_loss"):
        sweep, ids = store.add_sweep([settings for settings, _ in pairs])
        for run_id, (_, result) in zip(ids, pairs, strict=True):
            store.finish(run_id, getattr(result, "outcome", "failed"), result=result)
        return leaderboard(store.runs(sweep), rank_by)

    board.store = store
    return board


def lora(rank=8, **others):
    return RunSettings(dataset="d", target="y", lora=LoraSettings(rank=rank, **others))


def scored(log_loss, accuracy=0.5, **others):
    return replace(BASE, validation={"log_loss": log_loss, "accuracy": accuracy}, **others)


def test_the_best_validation_score_is_first_and_runs_that_do_not_count_have_no_place(board_of):
    board = board_of(
        (lora(2), None),
        (lora(4), scored(0.5, test={"log_loss": 0.1})),
        (lora(8), scored(0.3, test={"log_loss": 0.9})),
        (lora(16), scored(math.nan)),
        (lora(32), scored(0.1, outcome="stopped")),
    )
    assert board["rank"].tolist()[:2] == [8, 4]
    assert board["place"].fillna(0).tolist() == [1, 2, 0, 0, 0]
    assert board["test_log_loss"].tolist()[:2] == [0.9, 0.1], "the test scores never rank"
    higher = board_of((lora(2), scored(0.1, 0.6)), (lora(4), scored(0.2, 0.9)), rank_by="accuracy")
    assert higher["rank"].tolist() == [4, 2]


def test_equal_scores_share_a_place_and_the_smaller_run_comes_first(board_of):
    large, small = scored(0.3, trainable_parameters=80), scored(0.3, trainable_parameters=20)
    board = board_of((lora(8), large), (lora(2), small), (lora(4), scored(0.5)))
    assert board["place"].tolist() == [1, 1, 3]
    assert board["rank"].tolist() == [2, 8, 4]


def test_a_run_that_never_beat_zero_shot_says_so(board_of):
    zero_shot = RunSettings(dataset="d", target="y", strategy="inference")
    board = board_of((lora(), scored(0.6, best_step=0)), (zero_shot, scored(0.6, best_step=0)), (lora(4), scored(0.5)))
    assert board.set_index("name")["note"].to_dict() == {"LoRA r=8": NO_GAIN, "Zero-shot": "", "LoRA r=4": ""}


@pytest.mark.parametrize(("verified", "note"), [(True, ""), (False, NO_ADAPTER), (None, NO_ADAPTER)])
def test_a_run_whose_adapter_is_not_offered_says_so(board_of, verified, note):
    assert board_of((lora(), scored(0.4, adapter_bytes=7, adapter_verified=verified)))["note"].tolist() == [note]


def test_a_row_holds_the_settings_as_used(board_of):
    row = board_of((lora(4, targets=("decoder", "row_attention")), scored(0.5))).iloc[0]
    assert (row["rank"], row["alpha"], row["dropout"], row["targets"]) == (4, 8.0, 0.05, "decoder row_attention")
    assert (row["strategy"], row["model"], row["learning_rate"], row["seed"]) == ("peft", "tabicl-mini", RATE, 0)


def test_without_runs_the_board_is_empty_but_has_its_columns():
    assert list(leaderboard([]).columns) == list(COLUMNS)


def test_an_unknown_metric_is_refused():
    with pytest.raises(SettingError, match=r"cannot rank by 'acuracy'; known are log_loss, accuracy"):
        leaderboard([], "acuracy")


def test_a_reference_is_ranked_and_has_no_model_columns(board_of):
    reference = replace(
        scored(0.2), best_step=0, steps_done=0, zero_shot_validation={}, trainable_parameters=0, total_parameters=0
    )
    board = board_of((RunSettings(dataset="d", target="y", strategy="boosting"), reference), (lora(4), scored(0.5)))
    first = board.iloc[0]
    assert first[["name", "place", "model", "note"]].tolist() == ["Gradient boosting", 1, "scikit-learn", ""]
    empty = ["gain", "rank", "learning_rate", "steps", "best_step", "trainable_percent", "total_parameters"]
    assert first[empty].isna().all()


def test_a_resumed_run_says_so_on_the_board_and_in_its_configuration(board_of):
    store = board_of.store
    _, (run_id, _) = store.add_sweep([lora(2), lora(4)])
    store.claim(1, "1", run_id)
    store.requeue(run_id, "Killed.")
    store.finish(run_id, "finished", result=scored(0.3, resumed_steps=(40,)))
    board = leaderboard(store.runs())
    assert board["resumed"].tolist() == ["Resumed at step 40 after an interruption", ""]
    assert by_configuration(board, "log_loss")["resumed"].tolist() == ["Resumed at step 40 after an interruption", ""]


GPU, OTHER, CPU = "cuda:0 (NVIDIA A100)", "cuda:1 (NVIDIA RTX 4060)", "cpu (2 threads)"
BOOSTING, ZERO_SHOT = (RunSettings(dataset="d", target="y", strategy=name) for name in ("boosting", "inference"))


@pytest.mark.parametrize(
    ("runs", "kept"),
    [
        ([(lora(2), GPU), (lora(4), GPU), (lora(8), CPU), (BOOSTING, CPU), (BOOSTING.changed(seed=1), CPU)], {2, 4}),
        ([(lora(2), GPU), (lora(4), GPU, "archived"), (lora(8), CPU), (lora(16), CPU)], {8, 16}),
        ([(lora(2), CPU), (lora(4), GPU, "diverged"), (lora(8), GPU, "stopped")], {2}),  # set apart
        ([(BOOSTING, CPU), (lora(2), GPU), (lora(4), CPU)], {2}),  # tied: the first trained one
        ([(lora(2), OTHER), (lora(4), GPU), (lora(8), GPU)], {4, 8}),  # two models of GPU are not one meter
        ([(BOOSTING, CPU), (ZERO_SHOT, GPU), (lora(2), "")], {"inference"}),  # no trained run is planned yet
        ([(ZERO_SHOT, CPU), (BOOSTING, CPU), (lora(2), GPU, "running")], set()),
    ],
)
def test_a_sweep_has_the_costs_of_the_device_of_its_trained_runs(tmp_path, runs, kept):
    store = RunStore(tmp_path)
    sweep, ids = store.add_sweep([settings for settings, *_ in runs])
    for run_id, (_, device, *how) in zip(ids, runs, strict=True):
        if device:
            store.append(run_id, replace(PLAN, device=device))
        result = scored(0.3, growth_memory_bytes=7)
        if device and how != ["running"]:
            store.finish(run_id, next((one for one in how if one != "archived"), "finished"), result=result)
        if how == ["archived"]:
            store.archive(run_id)
    _, (other,) = store.add_sweep([lora(2)])
    store.append(other, replace(PLAN, device=CPU))
    store.finish(other, "finished", result=scored(0.3, growth_memory_bytes=7))
    board = leaderboard(store.runs()).set_index("run")
    own = board[board["sweep"] == sweep]
    for cost in ("growth_memory_bytes", "train_seconds"):
        measured = own[own[cost].notna()]
        assert {*measured["rank"].dropna(), *measured.loc[measured["rank"].isna(), "strategy"]} == kept
        assert board.loc[other, cost] > 0, "another sweep has its own device"
    assert own["validation_log_loss"].notna().sum() == sum(bool(one[1]) and one[2:] != ("running",) for one in runs)
    assert own["costs_on"].unique().item() in costs_note(own)


def test_a_mean_over_seeds_of_two_devices_has_no_costs_anywhere(tmp_path):
    lab = Lab(tmp_path).add(("inference", (0.5, 0.5)), (4, (0.9, 0.9)), (8, (0.8, 0.8)))
    for run in lab.store.runs(lab.sweep):
        lab.store.append(run.id, replace(PLAN, device=(GPU, CPU)[run.settings.seed]))
    board = leaderboard(lab.store.runs(lab.sweep), "accuracy")
    assert board["train_seconds"].notna().sum() == 3
    found = recommend(lab.store, board, "accuracy")
    table, drawn = by_configuration(board, "accuracy"), answer(board, "accuracy").best
    for frame in (table, found.configurations, drawn):
        assert frame["train_seconds"].isna().all()
        assert len(frame) > 1


def test_a_run_that_measured_nothing_is_not_on_another_device(board_of):
    board = board_of((lora(2), scored(0.3)), (lora(4), None))
    assert board["status"].tolist() == ["finished", "failed"]
    assert not elsewhere(board).any()
    assert costs_note(board) == ""
