"""Which runs of a sweep are set apart and why, and sweeps in which each rank has its own learning rate."""

import dataclasses

import pytest
from made_sweeps import Lab
from random_sweeps import BASE

from dashboard.views.leaderboard import board_table
from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.races import race_notes, with_scores_so_far
from tabtune_core.analysis.recommendation import board_and_recommendation
from tabtune_core.analysis.set_apart import ARCHIVED, BEATEN, REPEATED, reasons_apart
from tabtune_core.charts.rank_curve import rank_curve
from tabtune_core.events import Evaluated, to_json
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_row import Run

STEPS, ROWS = {"train": TrainSettings(steps=5)}, "its held-out rows differ from those of the others"


def run_of(number, usual=None, **given):
    """A run with other settings, ``status``, ``archived``, or fields of its ``result``."""
    given = {"lora": LoraSettings(rank=2 + number), **(usual or {}), **given}
    status, archived = given.pop("status", "finished"), given.pop("archived", False)
    result = dataclasses.replace(BASE, **given.pop("result", {}))
    own = RunSettings(dataset="d", target="y", **given)
    nothing = dict.fromkeys(("heartbeat", "pid", "identity", "wish", "error", "retried_as"))
    times = {"created": float(number), "started": 0.0, "ended": 1.0}
    more = {"status": status, "settings": own, "result": result, "archived": archived}
    return Run(id=str(number), sweep="s", name="", **times, **nothing, **more)


def why(*odd, **usual):
    """The reasons of runs that follow three plain ones, which have none."""
    reasons = reasons_apart([run_of(number, usual, **one) for number, one in enumerate([{}, {}, {}, *odd])])
    assert [reasons[str(number)] for number in range(3)] == [""] * 3
    return [reasons[str(3 + number)] for number in range(len(odd))]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"status": "stopped"}, "stopped before its end"),
        ({"status": "diverged"}, "diverged"),
        ({"archived": True, **STEPS}, ARCHIVED),
        (STEPS, "trained for 5 steps, the others for 30 epochs"),
        ({"train": TrainSettings(context_rows=64)}, "trained with 64 context rows, the others with 512"),
        ({"validation_share": 0.3}, ROWS),
        ({"split_seed": 3}, ROWS),
        ({"result": {"rows_sha256": "b"}}, ROWS),
        ({"result": {"context_rows": 256}}, "predicted with 256 context rows, the others with 341"),
        ({"seed": 1, "result": {"context_rows": 300, "rows_sha256": "c"}}, ""),
        ({"strategy": "inference", "lora": LoraSettings()}, ""),
        ({"strategy": "base-ft", "lora": LoraSettings()}, ""),
        ({"result": {"stopped_early": True, "steps_done": 3}}, ""),
        ({"lora": LoraSettings(rank=2)}, REPEATED),
    ],
)
def test_a_run_unlike_most_of_its_sweep_is_set_apart(odd, reason):
    odd = {**odd, "result": {"context_rows": 341, "rows_sha256": "a"} | odd.get("result", {})}
    assert why(odd, result={"context_rows": 341, "rows_sha256": "a"}) == [reason]


def test_archived_and_incomplete_runs_do_not_define_what_is_usual():
    assert why(*[{**STEPS, "archived": True}] * 4, *[{**STEPS, "status": "stopped"}] * 4, STEPS)[-1].startswith(
        "trained"
    )


LOST = (None, "outrun")


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def two_seeds(lab):
    """Each seed chooses another rate for rank 2; rank 4 has the same one."""
    return lab.race(
        (2, 1e-4, (0.8, "finished", range(16)), LOST),
        (2, 1e-3, LOST, (0.75, "finished", range(15))),
        (4, 1e-4, LOST, LOST),
        (4, 1e-3, (0.8, "finished", range(16)), (0.8, "finished", range(16))),
    )


