"""The leaderboard as a table: columns in their units, the default columns, and the format of each."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.formatting import STATUS, TRAIN_SECONDS_HELP
from dashboard.table_columns import digits_behind, fitted, rounded
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.runs_table import METERS
from tabtune_core.analysis.verdict import SECOND
from tabtune_core.metrics import FEWEST_PLACES, METRICS
from tabtune_core.settings import REFERENCES, STRATEGY_NAMES
from tabtune_core.wording import MOST_PLACES

TIED = "Within one standard error of the best LoRA"
SPREAD = "± gain"
TEST_SPREAD = "± gain on test"
TOO_FEW = "not known: no interval"
MEANING = "±: half of the 95 % interval, of differences row by row. Empty: too few rows to tell."
CURVE = "Curve"
SECOND_SCORE = "Second score"
"""Accuracy or R2 on the test rows, beside another score that decides."""
NARROW = 94
"""Least width of a column of numbers in pixels: the columns in ``ALWAYS`` fit a screen of 1280 pixels."""
SCORES = ("Validation", "Test", "Gain on test", TEST_SPREAD, "± validation", "± test", "Gain over zero-shot", SPREAD)
ONE_DIGIT = ("Memory of training (MB)", "Memory of prediction (MB)", "Training (s)", "Adapter (kB)")
ALWAYS = {
    *("Place", "Run", "Validation", "Test", SECOND_SCORE, "Gain on test", TEST_SPREAD, "Seeds", CURVE),
    *("Memory of training (MB)", "Training (s)", "Trainable (%)", "Adapter (kB)"),
}
"""Columns that are shown by default; they fit a screen."""
NOISE = (TIED, "± validation", "± test")
"""Columns that are hidden if no line has a value. The ± of gains is always shown, if necessary as unknown."""
WHERE_IT_DIFFERS = ("Status", "Model", "Sweep", "Table", "Target", "Test rows", "Context rows")
WHERE_IT_DIFFERS_AT_ONE_RANK = ("Alpha", "Dropout", "Learning rate", "Targets", "Other settings")
WHERE_IT_IS = ("Not compared", "Tags", "Note", "What happened", "Archived")


def table(
    board: pd.DataFrame,
    metric: str,
    curves: Mapping[str, list[float]],
    tables: Mapping[str, str],
    sweeps: Mapping[str, str],
) -> pd.DataFrame:
    """Returns one row per run or configuration; ``tables`` and ``sweeps`` are names by id."""
    grouped = "runs" in board
    first = board["runs"].str[0] if grouped else board["run"]
    number, second = pd.Float64Dtype(), SECOND[METRICS[metric].task]
    columns_by_title = {
        "Place": board["place"],
        "Run": board["name"],
        "Status": _statuses(board),
        "Validation": board[f"validation_{metric}"],
        "Test": board[f"test_{metric}"],
        SECOND_SCORE: board[f"test_{second}"] if second != metric else None,
        "Gain on test": board["test_gain"],
        TEST_SPREAD: board[half_width("test_gain")],
        "Memory of training (MB)": board["growth_memory_bytes"].astype(number) / 1e6,
        "Training (s)": board["train_seconds"],
        "Trainable (%)": board["trainable_percent"],
        "Adapter (kB)": board["adapter_bytes"].astype(number) / 1e3,
        CURVE: first.map(lambda run: curves.get(run, [])),
        "± validation": board[half_width(f"validation_{metric}")] if grouped else None,
        "± test": board[half_width(f"test_{metric}")] if grouped else None,
        TIED: board["tied_with_best"].map({True: "✓ yes", False: "no"}).fillna(_unknown(board))
        if "tied_with_best" in board
        else None,
        "Gain over zero-shot": board["gain"],
        SPREAD: board[half_width("gain")],
        "Memory of prediction (MB)": board["predict_growth_memory_bytes"].astype(number) / 1e6,
        "Sweep": board["sweep"].map(sweeps),
        "Table": board["dataset"].map(lambda dataset: tables.get(dataset, "(deleted)")),
        "Target": board["target"],
        "Test rows": board.get("held_out_set"),
        "Model": board["model"],
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
        "Peak memory (MB)": board["peak_memory_bytes"].astype(number) / 1e6,
        "Meter": board["memory_meter"].map(METERS),
        "Prediction (s)": board["predict_seconds"],
        "Context rows": board.get("context_rows"),
        "Not compared": board["apart"],
        "Tags": board["tags"],
        "Note": board["own_note"],
        "What happened": [
            "; ".join(filter(None, notes))
            for notes in zip(
                board["note"],
                board["ended_by"].map({"time limit": "ended by its time limit"}).fillna(""),
                board["resumed"],
                strict=True,
            )
        ],
        "Archived": board["archived"].map({True: "archived", False: ""}),
    }
    frame = pd.DataFrame({name: column for name, column in columns_by_title.items() if column is not None})
    scores = {name: _rounded_each(frame[name], _digits(frame, metric, name)) for name in SCORES if name in frame}
    return frame.assign(**scores, **{name: rounded(frame[name], 1) for name in ONE_DIGIT})


def _statuses(board: pd.DataFrame) -> "pd.Series[str]":
    """Returns each status with its mark; also the rung or the step at which training stopped."""
    status = board["status"].map(lambda status: STATUS.get(status, status))
    if "stopped_early" not in board:  # one row per configuration
        return status
    early = (board["stopped_early"].eq(True) & board["steps"].lt(board["planned_steps"]).fillna(False)).astype(bool)
    steps = board["steps"].astype("string") + " of " + board["planned_steps"].astype("string")
    status = status.mask(early & (board["status"] == "finished"), "✓ stopped at " + steps)
    return status.mask(board["status"] == "outrun", "◌ " + board["note"].str.partition(":")[0])


def _digits(frame: pd.DataFrame, metric: str, name: str = "Validation") -> "pd.Series[int]":
    """Returns the decimals of a column by line, for each target those of its scores, or more for two digits of a ±."""
    half = frame.get(
        {"Gain on test": TEST_SPREAD, "Gain over zero-shot": SPREAD}.get(name, name if name.startswith("±") else "")
    )

    def of_target(scores: "pd.Series[float]") -> float:
        places = METRICS[metric].decimals(scores)
        finer = places if half is None else METRICS[metric].decimals(scores, half[scores.index])
        return max(places, min(finer, MOST_PLACES)) if scores.notna().any() else math.nan

    digits = frame["Validation"].groupby([frame["Table"], frame["Target"]]).transform(of_target)
    return digits.fillna(digits.max()).fillna(FEWEST_PLACES).astype(int)


def _rounded_each(values: pd.Series, digits: "pd.Series[int]") -> pd.Series:
    """Rounds the scores of several targets each to its own digits, all of which are then shown."""
    if digits.nunique() > 1:
        return values.groupby(digits).transform(lambda own: own.round(digits[own.index[0]]) + 0.0)  # not -0.0
    return rounded(values, digits.max()) if len(digits) else values


def _unknown(board: pd.DataFrame) -> "pd.Series[str]":
    """Returns the text in place of yes or no; empty for runs that are not compared, or not yet."""
    compared = (board["strategy"] == "peft") & (board["apart"] == "") & ~board["archived"] & board["place"].notna()
    return compared.map({True: TOO_FEW, False: ""})


def usual(frame: pd.DataFrame) -> list[str]:
    """Returns the default columns."""
    of_models = frame[~frame["Strategy"].isin([STRATEGY_NAMES[name] for name in REFERENCES])]
    differing = [name for name in WHERE_IT_DIFFERS if name in frame and of_models[name].nunique() > 1]
    ranks = frame.groupby(["Strategy", "Rank"], dropna=False)[list(WHERE_IT_DIFFERS_AT_ONE_RANK)].nunique().max()
    differing += list(ranks.index[ranks > 1])
    informative = [name for name in WHERE_IT_IS if (frame[name] != "").any()]
    informative += ["Status"] if (frame["Status"] != STATUS["finished"]).any() else []
    empty = [name for name in NOISE if name in frame and (frame[name].isna() | frame[name].isin(["", TOO_FEW])).all()]
    return [name for name in frame if name in (*ALWAYS, *differing, *informative) and name not in empty]


def ask_columns(frame: pd.DataFrame, key: str) -> list[str]:
    """Draws the choice of columns; a later default, for example with the first note, is added to a person's choice."""
    now, before = usual(frame), st.session_state.get(f"usual_{key}", [])
    if key in st.session_state and before:
        wanted = {*st.session_state[key], *(name for name in now if name not in before)}
        st.session_state[key] = [name for name in frame if name in wanted]
    st.session_state[f"usual_{key}"] = now
    with st.popover("Columns", icon=":material/view_column:", key="columns"):
        chosen: list[str] = st.multiselect(
            "Columns to show", list(map(str, frame)), default=now, key=key, label_visibility="collapsed"
        )
    return chosen


