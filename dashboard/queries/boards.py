"""What sweeps say: rankings, recommendations, predictions, and what a person's own runs have shown."""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.formatting import labels
from dashboard.queries.workspace import active as any_active
from dashboard.queries.workspace import home, listed, listed_in, of_workspace, selection_metric, stamp_of, store, store_of
from tabtune_core.analysis import curves as series
from tabtune_core.analysis.comparison import half_widths, with_half_widths
from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.context_rows import with_intervals
from tabtune_core.analysis.full_vs_lora import full_or_lora
from tabtune_core.analysis.gains import amount
from tabtune_core.analysis.intervals import GAINS
from tabtune_core.analysis.recommendation import Recommendation, recommend
from tabtune_core.analysis.runs_table import gains_of, leaderboard
from tabtune_core.analysis.runtime_estimate import Pace, latest, measured_paces, read_paces
from tabtune_core.analysis.setting_effects import experience
from tabtune_core.data.datasets import get_dataset
from tabtune_core.data.splits import SplitName
from tabtune_core.errors import StoreError, TabTuneError
from tabtune_core.execution.lock import worker_of
from tabtune_core.metrics import METRICS
from tabtune_core.settings import RunSettings
from tabtune_core.store.jobs import JOB_ENDED, Job
from tabtune_core.store.predictions import Predictions, read_predictions
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

MOST_GAINS = 200
"""Lines of the board of all runs whose gains are told: the interval of each takes 10 ms, once."""
MOST_CLAIMS = 20
"""Sweeps whose claims are worked out for one page."""
KEPT_PACES = 40
"""Measurements of time that are kept."""


@st.cache_data(max_entries=32, show_spinner=False)
def _ranked(folder: str, sweep: str | None, rank_by: str, stamp: str) -> pd.DataFrame:
    runs = {run.id: run for run in listed_in(folder, sweep, stamp) if run.settings.task == METRICS[rank_by].task}
    board, names = leaderboard(list(runs.values()), rank_by), labels(list(runs.values()))
    if sweep is None:
        board.loc[MOST_GAINS:, [*GAINS]] = np.nan
    return with_half_widths(board, lambda run: _half_widths(folder, run, runs[run].ended, rank_by)).assign(name=board["run"].map(names))


@st.cache_data(max_entries=4000, show_spinner=False)
def _half_widths(folder: str, run: str, ended: float | None, metric: str) -> dict[str, float]:
    return half_widths(run, METRICS[metric], partial(read_predictions, store_of(folder)))


def gains_in_words(run: Run) -> dict[str, str]:
    """Column of a leaderboard -> by how much a run is better than zero-shot there, with its interval, in the score's unit. What is not
    known is left out.
    """
    name = run.settings.selection_metric
    known = {column: gain for column, gain in gains_of(run, METRICS[name]).items() if np.isfinite(gain)}
    halves = _half_widths(str(home()), run.id, run.ended, name) if known else {}
    size = run.result.validation.get(name, 0.0) if run.result else 0.0
    return {column: amount(gain, halves[column], METRICS[name], size, signed=True, with_unit=False) for column, gain in known.items()}


def ranked(sweep: str | None, rank_by: str, *, archived: bool = False) -> pd.DataFrame:
    """The leaderboard of one sweep, or of all runs of the score's task; archived runs are in it where they are asked for, without place.

    Each gain stands with its ±; of all runs, the first MOST_GAINS have gains.
    """
    board = _ranked(str(home()), sweep, rank_by, stamp_of(sweep))
    return board if archived else board[~board["archived"]].reset_index(drop=True)


@st.cache_data(max_entries=32, show_spinner="Computing intervals from the held-out rows")
def _recommended(folder: str, sweep: str, rank_by: str, stamp: str) -> Recommendation:
    return recommend(store_of(folder), _ranked(folder, sweep, rank_by, stamp), rank_by)


def recommended(sweep: str, rank_by: str) -> Recommendation:
    """What one sweep says about rank; worked out anew when one of its runs changes its state."""
    return _recommended(str(home()), sweep, rank_by, stamp_of(sweep))


def confirmed(sweeps: Sequence[str]) -> set[str]:
    """Runs of the configuration that validation chose, of the sweeps of whose test rows it may be claimed that it is better than zero-shot.

    Of many sweeps the first ones are looked at.
    """
    claims = [recommended(sweep, selection_metric(sweep)).claim for sweep in sweeps[:MOST_CLAIMS]]
    return {run for claim in claims if claim and claim.verdict == "better" for run in claim.runs}


