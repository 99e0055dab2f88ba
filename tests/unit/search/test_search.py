"""A search proposes from the store, keeps to its time, goes on after a restart, and all that it tried counts."""

import dataclasses

import pytest

from tabtune_core.analysis import recommendation
from tabtune_core.analysis.runtime_estimate import Pace, TrainedOn, kind_of
from tabtune_core.analysis.set_apart import OTHERS_BETTER
from tabtune_core.errors import SettingError
from tabtune_core.events import Evaluated, RunPlanned
from tabtune_core.execution import halving
from tabtune_core.search import turn
from tabtune_core.search.budget import Clock, Parts, check_budget
from tabtune_core.search.proposer import propose
from tabtune_core.search.space import RANKS, space_of
from tabtune_core.search.summary import summarize
from tabtune_core.settings import RunSettings, SweepSettings
from tabtune_core.store.runs import RunStore
from tests.made_sweeps import Lab

SIZES = TrainedOn(train_rows=3000, validation_rows=600, features=5, classes=2, device="cpu")
RUN = RunSettings(dataset="d", target="y")


def a_search(home, *, seconds=1e6, run=RUN):
    lab = Lab(home)
    parts = Parts.of(SweepSettings(run=run))
    lab.sweep, ids = parts.add(lab.store, seconds, SIZES, "found")
    return lab, ids[-1]


def evaluated(step, loss):
    return Evaluated(step, "validation", {"log_loss": loss}, False, 0.1)


def at_a_rung(lab, run_id, loss, step=10):
    lab.store.claim(1, None, run_id)
    lab.store.append(run_id, evaluated(step, loss))
    lab.store.wait(run_id)
    halving.advance(lab.store)
    return lab.store.run(run_id).status


def end(lab, run_id, loss, **how):
    lab.end(run_id, lab.store.run(run_id).settings, loss, metric="log_loss", **how)


def next_try(lab):
    """Asks as the worker does once nothing of the search waits; returns the id of the new run, or None."""
    before = {run.id for run in lab.store.runs(lab.sweep)}
    [search] = lab.store.searches_that_go_on() or [None]
    if search is not None:
        turn.ask(lab.store, search, lab.store.runs(lab.sweep), here=False)
    return next((run.id for run in lab.store.runs(lab.sweep) if run.id not in before), None)


def pace_of_seconds(seconds):
    """A clock for which a run like RUN takes so long."""
    size = SIZES.size_of(RUN)
    return Clock([Pace(kind_of(RUN), size, seconds / SIZES.steps_of(RUN))], SIZES)


def test_a_search_begins_with_the_references_and_the_defaults_and_ends_with_full_fine_tuning_once(tmp_path):
    lab, first = a_search(tmp_path)
    strategies = [run.settings.strategy for run in lab.store.runs(lab.sweep)]
    assert strategies == ["inference", "linear", "boosting", "constant", "peft"]
    assert lab.store.run(first).settings.lora == RUN.lora
    lab.store.end_search(lab.sweep, "Its time is spent.")
    lab.store.end_search(lab.sweep, "twice")
    assert [run.settings.strategy for run in lab.store.runs(lab.sweep)][5:] == ["base-ft"]
    assert lab.store.search(lab.sweep).ended == "Its time is spent."


def test_proposals_learn_from_all_runs_of_the_same_table_split_and_model(tmp_path):
    lab, _ = a_search(tmp_path)
    space = space_of(lab.store.search(lab.sweep))
    rates = [2e-4, 4e-4, 8e-4, 1.6e-3]
    for k in range(24):  # another sweep of the table: only rank 16 is good
        run = space.template.changed(rank=RANKS[k % 6], learning_rate=rates[k % 4], dropout=(0.0, 0.05, 0.1)[k % 3])
        other, [run_id] = lab.store.add_sweep([run])
        end(lab, run_id, 0.2 if run.lora.rank == 16 else 0.6)
    asked = []
    for _ in range(8):
        run, _ = propose(lab.store, space, lambda run: None)
        asked.append(run.lora.rank)
        lab.store.add_try(lab.sweep, run)
    assert asked.count(16) >= 4  # by chance, one or two of eight
    elsewhere = dataclasses.replace(space, template=space.template.changed(split_seed=1))
    assert propose(lab.store, elsewhere, lambda run: None)[0].split_seed == 1
    search = lab.store.search(lab.sweep)
    found = summarize(lab.store, search)
    assert "24 tried" in found.text
    assert "rank 16" in found.text
    assert next(iter(found.importances)) == "rank"
    best = found.tries[0]
    assert (best["rank"], best["score"], best["ended"]) == (16, 0.2, "finished, in another sweep")
    assert "0 runs" in summarize(lab.store, dataclasses.replace(search, template=elsewhere.template)).text


def test_the_same_store_gives_the_same_proposal_so_that_a_restart_goes_on(tmp_path):
    lab, first = a_search(tmp_path)
    end(lab, first, 0.4)
    space = space_of(lab.store.search(lab.sweep))
    again = space_of(RunStore(tmp_path).search(lab.sweep))
    assert propose(lab.store, space, lambda run: None) == propose(RunStore(tmp_path), again, lambda run: None)
    second = next_try(lab)
    assert lab.store.run(second).settings != lab.store.run(first).settings
    assert lab.store.run(second).rung == 0


