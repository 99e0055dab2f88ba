"""What the models said of the rows, side by side: where they differ, how sure they are, and the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.components.downloads import data_of
from dashboard.formatting import plain
from tabtune_core.data.prediction_rows import CSV, PREDICTED

SHOWN = 1000
"""Rows on the page; the download has all."""
CLASSES_SHOWN = 12
FAR = 0.1
"""Numbers differ when they are further apart than this share of the target's standard deviation in the context."""
MARK = "background-color: rgba(230, 159, 0, 0.35)"


def draw(result: Mapping[str, Any], folder: Path) -> None:
    """The table of one finished prediction, its notes and its download."""
    predicted = pd.read_parquet(folder / PREDICTED)
    for note in result["notes"]:
        st.markdown(f":orange[:material/warning:] {plain(note)}")
    differing = differ(predicted, result)
    _sentence(differing, result)
    if len(predicted) == 1:
        _one_row(predicted, result)
    else:
        only = bool(differing.any()) and st.toggle("Only rows where they differ", key="try_only")
        _many_rows(predicted[differing] if only else predicted, result)
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


def models_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Column of the predictions -> title."""
    return {f"m{place}": model["title"] for place, model in enumerate(result["models"])}


def differ(predicted: pd.DataFrame, result: Mapping[str, Any]) -> pd.Series:
    """Rows in which the models do not say the same: another label, or numbers that are far apart."""
    names = list(models_of(result))
    if result["classes"]:
        return predicted[names].nunique(axis=1) > 1
    return predicted[names].max(axis=1) - predicted[names].min(axis=1) > FAR * result["deviation"]


def unlike_first(shown: pd.DataFrame, result: Mapping[str, Any]) -> pd.DataFrame:
    """Whether each cell of the model columns says something else than the first one."""
    first = shown.iloc[:, 0]
    if result["classes"]:
        return shown.ne(first, axis=0)
    return shown.sub(first, axis=0).abs() > FAR * result["deviation"]


def _sentence(differing: pd.Series, result: Mapping[str, Any]) -> None:
    if len(result["models"]) < 2:
        return
    what = "another label" if result["classes"] else f"more than {FAR:.0%} of the target's standard deviation ({result['deviation']:,.3g})"
    if len(differing) == 1:
        near = "" if result["classes"] else f", to within {FAR:.0%} of the target's standard deviation ({result['deviation']:,.3g})"
        st.markdown("The models **differ** here." if differing.any() else f"The models **agree** here{near}.")
    else:
        st.markdown(f"The models differ in **{int(differing.sum()):,} of {len(differing):,}** rows.")
    if differing.any():
        st.caption(f"Marked: {what} {'than' if result['classes'] else 'from'} {plain(result['models'][0]['title'])}.")


def _one_row(predicted: pd.DataFrame, result: Mapping[str, Any]) -> None:
    classes = list(result["classes"])
    lines = [
        {"Model": title, "Predicted": predicted[name].iloc[0]}
        | {f"Probability of {label}": predicted[f"{name}_{k}"].iloc[0] for k, label in enumerate(classes[:CLASSES_SHOWN])}
        for name, title in models_of(result).items()
    ]
    frame = pd.DataFrame(lines)
    marked = unlike_first(frame[["Predicted"]].T.reset_index(drop=True), result).iloc[0]
    styled = frame.style.apply(lambda column: [MARK if mark else "" for mark in marked], subset=["Predicted"])
    shares = {
        f"Probability of {label}": st.column_config.ProgressColumn(min_value=0, max_value=1, format="%.3f")
        for label in classes[:CLASSES_SHOWN]
    }
    number = {} if classes else {"Predicted": st.column_config.NumberColumn(format="%.4g")}
    st.dataframe(styled, hide_index=True, column_config=shares | number, key="try_table")


def _many_rows(predicted: pd.DataFrame, result: Mapping[str, Any]) -> None:
    models, classes = models_of(result), list(result["classes"])
    part = predicted.head(SHOWN)
    frame = pd.DataFrame({"Row": part.index + 1})
    config: dict[str, Any] = {"Row": st.column_config.NumberColumn(pinned=True)}
    for name, title in models.items():
        frame[title] = part[name].to_numpy()
        if classes:
            sure = f"{title}: probability"
            frame[sure] = part[[f"{name}_{k}" for k in range(len(classes))]].max(axis=1).to_numpy()
            config[sure] = st.column_config.NumberColumn(format="%.3f", help=f"Probability of the label that {plain(title)} predicts.")
        else:
            config[title] = st.column_config.NumberColumn(format="%.4g")
    frame.insert(1, "Differ", ["≠" if mark else "" for mark in differ(part, result)])
    titles = list(models.values())
    marks = unlike_first(frame[titles], result).map(lambda mark: MARK if mark else "")
    styled = frame.style.apply(lambda shown: marks, axis=None, subset=titles)
    st.dataframe(styled, hide_index=True, column_config=config, key="try_table")
    if len(predicted) > SHOWN:
        st.caption(f"The first {SHOWN:,} of {len(predicted):,} rows; the download has all.")
