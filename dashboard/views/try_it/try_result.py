"""What the models said of the rows, side by side: scores where labels are known, where they differ, how sure they are, and the file."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.components.job_status import data_of
from dashboard.formatting import plain
from dashboard.views.try_it.try_rows import row_columns
from tabtune_core.data.prediction_rows import CSV, PREDICTED, ROWS, TRUTH
from tabtune_core.metrics import METRICS
from tabtune_core.wording import counted

SHOWN = 1000
"""Rows on the page; the download has all."""
CLASSES_SHOWN = 12
COLUMNS_SHOWN = 40
"""Of the rows, beside what the models say."""
FAR = 0.1
"""Numbers differ when they are further apart than this share of the target's standard deviation in the context."""
NUMBER = "%.6g"
"""Of values of the target: as the row itself is written; only counts have commas."""
MARK = "background-color: rgba(230, 159, 0, 0.35)"


def draw(result: Mapping[str, Any], folder: Path) -> None:
    """The table of one finished prediction, its scores, its notes and its download."""
    predicted = pd.read_parquet(folder / PREDICTED)
    rows = pd.read_parquet(folder / ROWS) if (folder / ROWS).is_file() else pd.DataFrame(index=predicted.index)
    for note in result["notes"]:
        st.markdown(f":orange[:material/warning:] {plain(note)}")
    differing = differ(predicted, result)
    _sentence(differing, result)
    if len(predicted) == 1:
        _one_row(predicted, result)
        _whole_row(rows)
    else:
        _scores(result)
        only = bool(differing.any()) and st.toggle("Only rows where they differ", key="try_only")
        kept = differing[differing].index if only else differing.sort_values(ascending=False, kind="stable").index
        _many_rows(predicted.loc[kept], rows.loc[kept], result)
    shown = sorted({model["context_rows"] for model in result["models"] if "context_rows" in model})
    if shown:
        st.caption(f"Predicted from {' and '.join(f'{count:,}' for count in shown)} context rows.")
    st.download_button(
        "Download predictions (CSV)",
        data_of(folder / CSV),
        "predictions.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="Your rows with what each model predicts and, for classes, every probability."
        " A text that a spreadsheet would take for a formula, such as =x, gets a ' in front.",
    )


def _scores(result: Mapping[str, Any]) -> None:
    """The scores of the leaderboard, on the rows whose label is known."""
    scored = [model for model in result["models"] if model.get("scores")]
    if not scored:
        return
    metrics = [name for name in scored[0]["scores"] if name in METRICS]
    frame = pd.DataFrame([{"Model": model["title"]} | {METRICS[name].label: model["scores"][name] for name in metrics} for model in scored])
    how = {
        METRICS[name].label: st.column_config.NumberColumn(
            format=f"%.{METRICS[name].decimals(frame[METRICS[name].label].abs().max())}f", help=METRICS[name].help
        )
        for name in metrics
    }
    st.markdown(f"**Scores on {counted(result['scored_rows'], 'labelled row')}**")
    st.dataframe(frame, hide_index=True, placeholder="N/A", column_config={"Model": st.column_config.TextColumn(pinned=True)} | how)