def test_a_refused_proposal_is_not_asked_for(tmp_path):
    lab, _ = a_search(tmp_path)
    space = space_of(lab.store.search(lab.sweep))
    run, _ = propose(lab.store, space, lambda run: "too large" if run.lora.rank > 2 else None)
    assert run.lora.rank <= 2
    assert propose(lab.store, space, lambda run: "It does not fit.") == (None, "It does not fit.")


def test_a_setting_that_a_person_changed_is_not_varied(tmp_path):
    lab, _ = a_search(tmp_path, run=RUN.changed(dropout=0.3, learning_rate=1e-3))
    space = space_of(lab.store.search(lab.sweep))
    run, _ = propose(lab.store, space, lambda run: None)
    assert (run.lora.dropout, run.learning_rate) == (0.3, 1e-3)
    assert {"rank", "targets", "variant", "context_rows"} <= space.options.keys()


def test_a_time_shorter_than_the_runs_is_refused_with_both_numbers():
    full = RUN.with_strategy("base-ft")
    with pytest.raises(SettingError, match="about 40 s here; at least 2 minutes are needed"):
        check_budget(60, RUN, [full], pace_of_seconds(40))  # two of LoRA and a full one, by the pace of LoRA
    with pytest.raises(SettingError, match=r"at least 1\.5 minutes"):
        check_budget(60, RUN, [], pace_of_seconds(40))
    check_budget(120, RUN, [full], pace_of_seconds(40))
    nothing_known = Clock([], SIZES)
    with pytest.raises(SettingError, match="not known yet, but 6 s are too short: at least 30 s"):
        check_budget(6, RUN, [full], nothing_known)
    assert "learns it from its first run" in check_budget(60, RUN, [full], nothing_known)


def test_a_grid_is_refused():
    with pytest.raises(SettingError, match="dropouts"):
        Parts.of(SweepSettings(run=RUN, dropouts=(0.0, 0.1)))
    with pytest.raises(SettingError, match="seeds"):
        Parts.of(SweepSettings(run=RUN, seeds=(0, 1)))


def test_it_stops_asking_when_what_remains_is_shorter_than_a_run(tmp_path, monkeypatch):
    lab, first = a_search(tmp_path, seconds=100.0)
    end(lab, first, 0.4, train_seconds=20.0, steps_done=SIZES.steps_of(RUN))
    monkeypatch.setattr("tabtune_core.analysis.runtime_estimate.known_paces", lambda *_: pace_of_seconds(20).paces)
    assert next_try(lab)
    lab.store.spend(lab.sweep, 75.0)  # of the 25 left, full fine-tuning takes about 20
    assert lab.store.run(next_try(lab)).settings.strategy == "base-ft"
    assert "is spent" in lab.store.search(lab.sweep).ended
    assert next_try(lab) is None


def test_a_run_goes_on_from_a_rung_only_among_the_better_ones_so_far(tmp_path):
    lab, first = a_search(tmp_path)
    assert at_a_rung(lab, first, 0.4) == "queued"  # the first of all
    assert at_a_rung(lab, first, 0.35, step=20) == "queued"
    end(lab, first, 0.3)
    worse, better = next_try(lab), next_try(lab)
    assert at_a_rung(lab, worse, 0.6) == "outrun"  # the better one of two is the first
    assert at_a_rung(lab, better, 0.38) == "queued"
    assert at_a_rung(lab, better, 0.36, step=20) == "outrun"  # from the last rung, only the best of all so far
    board = lab.board("log_loss").set_index("run")
    assert board["place"].notna().sum() == 1
    assert board.loc[first, "apart"] == ""


@pytest.mark.parametrize("wish", ["stop", "cancel"])
def test_who_stops_all_runs_pauses_the_search_until_it_is_to_go_on(tmp_path, wish):
    lab, first = a_search(tmp_path)
    [search] = lab.store.searches_that_go_on()
    lab.store.claim(1, None, first)
    lab.store.ask_all(lab.sweep, wish)
    assert lab.store.run(first).wish == wish
    turn.ask(lab.store, search, lab.store.runs(lab.sweep), here=False)  # by a worker that read it a moment before
    assert next_try(lab) is None
    assert not lab.store.searching(lab.sweep)
    assert "can go on" in summarize(lab.store, lab.store.search(lab.sweep)).text
    lab.store.resume_search(lab.sweep)
    end(lab, first, 0.4)
    assert next_try(lab)
    lab.store.end_search(lab.sweep, "Its time is spent.")
    lab.store.resume_search(lab.sweep)
    assert not lab.store.searching(lab.sweep)


def test_claims_count_every_evaluation_of_all_that_was_tried(tmp_path, monkeypatch):
    """Without test rows, the interval allows for the choice among all evaluations, also of runs that stopped."""
    lab, first = a_search(tmp_path)
    other = next_try(lab)
    for run_id in (first, other):
        lab.predict(run_id, range(16))
        for step in range(1, 6):
            lab.store.append(run_id, evaluated(step, 0.3))
    end(lab, first, 0.3)
    lab.store.append(first, dataclasses.replace(lab.store.last_event(first, RunPlanned), test_rows=0))
    end(lab, lab.store.runs(lab.sweep)[0].id, 0.5)
    lab.store.claim(1, None, other)
    lab.store.wait(other)
    lab.store.advance([], [other])
    assert lab.board("log_loss").set_index("run").loc[other, "apart"] == OTHERS_BETTER
    counts = []
    real = recommendation.claim
    monkeypatch.setattr(
        recommendation, "claim", lambda *a, evaluations, **k: counts.append(evaluations) or real(*a, **k)
    )
    assert lab.answer("log_loss").claim is not None
    assert counts == [10]
