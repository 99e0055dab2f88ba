"""The leaderboard as a table: columns in their units, the default columns, and the format of each."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.formatting import STATUS, TRAIN_SECONDS_HELP
from dashboard.table_columns import digits_behind, fitted, rounded
from tabtune_core.analysis.ensemble import Ensemble
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.jackknife import Difference
from tabtune_core.analysis.verdict import SECOND
from tabtune_core.metrics import METRICS
from tabtune_core.settings import REFERENCES, STRATEGY_NAMES
from tabtune_core.wording import MOST_PLACES

GAIN, SPREAD = "Gain on test", "± gain on test"
SECOND_SCORE = "Second score"
"""Accuracy or R2 on the test rows, beside another score that decides."""
SCORES = ("Validation", "Test", GAIN, SPREAD)
MEMORY, PREDICTION_MEMORY = "Memory of training (MB)", "Memory of prediction (MB)"
ONE_DIGIT = (MEMORY, PREDICTION_MEMORY, "Training (s)", "Adapter (kB)")
NARROW = 94
"""Least width of a column of numbers in pixels: the columns in ``ALWAYS`` fit a screen of 1280 pixels."""
ALWAYS = ("Place", "Run", *SCORES, SECOND_SCORE, "Seeds", MEMORY, "Training (s)", "Trainable (%)", "Adapter (kB)")
WHERE_IT_DIFFERS = ("Status", "Model", "Sweep", "Table", "Target", "Device", "Context rows")
WHERE_IT_DIFFERS_AT_ONE_RANK = ("Alpha", "Dropout", "Learning rate", "Targets", "Other settings")
WHERE_IT_IS = ("Not compared", "Note", "What happened", "Archived")


def table(board: pd.DataFrame, metric: str, tables: Mapping[str, str], sweeps: Mapping[str, str]) -> pd.DataFrame:
    """Returns one row per run or configuration; ``tables`` and ``sweeps`` are names by id."""
    grouped, second = "runs" in board, SECOND[METRICS[metric].task]
    ended_by = board["ended_by"].map({"time limit": "ended by its time limit"}).fillna("")
    happened = zip(board["note"], ended_by, board["resumed"], strict=True)
    columns_by_title = {
        "Place": board["place"],
        "Run": board["name"],
        "Validation": board[f"validation_{metric}"],
        "Status": _statuses(board),
        "Test": board[f"test_{metric}"],
        SECOND_SCORE: board[f"test_{second}"] if second != metric else None,
        GAIN: board["test_gain"],
        SPREAD: board[half_width("test_gain")],
        MEMORY: _in(1e6, board["growth_memory_bytes"]),
        "Training (s)": board["train_seconds"],
        "Trainable (%)": board["trainable_percent"],
        "Adapter (kB)": _in(1e3, board["adapter_bytes"]),
        PREDICTION_MEMORY: _in(1e6, board["predict_growth_memory_bytes"]),
        "Sweep": board["sweep"].map(sweeps),
        "Table": board["dataset"].map(lambda dataset: tables.get(dataset, "(deleted)")),
        "Target": board["target"],
        "Model": board["model"],
        "Device": board["device"],
        "Strategy": board["strategy"].map(STRATEGY_NAMES),
        "Rank": board["rank"],
        "Alpha": board["alpha"],
        "Dropout": board["dropout"],
        "Learning rate": board["learning_rate"],
        "Targets": board["targets"],
        "Other settings": board["variant"],
        "Seed": None if grouped else board["seed"],
        "Seeds": board["seed_count"] if grouped else None,
        "Steps": board["steps"],
        "Best step": board["best_step"],
        "Prediction (s)": board["predict_seconds"],
        "Context rows": board.get("context_rows"),
        "Not compared": board["apart"],
        "Note": board["own_note"],
        "What happened": ["; ".join(filter(None, notes)) for notes in happened],
        "Archived": board["archived"].map({True: "archived", False: ""}),
    }
    frame = pd.DataFrame({name: column for name, column in columns_by_title.items() if column is not None})
    places = {name: 1 for name in ONE_DIGIT} | {name: _places(frame, metric, name) for name in SCORES}
    shown = {name: rounded(frame[name], digits) for name, digits in places.items() if digits is not None}
    return frame.assign(**shown)


def ensemble_row(ensemble: Ensemble, metric: str) -> pd.DataFrame:
    """Returns the line of the ensemble, with the titles of ``table``."""
    gain = ensemble.gain if isinstance(ensemble.gain, Difference) else None
    row = {
        "Run": f"All together: {ensemble.name}",
        "Validation": ensemble.validation,
        "Test": ensemble.test,
        GAIN: gain and gain.value,
        SPREAD: gain and gain.half,
        MEMORY: ensemble.memory_bytes / 1e6,
        "Training (s)": ensemble.train_seconds,
        "Prediction (s)": ensemble.predict_seconds,
        "Adapter (kB)": ensemble.adapter_bytes / 1e3,
    }
    places = METRICS[metric].decimals([ensemble.validation], [gain.half] if gain else [])
    digits = {name: places for name in SCORES} | {name: 1 for name in ONE_DIGIT}
    frame = pd.DataFrame([row])
    return frame.assign(**{name: rounded(frame[name], digits[name]) for name in row if name in digits})


def _in(unit: float, sizes: pd.Series) -> pd.Series:
    return sizes.astype(pd.Float64Dtype()) / unit


def _statuses(board: pd.DataFrame) -> "pd.Series[str]":
    """Returns each status with its mark; also the rung or the step at which training stopped."""
    status = board["status"].map(lambda status: STATUS.get(status, status))
    if "stopped_early" not in board:  # one row per configuration
        return status
    early = (board["stopped_early"].eq(True) & board["steps"].lt(board["planned_steps"]).fillna(False)).astype(bool)
    steps = board["steps"].astype("string") + " of " + board["planned_steps"].astype("string")
    status = status.mask(early & (board["status"] == "finished"), "✓ stopped at " + steps)
    return status.mask(board["status"] == "outrun", "◌ " + board["note"].str.partition(":")[0])


def _places(frame: pd.DataFrame, metric: str, name: str) -> int | None:
    """Returns the decimals of a column of scores, for gains with two digits of the ±; None for several targets."""
    if len(frame[["Table", "Target"]].drop_duplicates()) > 1:
        return None  # in units of their own
    places = METRICS[metric].decimals(frame["Validation"].dropna())
    if name not in (GAIN, SPREAD):
        return places
    return max(places, min(METRICS[metric].decimals(frame["Validation"].dropna(), frame[SPREAD].dropna()), MOST_PLACES))


def usual(frame: pd.DataFrame) -> list[str]:
    """Returns the columns that are shown first; the table's own menu has the others."""
    of_models = frame[~frame["Strategy"].isin([STRATEGY_NAMES[name] for name in REFERENCES])]
    differing = [name for name in WHERE_IT_DIFFERS if name in frame and of_models[name].nunique() > 1]
    ranks = frame.groupby(["Strategy", "Rank"], dropna=False)[list(WHERE_IT_DIFFERS_AT_ONE_RANK)].nunique().max()
    differing += list(ranks.index[ranks > 1])
    informative = [name for name in WHERE_IT_IS if (frame[name] != "").any()]
    informative += ["Status"] if (frame["Status"] != STATUS["finished"]).any() else []
    return [name for name in frame if name in (*ALWAYS, *differing, *informative)]