@st.cache_data(max_entries=32, show_spinner=False)
def _configurations(folder: str, sweep: str | None, rank_by: str, stamp: str) -> pd.DataFrame:
    configurations = None if sweep is None else _recommended(folder, sweep, rank_by, stamp).configurations
    return by_configuration(_ranked(folder, sweep, rank_by, stamp), rank_by, configurations)


def configurations(sweep: str | None, rank_by: str) -> pd.DataFrame:
    """The leaderboard with one row a configuration, archived ones among them."""
    return _configurations(str(home()), sweep, rank_by, stamp_of(sweep))


@st.cache_data(max_entries=32, show_spinner=False)
def _full_or_lora(folder: str, sweep: str, rank_by: str, stamp: str) -> pd.DataFrame:
    configurations = _recommended(folder, sweep, rank_by, stamp).configurations
    return full_or_lora(_ranked(folder, sweep, rank_by, stamp), configurations, rank_by)


def against_full(sweep: str, rank_by: str) -> pd.DataFrame:
    """Full fine-tuning against LoRA as measured in one sweep."""
    return _full_or_lora(str(home()), sweep, rank_by, stamp_of(sweep))


@st.cache_data(max_entries=16, show_spinner=False)
def _curves(folder: str, sweep: str | None, metric: str, stamp: str, moment: int) -> dict[str, list[float]]:
    return series.sparklines(store_of(folder), [run.id for run in listed_in(folder, sweep, stamp)], metric)


def sparklines(sweep: str | None, metric: str) -> dict[str, list[float]]:
    """Run id -> its validation score over the evaluations; at most ten seconds old where something still runs."""
    runs = listed(sweep)
    now = int(time.monotonic() / 10) if any(run.status == "running" for run in runs) else 0
    return _curves(str(home()), sweep, metric, stamp_of(sweep), now)


@of_workspace(entries=64)
def predictions(folder: str, run_id: str, part: SplitName) -> Predictions | None:
    """What a run with a result predicted for its held-out rows; None where that is not on disk."""
    return read_predictions(store_of(folder), run_id, part)


def rank_curves() -> dict[str, Job]:
    """The newest job about the rank that a run really used, by the run's id."""
    return {job.arguments["run"]: job for job in reversed(store().jobs("rank_curve")) if "run" in job.arguments}


def context_curves() -> dict[tuple[str, ...], Job]:
    """The newest job about the context rows, by the ids of its runs; without those of earlier versions."""
    jobs = (job for job in reversed(store().jobs("context_curve")) if "runs" in job.arguments and with_intervals(job.result))
    return {tuple(job.arguments["runs"]): job for job in jobs}


@st.cache_data(max_entries=16, show_spinner=False)
def _experience(folder: str, table: str, target: str, model: str, metric: str, stamp: str) -> dict[str, str]:
    named = get_dataset(Path(folder), table).name
    return experience(_runs_on(store_of(folder), table, target, model), metric, named)


def experienced(table: str, target: str, model: str, metric: str) -> dict[str, str]:
    """What each setting did in the runs of this workspace on one table, by setting; see tabtune_core.analysis.setting_effects."""
    return _experience(str(home()), table, target, model, metric, stamp_of(None))


@st.cache_data(max_entries=16, show_spinner=False)
def _paces(folder: str, run_ids: tuple[str, ...]) -> list[Pace]:
    return read_paces(store_of(folder), run_ids)


def paces(model: str) -> list[Pace]:
    """How fast the latest finished trainings of a model were, and the few steps of others that were measured."""
    measured = measured_paces(job.result for job in store().jobs("pace") if job.result)
    return [*_paces(str(home()), tuple(run.id for run in latest(listed(None), model))), *measured]


def measure(runs: Sequence[RunSettings]) -> Job | None:
    """The job that measures how long a step of these runs takes. It is asked for once, where a worker has nothing else to do."""
    jobs = store().jobs("pace")
    if going := [job for job in jobs if job.status not in JOB_ENDED]:
        return going[0]
    asked = {"settings": [dataclasses.replace(run, seed=0).to_dict() for run in runs]}
    done = any(job.arguments == asked for job in jobs)
    if done or not runs or worker_of(home()) is None or store().jobs(status="running") or any_active(listed(None)):
        return None
    for old in jobs[KEPT_PACES:]:
        with suppress(StoreError):  # another tab was faster
            store().delete_job(old.id)
    with suppress(TabTuneError):  # no room, which is said where it matters
        return store().job(store().add_job("pace", asked))
    return None


def _runs_on(store: RunStore, table: str, target: str, model: str) -> list[Run]:
    wanted = (table, target, model)
    return [run for run in store.runs() if (run.settings.dataset, run.settings.target, run.settings.model) == wanted]