def models_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Column of the predictions -> title."""
    return {f"m{place}": model["title"] for place, model in enumerate(result["models"])}


def differ(predicted: pd.DataFrame, result: Mapping[str, Any]) -> pd.Series:
    """Rows in which the models do not say the same: another label, or numbers that are far apart."""
    names = list(models_of(result))
    if result["classes"]:
        different: pd.Series[bool] = predicted[names].nunique(axis=1) > 1
    else:
        different = predicted[names].max(axis=1) - predicted[names].min(axis=1) > FAR * result["deviation"]
    return different


def unlike_first(shown: pd.DataFrame, result: Mapping[str, Any]) -> pd.DataFrame:
    """Whether each cell of the model columns says something else than the first one."""
    first = shown.iloc[:, 0]
    if result["classes"]:
        return shown.ne(first, axis=0)
    far: pd.DataFrame = shown.sub(first, axis=0).abs() > FAR * result["deviation"]
    return far


def _sentence(differing: pd.Series, result: Mapping[str, Any]) -> None:
    if len(result["models"]) < 2:
        return
    what = "another label" if result["classes"] else f"more than {FAR:.0%} of the target's standard deviation ({result['deviation']:.6g})"
    if len(differing) == 1:
        near = "" if result["classes"] else f", to within {FAR:.0%} of the target's standard deviation ({result['deviation']:.6g})"
        st.markdown("The models **differ** here." if differing.any() else f"The models **agree** here{near}.")
    else:
        st.markdown(f"The models differ in **{int(differing.sum()):,} of {len(differing):,}** rows.")
    if differing.any():
        st.caption(f"Marked: {what} {'than' if result['classes'] else 'from'} {plain(result['models'][0]['title'])}.")


def _one_row(predicted: pd.DataFrame, result: Mapping[str, Any]) -> None:
    classes = list(result["classes"])
    if TRUTH in predicted:
        truth = predicted[TRUTH].iloc[0]
        st.markdown(f"Label in the table: **{plain(truth if classes else f'{truth:.6g}')}**")
    lines = [
        {"Model": title, "Predicted": predicted[name].iloc[0]}
        | {f"P({label})": predicted[f"{name}_{k}"].iloc[0] for k, label in enumerate(classes[:CLASSES_SHOWN])}
        for name, title in models_of(result).items()
    ]
    frame = pd.DataFrame(lines)
    marked = unlike_first(frame[["Predicted"]].T.reset_index(drop=True), result).iloc[0]
    styled = frame.style.apply(lambda column: [MARK if mark else "" for mark in marked], subset=["Predicted"])
    shares = {
        f"P({label})": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f", help=f"Probability of {plain(label)}.")
        for label in classes[:CLASSES_SHOWN]
    }
    number = {} if classes else {"Predicted": st.column_config.NumberColumn(format=NUMBER)}
    st.dataframe(styled, hide_index=True, column_config=shares | number, key="try_table")


def _whole_row(rows: pd.DataFrame) -> None:
    """The row that was predicted, a column a line."""
    if rows.empty or not len(rows.columns):
        return
    values = ["missing" if pd.isna(value) else str(value) for value in rows.iloc[0]]
    with st.expander("The row that was predicted", icon=":material/table_rows:"):
        st.dataframe(pd.DataFrame({"Column": list(rows.columns), "Value": values}), hide_index=True)


def _many_rows(predicted: pd.DataFrame, rows: pd.DataFrame, result: Mapping[str, Any]) -> None:
    """A line a row: its label, what each model says, and the row itself."""
    models, classes = models_of(result), list(result["classes"])
    part = predicted.head(SHOWN)
    frame = pd.DataFrame({"Row": part.index + 1})
    config: dict[str, Any] = {"Row": st.column_config.NumberColumn(pinned=True)}
    frame["Differ"] = ["≠" if mark else "" for mark in differ(part, result)]
    if TRUTH in part:
        frame["Label"] = part[TRUTH].to_numpy()
        config["Label"] = st.column_config.Column(help="In your file.")
    for name, title in models.items():
        frame[title] = part[name].to_numpy()
        if not classes:
            config[title] = st.column_config.NumberColumn(format=NUMBER)
    titles: list[Hashable] = list(models.values())
    marks = unlike_first(frame[titles], result).map(lambda mark: MARK if mark else "")
    for name, title in models.items() if classes else ():
        sure = part[[f"{name}_{k}" for k in range(len(classes))]].max(axis=1)
        frame[title] = [f"{label} ({share:.3f})" for label, share in zip(part[name], sure, strict=True)]
        config[title] = st.column_config.TextColumn(help=f"The label that {plain(title)} predicts, and its probability.")
    own = rows.loc[part.index, [name for name in rows.columns[:COLUMNS_SHOWN] if name not in frame]].reset_index(drop=True)
    config |= row_columns(own)
    styled = pd.concat([frame, own], axis=1).style.apply(lambda shown: marks, axis=None, subset=titles)
    st.dataframe(styled, hide_index=True, column_config=config, placeholder="missing", key="try_table")
    if len(predicted) > SHOWN:
        st.caption(f"The first {SHOWN:,} of {len(predicted):,} rows; the download has all.")
