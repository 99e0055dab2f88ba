"""The models' predictions side by side: scores if labels are known, differences, probabilities, and the file."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.components import download
from dashboard.formatting import plain
from dashboard.table_columns import as_they_come, beside, digits_behind, rounded, row_columns
from tabtune_core.analysis.uncertainty import SHARE
from tabtune_core.data.prediction_rows import CSV, PREDICTED, ROWS, TRUTH
from tabtune_core.metrics import METRICS
from tabtune_core.wording import counted, decimal, few, number, power_of_ten

SHOWN = 1000
"""Rows on the page; the download has all."""
CLASSES_SHOWN = 12
COLUMNS_SHOWN = 40
"""Most columns of the rows beside the predictions."""
FAR = 0.1
"""Numbers differ if they are further apart than this share of the target's standard deviation in the context."""
MARK = "background-color: rgba(230, 159, 0, 0.35)"


def draw(result: Mapping[str, Any], folder: Path, *, outdated: bool) -> None:
    """Draws one finished prediction: its table, scores, notes and download."""
    try:
        predicted = pd.read_parquet(folder / PREDICTED)
        rows = pd.read_parquet(folder / ROWS) if (folder / ROWS).is_file() else pd.DataFrame(index=predicted.index)
    except (OSError, ValueError):
        st.error(plain(f"The predictions in {folder} are damaged or gone. Press Predict again."))
        return
    for note in result["notes"]:
        st.markdown(f":orange[:material/warning:] {plain(note)}")
    differing = differ(predicted, result)
    _sentence(differing, result)
    if len(predicted) == 1:
        _one_row(predicted, result)
    else:
        _scores(result)
        only = bool(differing.any()) and st.toggle("Only rows where they differ", key="try_only")
        kept = differing[differing].index if only else differing.sort_values(ascending=False, kind="stable").index
        _many_rows(predicted.loc[kept], rows.loc[kept], result)
    download(
        f"Download {'the earlier ' if outdated else ''}predictions (CSV)",
        (folder / CSV).read_bytes,
        "predictions.csv",
        "text/csv",
        help="Your rows with every prediction and probability. A text that looks like a formula gets a ' in front.",
    )


def _scores(result: Mapping[str, Any]) -> None:
    """Draws the leaderboard's scores on the rows whose label is known."""
    scored = [model for model in result["models"] if model.get("scores")]
    if not scored:
        return
    metrics = [name for name in scored[0]["scores"] if name in METRICS]
    frame, how = pd.DataFrame({"Model": [model["title"] for model in scored]}), {}
    for name in metrics:
        label = METRICS[name].label
        values = pd.Series([model["scores"][name] for model in scored], dtype="float64", name=label)
        digits = METRICS[name].decimals(values)
        frame[label] = rounded(values, digits)
        how[label] = st.column_config.NumberColumn(**digits_behind(values, digits), help=METRICS[name].help)
    st.markdown(f"**Scores on {counted(result['scored_rows'], 'labelled row')}**")
    st.dataframe(
        frame,
        hide_index=True,
        placeholder="N/A",
        column_config={"Model": st.column_config.TextColumn(pinned=True)} | how,
    )


def models_of(result: Mapping[str, Any]) -> dict[str, str]:
    """Returns column of the predictions -> model title."""
    return {f"m{place}": model["title"] for place, model in enumerate(result["models"])}


def unlike_first(shown: pd.DataFrame, result: Mapping[str, Any]) -> pd.DataFrame:
    """Returns for each cell whether its model differs from the first: in the label, or by more than ``FAR``."""
    first = shown.iloc[:, 0]
    if result["classes"]:
        return shown.ne(first, axis=0)
    far: pd.DataFrame = shown.sub(first, axis=0).abs() > FAR * result["deviation"]
    return far


def differ(predicted: pd.DataFrame, result: Mapping[str, Any]) -> pd.Series:
    """Returns for each row whether a model differs from the first."""
    return unlike_first(predicted[list(models_of(result))], result).any(axis=1)


def _sentence(differing: pd.Series, result: Mapping[str, Any]) -> None:
    """Says in how many of several rows the models differ, and what is marked."""
    if len(differing) == 1 or len(result["models"]) < 2:
        return
    st.markdown(f"The models differ in **{int(differing.sum()):,} of {len(differing):,}** rows.")
    if differing.any():
        far = f"more than {number(FAR * result['deviation'])} from" if not result["classes"] else "another label than"
        st.caption(f"Marked: {far} {plain(result['models'][0]['title'])}.")


