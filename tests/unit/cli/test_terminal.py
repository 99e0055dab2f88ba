"""While a command waits, a worker runs unless a person has stopped it; and what the command prints meanwhile."""

import itertools
import json
import operator
import re
from functools import partial

import numpy as np
import pytest
from null_sweeps import sweep

from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.cli import terminal
from tabtune_core.cli.main import main
from tabtune_core.cli.terminal import MOST_STARTS, RunView, table
from tabtune_core.errors import StoreError
from tabtune_core.events import Note, PhaseStarted, StepDone
from tabtune_core.execution import lock
from tabtune_core.execution.cluster import Cluster, write_cluster
from tabtune_core.execution.lock import stop_workers
from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore
from tabtune_core.training.clock import DISTURBED


@pytest.fixture
def started(monkeypatch):
    """The workspaces for which a worker was started."""
    started = []
    monkeypatch.setattr(lock, "ensure_worker", lambda home, **more: started.append(home))
    return started


def there_is(monkeypatch, worker):
    monkeypatch.setattr(lock, "worker_of", lambda home: worker)


def care_of(home):
    """A ``WorkerCare`` that checks the worker at each call."""
    return terminal._WorkerCare(home, clock=map(operator.mul, itertools.count(), itertools.repeat(1000.0)).__next__)


def test_a_worker_that_keeps_ending_ends_the_wait(tmp_path, monkeypatch, started):
    there_is(monkeypatch, None)
    care = care_of(tmp_path)
    for _ in range(MOST_STARTS):
        care.look()
    with pytest.raises(StoreError, match="was started 3 times and ended each time"):
        care.look()


def test_a_worker_stopped_by_a_person_is_not_started_again(tmp_path, monkeypatch, started):
    there_is(monkeypatch, None)
    care = care_of(tmp_path)
    care.look()
    stop_workers(tmp_path)
    with pytest.raises(StoreError, match="was stopped with 'loralab worker --stop'"):
        care.look()
    assert started == [tmp_path]


def test_the_reason_why_nothing_starts_is_printed_once_per_occurrence(tmp_path, monkeypatch, started, capsys):
    there_is(monkeypatch, 7)
    care = care_of(tmp_path)
    for why in ("The disk is full.", "The disk is full.", None, "The disk is full."):
        monkeypatch.setattr(lock, "why_nothing_starts", lambda home, why=why: why)
        care.look()
    assert capsys.readouterr().err == 2 * "The disk is full. Queued runs wait, and start by themselves later.\n"


def followed(tmp_path, capsys, *events):
    """Returns what is printed of a sweep with one run for each list of events."""
    store, notes = RunStore(tmp_path), set()
    _, ids = store.add_sweep([RunSettings(dataset="d", target="y", seed=seed) for seed in range(len(events))], "")
    for run_id, emitted in zip(ids, events, strict=True):
        view = RunView(store.run(run_id), notes)
        for event in emitted:
            store.append(run_id, event)
            view.update(store, store.run(run_id))
        store.finish(run_id, "finished")
        view.update(store, store.run(run_id))
    return capsys.readouterr().err.splitlines()


def test_a_note_shared_by_all_runs_is_printed_once_and_a_warning_every_time(tmp_path, capsys):
    notes = [Note("Free text is not used: a."), Note("No improvement.", "warning")]
    end = [PhaseStarted("save"), Note("The adapter is as it was."), Note(f"{DISTURBED}: 2 s.", "warning")]
    step = StepDone(step=1, loss=0.0125, learning_rate=1e-3, gradient_norm=1.0, seconds=1)
    assert followed(tmp_path, capsys, [*notes, step, *end], [*notes, Note("Only here."), *end]) == [
        "LoRA r=8 seed 0: info: Free text is not used: a.",
        "LoRA r=8 seed 0: warning: No improvement.",
        "LoRA r=8 seed 0: info: The adapter is as it was.",
        f"LoRA r=8 seed 0: warning: {DISTURBED}: 2 s. This is said once a sweep.",
        "LoRA r=8 seed 0: finished, loss 0.0125",
        "LoRA r=8 seed 1: warning: No improvement.",
        "LoRA r=8 seed 1: info: Only here.",
        "LoRA r=8 seed 1: info: The adapter is as it was.",
        "LoRA r=8 seed 1: finished",
    ]


def test_a_cluster_that_the_worker_could_not_join_ends_the_wait_with_the_reason(tmp_path, monkeypatch, started):
    there_is(monkeypatch, None)
    write_cluster(tmp_path, Cluster(waits="There was none yesterday."))
    care = care_of(tmp_path)
    care.look()
    care.look()
    assert started == [tmp_path] * 2, "a local worker ignores a cluster of an earlier one"
    monkeypatch.setenv("TABTUNE_WORKER", "--executor ray")
    with pytest.raises(StoreError, match=r"There was none yesterday\. Queued runs wait for a worker\."):
        care.look()


def test_a_deleted_workspace_is_reported_and_not_created_again(tmp_path, started):
    with pytest.raises(StoreError, match="is not there any more: it was deleted or moved"):
        care_of(tmp_path / "gone").look()
    assert not (tmp_path / "gone").exists()
    assert started == []


def test_control_characters_in_a_name_are_shown_and_not_executed(tmp_path, capsys):
    store = RunStore(tmp_path)
    _, (run,) = store.add_sweep([RunSettings(dataset="d", target="y")])
    store.rename(run, "a\x1b]0;b\x07\x9b2J\u202ec")
    store.claim(1, None, run)
    assert main(["worker", "--status", "--home", str(tmp_path)]) == 1
    store.annotate(run, "\x1b[2J")
    store.finish(run, "failed", error="the class \x1b[31mred")
    assert main(["runs", "--home", str(tmp_path)]) == 0
    assert main(["leaderboard", "--home", str(tmp_path)]) == 1
    told = "".join(capsys.readouterr())
    assert told.count(r"a\x1b]0;b\x07\x9b2J\u202ec") == 4
    assert main(["show", run, "--home", str(tmp_path)]) == 0
    told += (shown := capsys.readouterr().out)
    assert json.loads(shown)["name"] == "a\x1b]0;b\x07\x9b2J\u202ec"
    assert not any(letter in told for letter in "\x1b\x07\x9b\u202e")


@pytest.mark.parametrize("tested", [True, False])
def test_the_gain_of_the_leaderboard_is_on_the_test_rows_or_has_no_interval(tested):
    """No column sets a gain on the validation rows, which choose the checkpoint, against an interval."""
    runs, load = sweep(np.random.default_rng(7), metric="log_loss")
    board = with_half_widths(leaderboard(runs, "log_loss"), partial(half_widths, metric=METRICS["log_loss"], load=load))
    first = board[board["strategy"] == "peft"].iloc[0]
    head, *lines = table(board if tested else board.assign(test_gain=np.nan), "log_loss").splitlines()[1:]
    line = next(line for line in lines if f" {first['name']} " in line)
    assert (" test gain " in head, " validation gain " in head, "±" in head) == (tested, not tested, tested)
    shown = [f"{first['test_gain']:+.4f}", f"{first['test_gain_half_width']:.4f}"]
    assert "  ".join(shown) in re.sub(" {2,}", "  ", line) if tested else f"  {first['gain']:+.4f}  " in line