def columns(frame: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Returns the format and help of each column."""
    meaning = METRICS[metric]
    second = METRICS[SECOND[meaning.task]]
    score_help = (
        f"{meaning.label} ({meaning.unit}); {'higher' if meaning.higher_is_better else 'lower'} is better. "
        f"{meaning.help}"
    )
    most = float(frame["Peak memory (MB)"].max()) if frame["Peak memory (MB)"].notna().any() else 1.0
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn

    def written(name: str, places: int | None, sign: str = "", least: int = 0) -> dict[str, Any]:
        return digits_behind(frame[name], places, sign, least) if name in frame else {}

    def scored(name: str, sign: str = "", least: int = 0) -> dict[str, Any]:
        digits = _digits(frame, metric, name)
        return written(name, int(digits.max()) if digits.nunique() == 1 else None, sign, least)

    gain_help = "Difference from the run's own zero-shot score on the {} rows; above 0 is better."
    return {
        "Test rows": text(help="Runs with the same hash have the same test rows."),
        "Place": number("#", **fitted(frame["Place"], "%.0f", least=40), help="Place by the validation score."),
        "Run": text(pinned=True),
        "Rank": number(width="small"),
        "Seed": number(**fitted(frame["Seed"], "%.0f", least=75) if "Seed" in frame else {}),
        "Seeds": number(width="small", help="Number of seeds in the means of this row."),
        "Learning rate": number("Learning rate", format="%.2g"),
        "Targets": text(help="Target modules: the modules of the model that have an adapter."),
        "Other settings": text(help="Other settings that differ between rows."),
        "Trainable (%)": number(format="%.2f", width=NARROW, help="Trainable share of the model's parameters."),
        "Validation": _score(metric, score_help, scored("Validation", least=NARROW)),
        "Test": _score(metric, score_help, scored("Test", least=NARROW)),
        SECOND_SCORE: number(second.written.capitalize(), format="%.3f", width=NARROW, help="On the test rows."),
        "± validation": number(**scored("± validation", "± %"), help="Rows and, with several seeds, their spread."),
        "± test": number(**scored("± test", "± %"), help="Rows and, with several seeds, their spread."),
        CURVE: st.column_config.LineChartColumn(
            width="small", help=f"Validation {meaning.written} during training; with several seeds, of the best run."
        ),
        "Gain over zero-shot": number(
            **scored("Gain over zero-shot", "%+"),
            help=f"{gain_help.format('validation')} They chose the best step, so it is optimistic.",
        ),
        TIED: text(help="At most one standard error of the difference behind the best LoRA."),
        SPREAD: number(**scored(SPREAD, "± %"), help="Of the gain on the validation rows."),
        "Gain on test": number(**scored("Gain on test", "%+", NARROW), help=gain_help.format("test")),
        TEST_SPREAD: number("±", **scored(TEST_SPREAD, "± %", NARROW), help="A smaller gain on test may be noise."),
        "Not compared": text(width="medium", help="Why a run is excluded from the recommendation."),
        "Peak memory (MB)": st.column_config.ProgressColumn(
            format="%.0f", min_value=0, max_value=most, help="Peak of the whole run, on the meter named under Meter."
        ),
        "Memory of training (MB)": number(
            "Memory (MB)",
            **written("Memory of training (MB)", 1, least=NARROW),
            help="Peak of training above the loaded model; only this part depends on LoRA.",
        ),
        "Memory of prediction (MB)": number(
            **written("Memory of prediction (MB)", 1), help="Peak of the final prediction above the loaded model."
        ),
        "Training (s)": number(**written("Training (s)", 1, least=NARROW), help=TRAIN_SECONDS_HELP),
        "Prediction (s)": number(format="%.2f", help="For the test rows."),
        "Steps": number(format="%.0f"),
        "Context rows": number(format="localized", help="Of predictions, zero-shot included."),
        "Best step": number(format="%.0f", help="The step of the best checkpoint; 0 is the pretrained model."),
        "Adapter (kB)": number(**written("Adapter (kB)", 1, least=NARROW), help="Size of the adapter package."),
        "Tags": text(help="Your tags; select rows to set them."),
        "Note": text(width="medium", help="Your note; select rows to write one."),
        "What happened": text(width="large"),
    }


def _score(metric: str, score_help: str, form: dict[str, Any]) -> object:
    meaning = METRICS[metric]
    if meaning.unit == "share" and meaning.higher_is_better:
        return st.column_config.ProgressColumn(width=NARROW, help=score_help, format="%.4f", min_value=0, max_value=1)
    return st.column_config.NumberColumn(help=score_help, **form)


def runs_of(board: pd.DataFrame, rows: Sequence[int]) -> list[str]:
    """Returns the ids of the runs in some lines of the board."""
    lines = board.iloc[[row for row in rows if row < len(board)]]
    return [run for runs in lines["runs"] for run in runs] if "runs" in board else list(lines["run"])
