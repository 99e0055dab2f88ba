"""Results of sweeps: rankings, recommendations, predictions, and effects seen in a person's own runs."""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.formatting import labels
from dashboard.queries.workspace import active as any_active
from dashboard.queries.workspace import (
    cards,
    delete_jobs,
    home,
    listed,
    of_workspace,
    selection_metric,
    stamp_of,
    store,
    store_of,
)
from tabtune_core.analysis.claims import earlier_sweeps
from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.gains import amount
from tabtune_core.analysis.recommendation import Recommendation, recommend
from tabtune_core.analysis.runs_table import gains_of, leaderboard
from tabtune_core.analysis.runtime_estimate import Pace, latest, measured_paces, read_paces
from tabtune_core.data.splits import SplitName
from tabtune_core.errors import TabTuneError
from tabtune_core.execution.lock import worker_of
from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings
from tabtune_core.store.jobs import JOB_ENDED, Job
from tabtune_core.store.predictions import Predictions, read_predictions
from tabtune_core.store.run_row import Run

MOST_GAINS = 200
"""Most runs whose gains have a ± on the leaderboard of all runs: each takes 10 ms, once."""
MOST_CLAIMS = 20
"""Most sweeps whose claims are computed for one page."""
KEPT_PACES = 40
"""Most time measurements that are kept."""


def _of_runs(sweep: str | None, *asked: str) -> str:
    return stamp_of(sweep)


@of_workspace(entries=32, stamp=_of_runs)
def _ranked(folder: str, sweep: str | None, rank_by: str) -> pd.DataFrame:
    runs = {run.id: run for run in listed(sweep) if run.settings.task == METRICS[rank_by].task}
    board, names = leaderboard(list(runs.values()), rank_by), labels(list(runs.values()))
    exact = set(board["run"] if sweep else board["run"][:MOST_GAINS])

    def own(run: str) -> dict[str, float]:
        return _half_widths(folder, run, runs[run].ended, rank_by) if run in exact else {}

    return with_half_widths(board, own).assign(name=board["run"].map(names))


@st.cache_data(max_entries=4000, show_spinner=False)
def _half_widths(folder: str, run: str, ended: float | None, metric: str) -> dict[str, float]:
    return half_widths(run, METRICS[metric], partial(read_predictions, store_of(folder)))


def gains_in_words(run: Run) -> dict[str, str]:
    """Returns column of the leaderboard -> the run's gain over zero-shot with its interval, if known."""
    name = run.settings.selection_metric
    known = {column: gain for column, gain in gains_of(run, METRICS[name]).items() if np.isfinite(gain)}
    halves = _half_widths(str(home()), run.id, run.ended, name) if known else {}
    size = run.result.validation.get(name, 0.0) if run.result else 0.0
    return {
        column: amount(gain, halves[column], METRICS[name], size, signed=True, unit="")
        for column, gain in known.items()
    }


def ranked(sweep: str | None, rank_by: str, *, archived: bool = False) -> pd.DataFrame:
    """Returns the leaderboard of one sweep, or of all runs of the score's task (with the ± of the first MOST_GAINS)."""
    board = _ranked(sweep, rank_by)
    return board if archived else board[~board["archived"]].reset_index(drop=True)


@of_workspace(entries=32, spinner="Computing intervals from the held-out rows", stamp=_of_runs)
def recommended(folder: str, sweep: str, rank_by: str) -> Recommendation:
    """Returns one sweep's recommendation of a rank; it is computed again when one of its runs changes state."""
    return recommend(store_of(folder), _ranked(sweep, rank_by), rank_by, earlier_sweeps(listed(None), sweep))


def confirmed(sweeps: Sequence[str]) -> set[str]:
    """Returns the runs, of the first MOST_CLAIMS sweeps, whose gain the test rows confirm and no reference replaces."""
    every = [recommended(sweep, selection_metric(sweep)) for sweep in sweeps[:MOST_CLAIMS]]
    used = [one.claim for one in every if one.verdict and one.verdict.uses_an_adapter]
    return {run for claim in used if claim and claim.verdict == "better" for run in claim.runs}


@of_workspace(entries=32, stamp=_of_runs)
def configurations(folder: str, sweep: str | None, rank_by: str) -> pd.DataFrame:
    """Returns the leaderboard with one row per configuration, archived ones included."""
    compared = None if sweep is None else recommended(sweep, rank_by).configurations
    return by_configuration(_ranked(sweep, rank_by), rank_by, compared)


@of_workspace(entries=64)
def predictions(folder: str, run_id: str, part: SplitName) -> Predictions | None:
    """Returns a run's predictions for its held-out rows, or None if they are not on disk."""
    return read_predictions(store_of(folder), run_id, part)


@st.cache_data(max_entries=16, show_spinner=False)
def _paces(folder: str, run_ids: tuple[str, ...]) -> list[Pace]:
    return read_paces(store_of(folder), run_ids)


def paces(model: str) -> list[Pace]:
    """Returns the speed of a model's latest finished trainings, and all measurements of a few steps."""
    measured = measured_paces(job.result for job in store().jobs("pace") if job.result)
    return [*_paces(str(home()), tuple(run.id for run in latest(listed(None), model))), *measured]


def measure(runs: Sequence[RunSettings]) -> Job | None:
    """Returns the job that measures a step of these runs; it is queued once, on a GPU only while nothing runs."""
    jobs = store().jobs("pace")
    if going := [job for job in jobs if job.status not in JOB_ENDED]:
        return going[0]
    asked = {"settings": [dataclasses.replace(run, seed=0).to_dict() for run in runs]}
    done = any(job.arguments == asked for job in jobs)
    busy = any_active(listed(None)) and bool(cards())  # beside a run, a GPU's memory may not be enough
    if done or not runs or worker_of(home()) is None or store().jobs(status="running") or busy:
        return None
    delete_jobs(*(old.id for old in jobs[KEPT_PACES:]))
    with suppress(TabTuneError):  # the disk is full: other messages say so
        return store().job(store().add_job("pace", asked))
    return None