def columns(frame: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Returns the format and help of each column."""
    meaning, number, text = METRICS[metric], st.column_config.NumberColumn, st.column_config.TextColumn
    better = "higher" if meaning.higher_is_better else "lower"
    score = f"{meaning.label} ({meaning.unit}); {better} is better. {meaning.help}"

    def scored(name: str, sign: str = "%") -> dict[str, Any]:
        return digits_behind(frame[name], _places(frame, metric, name), sign, NARROW)

    def one_digit(name: str) -> dict[str, Any]:
        return digits_behind(frame[name], 1, least=NARROW)

    return {
        "Place": number("#", **fitted(frame["Place"], "%.0f", least=40), help="Place by the validation score."),
        "Run": text(pinned=True),
        "Validation": number(**scored("Validation"), help=score),
        "Test": number(**scored("Test"), help=score),
        SECOND_SCORE: number(METRICS[SECOND[meaning.task]].written.capitalize(), format="%.3f", width=NARROW),
        GAIN: number(**scored(GAIN, "%+"), help="Over the run's own zero-shot score on the test rows; + is better."),
        SPREAD: number("±", **scored(SPREAD, "± %"), help="A smaller gain may be noise. Empty: too few rows to tell."),
        MEMORY: number("Memory (MB)", **one_digit(MEMORY), help="Peak of training above the loaded model."),
        PREDICTION_MEMORY: number(**one_digit(PREDICTION_MEMORY), help="Peak of the final prediction."),
        "Training (s)": number(**one_digit("Training (s)"), help=TRAIN_SECONDS_HELP),
        "Trainable (%)": number(format="%.2f", width=NARROW, help="Trainable share of the model's parameters."),
        "Adapter (kB)": number(**one_digit("Adapter (kB)")),
        "Rank": number(width="small"),
        "Seed": number(format="%.0f"),
        "Seeds": number(width="small"),
        "Learning rate": number(format="%.2g"),
        "Steps": number(format="%.0f"),
        "Best step": number(format="%.0f", help="Of the best checkpoint; 0 is the pretrained model."),
        "Prediction (s)": number(format="%.2f", help="For the test rows."),
        "Context rows": number(format="localized", help="Of predictions."),
        "Device": text(help="Where the run's memory and seconds were measured."),
        "Not compared": text(width="medium", help="Why a run is excluded from the recommendation."),
        "Note": text(width="medium"),
        "What happened": text(width="large"),
    }


def runs_of(board: pd.DataFrame, rows: Sequence[int]) -> list[str]:
    """Returns the ids of the runs in some lines of the board."""
    lines = board.iloc[[row for row in rows if row < len(board)]]
    return [run for runs in lines["runs"] for run in runs] if "runs" in board else list(lines["run"])
