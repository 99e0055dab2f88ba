"""The leaderboard as a file to take away."""

import pandas as pd

from tabtune_core.analysis.runs_table import of_task
from tabtune_core.data.spreadsheet import safe_csv
from tabtune_core.metrics import METRICS


def flat(board: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Without the scores of other tasks; ids of several runs are one text."""
    board = of_task(board, METRICS[metric].task)
    return board.assign(runs=board["runs"].str.join(" ")) if "runs" in board else board


def csv(board: pd.DataFrame, metric: str) -> str:
    """Every column that the page can show and those that its numbers come from; bytes, seconds and per cent are in the names."""
    return safe_csv(flat(board, metric))
