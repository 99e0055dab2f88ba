"""A leaderboard on stdout: a table with its recommendation, CSV or JSON."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from tabtune_core.cli.terminal import paragraphs, say, shown, table
from tabtune_core.errors import SettingError, StoreError
from tabtune_core.metrics import metrics_of
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.store.run_row import RANKED, Run
from tabtune_core.store.runs import RunStore

if TYPE_CHECKING:
    import pandas as pd


def runs_of_sweep(store: RunStore, sweep: str | None) -> list[Run]:
    """Returns the runs of a sweep, by default the newest."""
    sweeps = store.sweeps()
    if not sweeps:
        raise StoreError(
            f"The workspace {store.home} holds no runs yet; start some with 'loralab sweep DATA --target COLUMN'."
        )
    chosen = sweep or sweeps[0].id
    runs, unread = store.runs(chosen), store.unreadable(chosen)
    for run in unread:
        say(f"{run.name} cannot be read and is left out: {run.why}")
    if not runs:
        raise StoreError(
            f"No run of the sweep {chosen!r} can be read. Open the workspace with the version that wrote it."
        )
    return runs


def score_to_rank_by(asked: argparse.Namespace, settings: RunSettings) -> str:
    """Returns the score to rank by; raises SettingError if it belongs to another task."""
    fitting = metrics_of(settings.task)
    if asked.rank_by not in (None, *fitting):
        raise SettingError(
            f"--rank-by is {asked.rank_by!r}; for {settings.task} it must be one of {', '.join(fitting)}."
        )
    return str(asked.rank_by or settings.selection_metric)


def print_as(form: str, frame: "pd.DataFrame", text: str) -> None:
    """Prints a frame as ``json`` or ``csv``, or the ``text`` that stands for it."""
    from tabtune_core.data.spreadsheet import exact_json, safe_csv

    print(
        exact_json(frame) if form == "json" else (safe_csv(frame) if form == "csv" else shown(text)).removesuffix("\n")
    )


def show_board(store: RunStore, runs: Sequence[Run], asked: argparse.Namespace) -> int:
    """Prints the leaderboard and its recommendation; returns 0 if any run of a model has a result, else 1."""
    from tabtune_core.analysis.recommendation import board_and_recommendation
    from tabtune_core.analysis.runs_table import costs_note
    from tabtune_core.store.predictions import read_predictions

    rank_by = score_to_rank_by(asked, runs[0].settings)
    board, advice = board_and_recommendation(store, runs, rank_by, partial(read_predictions, store))
    words = paragraphs(advice.sentences, advice.basis, costs_note(board))
    print_as(asked.format, board, f"{table(board, rank_by)}\n{words}")
    for split in dict.fromkeys(run.settings.split for run in runs if run.settings.split):
        say(f"Rows were {split}.")
    for run in runs:
        if run.error:
            say(f"{run.name}: {run.error}")
    of_models = [run for run in runs if run.settings.strategy not in REFERENCES] or runs
    return 0 if any(run.status in RANKED for run in of_models) else 1