def _one_row(predicted: pd.DataFrame, result: Mapping[str, Any]) -> None:
    """Draws each model's prediction, the most likely class first, as a table whose text wraps."""
    classes, models, row = list(result["classes"]), models_of(result), predicted.iloc[0]
    if TRUTH in predicted:
        truth = row[TRUTH]
        st.markdown(f"Label in the table: **{plain(truth if classes else number(truth))}**")
    differing = unlike_first(predicted[list(models)], result).iloc[0]
    shares = {name: [row[f"{name}_{k}"] for k in range(len(classes))] for name in models}

    def label(name: str) -> str:
        text = f"**{plain(str(row[name]))}** {max(shares[name]):.3f}" if classes else f"**{plain(number(row[name]))}**"
        return f":orange-background[{text}]" if differing[name] else text

    lines = [["Predicted", *map(label, models)]]
    if classes:
        order = sorted(range(len(classes)), key=lambda k: -sum(own[k] for own in shares.values()))
        lines += [
            [plain(str(classes[k])), *(f"{own[k]:.3f}" for own in shares.values())] for k in order[:CLASSES_SHOWN]
        ]
        if rest := order[CLASSES_SHOWN:]:
            lines.append([f"{len(rest)} more", *(f"{sum(own[k] for k in rest):.3f}" for own in shares.values())])
    if any(model["sure"] for model in result["models"]):
        how_sure = [
            (_among(classes, shares[name], model) if classes else _reach(row[name], model)) if model["sure"] else "N/A"
            for name, model in zip(models, result["models"], strict=True)
        ]
        lines.insert(1, [f"{100 * SHARE:.0f} % {'set' if classes else 'interval'}", *how_sure])
    head = f"| | {' | '.join(map(plain, models.values()))} |"
    with st.container(key="try_one_row"):  # where long words break
        st.markdown("\n".join([head, "|---" * (1 + len(models)) + "|", *(f"| {' | '.join(line)} |" for line in lines)]))
    sure = [model for model in result["models"] if model["sure"] and model["sure"]["held"] is not None]
    if sure:
        held = ", ".join(f"{100 * model['sure']['held']:.0f} % ({plain(model['title'])})" for model in sure)
        what = f"{'Sets' if classes else 'Intervals'} come from the validation rows"
        st.caption("How sure?", help=f"{what}. The truth was inside for {held} of the test rows.")


def _among(classes: Sequence[Any], shares: Sequence[float], model: Mapping[str, Any]) -> str:
    """Lists the classes of a set, the likeliest first."""
    inside = sorted(
        (-share, place) for place, share in enumerate(shares) if share >= min(model["sure"]["least"], max(shares))
    )
    return plain(few([str(classes[place]) for _, place in inside], CLASSES_SHOWN))


def _reach(predicted: float, model: Mapping[str, Any]) -> str:
    """Writes the interval with digits that fit its width."""
    below, above = model["sure"]["below"], model["sure"]["above"]
    digits = 2 - power_of_ten(below + above) if below + above else 12
    low, high = (decimal(round(end, digits), max(digits, 0)) for end in (predicted - below, predicted + above))
    return plain(f"{low} to {high}")


def _many_rows(predicted: pd.DataFrame, rows: pd.DataFrame, result: Mapping[str, Any]) -> None:
    """Draws a line per row: its label, each model's prediction, and the row itself."""
    models, classes = models_of(result), list(result["classes"])
    part = predicted.head(SHOWN)
    frame = pd.DataFrame({"Row": part.index + 1})
    config: dict[str, Any] = {"Row": st.column_config.NumberColumn(pinned=True)}
    frame["Differ"] = ["≠" if mark else "" for mark in differ(part, result)]
    if TRUTH in part:
        frame["Label"] = part[TRUTH].to_numpy()
        config["Label"] = st.column_config.Column(help="The label in your file.")
        if not classes:
            config["Label"] = st.column_config.NumberColumn(
                help="The label in your file.", **as_they_come(frame["Label"])
            )
    for name, title in models.items():
        frame[title] = part[name].to_numpy()
        if not classes:
            config[title] = st.column_config.NumberColumn(**as_they_come(frame[title]))
    titles: list[Hashable] = list(models.values())
    marks = unlike_first(frame[titles], result).map(lambda mark: MARK if mark else "")
    for name, title in models.items() if classes else ():
        sure = part[[f"{name}_{k}" for k in range(len(classes))]].max(axis=1)
        frame[title] = [f"{label} ({share:.3f})" for label, share in zip(part[name], sure, strict=True)]
        config[title] = st.column_config.TextColumn(
            help=f"The label that {plain(title)} predicts, and its probability."
        )
    own = rows.loc[part.index, rows.columns[:COLUMNS_SHOWN]].reset_index(drop=True)
    own.columns = beside(own, frame)
    config |= row_columns(own)
    styled = pd.concat([frame, own], axis=1).style.apply(lambda shown: marks, axis=None, subset=titles)
    st.dataframe(styled, hide_index=True, column_config=config, placeholder="missing", key="try_table")
    if len(predicted) > SHOWN:
        st.caption(f"The first {SHOWN:,} of {len(predicted):,} rows; the download has all.")