def test_a_rank_is_one_configuration_whatever_rate_each_seed_chose(lab):
    board = two_seeds(lab).board()
    table = by_configuration(board, "accuracy").set_index("rank")
    assert table["seeds"].to_dict() == {2: "0 1", 4: "0 1"}
    assert table["validation_accuracy"].to_dict() == pytest.approx({2: 0.775, 4: 0.8})
    assert table["learning_rate"].fillna(0).to_dict() == {2: 0, 4: 1e-3}
    assert (table["apart"] == "").all()
    assert (table["status"] == "finished").all()
    found = lab.answer()
    assert [len(runs) for runs in found.configurations["runs"]] == [2, 2]
    assert "with their best rates ranks 2 and 4 are within noise" in lab.texts()
    assert "at one rate" not in lab.texts()


def test_runs_that_were_outrun_are_on_the_board_without_a_place_and_cost_nothing(lab):
    board = two_seeds(lab).board()
    lost = board[board["status"] == "outrun"]
    assert len(lost) == 4
    assert set(lost["note"]) == {f"stopped at rung 1 of 2: {BEATEN}"}
    assert lost["place"].isna().all()
    assert lost[["validation_accuracy", "test_accuracy", "gain", "growth_memory_bytes"]].isna().all(axis=None)
    with_noise, found = board_and_recommendation(
        lab.store, lab.store.runs(lab.sweep), "accuracy", lambda run, part: None
    )
    assert with_noise.loc[with_noise["status"] == "outrun", "tied_with_best"].isna().all()
    assert not {*lost["run"]} & {run for runs in found.configurations["runs"] for run in runs}


def test_the_picture_shows_outrun_rates_as_faint_points_beside_each_ranks_mean(lab):
    two_seeds(lab)
    lost = next(run for run in lab.store.runs() if run.status == "outrun")
    for step, score in enumerate((0.9, 0.6, 0.7)):
        lab.store.append(lost.id, Evaluated(step, "validation", {"accuracy": score}, False, 0.0))
    board = with_scores_so_far(lab.store, lab.board(), "accuracy")
    lines = {line.name: list(line.y) for line in rank_curve(board, metric="accuracy").data if line.name}
    assert lines["LoRA"] == pytest.approx([0.775, 0.8])
    assert lines["Other settings"] == [0.7]  # step 0 is zero-shot
    shown = board_table._statuses(lab.board())
    assert shown.value_counts().to_dict() == {"✓ finished": 4, "◌ stopped at rung 1 of 2": 4}


def test_of_several_runs_that_finished_in_a_race_only_the_best_on_the_validation_rows_counts(lab):
    rates = (2, 1e-4, (0.8, "finished")), (2, 1e-3, (0.7, "finished")), (4, 1e-4, (0.9, "finished"))
    board = lab.race(*rates, metric="log_loss").board("log_loss")
    apart = board.set_index(["rank", "learning_rate"])["apart"].to_dict()
    assert apart == {(2, 1e-4): BEATEN, (2, 1e-3): "", (4, 1e-4): ""}


def test_a_race_that_every_rate_lost_is_said_in_one_sentence(lab):
    lab.race((4, 1e-3, (0.5, "diverged")), (4, 1e-2, (0.5, "diverged")), (2, 1e-3, LOST), (2, 1e-2, (0.6, "finished")))
    [said] = race_notes(lab.board())
    assert "LoRA r=4" in said and "1e-3, 1e-2" in said and "diverged" in said


def test_a_run_that_stopped_early_says_where_and_is_no_evidence_against_its_rank(lab):
    lab.add((2, (0.5,), range(10)), (4, (0.8,), range(16)), ("inference", (0.5,), range(10)))
    [run] = [run for run in lab.store.runs() if run.settings.lora.rank == 2 and run.settings.strategy == "peft"]
    early = dataclasses.replace(run.result, best_step=0, stopped_early=True, steps_done=124, planned_steps=510)
    lab.store._write("UPDATE runs SET result = ? WHERE id = ?", (to_json(early)[1], run.id))
    assert lab.board().set_index("run").loc[run.id, "note"].endswith("; stopped at 124 of 510 steps")
    assert "LoRA r=2 at 124 of 510 steps" in lab.texts()
    assert "✓ stopped at 124 of 510" in list(board_table._statuses(lab.board()))
