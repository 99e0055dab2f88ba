"""The chosen runs' predictions for held-out rows: confusion, calibration, errors, and rows that differ."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components import segments
from dashboard.components.plotly_chart import show
from dashboard.formatting import plain
from dashboard.table_columns import beside, row_columns
from dashboard.views.compare.compared import Compared
from tabtune_core.analysis.prediction_diagnostics import (
    confusion,
    errors,
    flip_counts,
    flips,
    movers,
    reliability,
    together,
)
from tabtune_core.charts import CHARTS
from tabtune_core.data.splits import SplitName
from tabtune_core.errors import TableError
from tabtune_core.store.predictions import Predictions
from tabtune_core.store.run_row import Run


def which_rows(chart: str = "") -> SplitName:
    """Asks which held-out rows to show, beside what the ``chart`` of them means."""
    help = "Validation rows chose the best checkpoint of each run; test rows were not used for any choice."
    help, parts = (
        f"{help} {CHARTS[chart].help if chart else ''}",
        {"validation": "Validation rows", "test": "Test rows"},
    )
    part: SplitName = segments("Rows", parts, key="compare_rows", persist_state="session", help=help)
    return part


def predictions_of(compared: Compared, runs: list[Run], part: SplitName) -> dict[str, Predictions]:
    """Returns the predictions by run id; says which runs have none."""
    by_run = {run.id: queries.predictions(run.id, part) for run in runs}
    absent = [compared.legend.labels[run_id] for run_id, predictions in by_run.items() if predictions is None]
    if absent:
        st.caption(f"No predictions on disk for {plain(', '.join(absent))}.")
    return {run_id: predictions for run_id, predictions in by_run.items() if predictions is not None}


def confusions(compared: Compared, runs: list[Run]) -> None:
    """Draws one confusion matrix per run."""
    by_run = predictions_of(compared, runs, which_rows("confusion_matrix"))
    if not by_run:
        return
    counts = {run_id: confusion(predictions) for run_id, predictions in by_run.items()}
    classes = max(pairs["label"].nunique() for pairs in counts.values())
    # labels, and cells that hold a number
    with st.grid(min(len(by_run), 3), min_column_width=max(320, 180 + 32 * classes)):
        for run_id, pairs in counts.items():
            with st.container():
                st.markdown(f"**{plain(compared.legend.labels[run_id])}**")
                label = f"Confusion matrix of {compared.legend.labels[run_id]}"
                show("confusion_matrix", pairs, key=f"confusion_{run_id}", label=label)


def calibration(compared: Compared, runs: list[Run]) -> None:
    """Draws the runs' probabilities against how often they are right."""
    bins = _together(compared, predictions_of(compared, runs, which_rows("reliability_diagram")), reliability)
    if bins is not None:
        show("reliability_diagram", bins, key="reliability")


def number_errors(compared: Compared, runs: list[Run]) -> None:
    """Draws predicted against true numbers, and the distribution of the errors."""
    off = _together(compared, predictions_of(compared, runs, which_rows("predicted_true")), errors)
    if off is not None:
        show("predicted_true", off)


def _together(
    compared: Compared, by_run: dict[str, Predictions], count: Callable[[Predictions], pd.DataFrame]
) -> pd.DataFrame | None:
    """Returns the counts of all runs in one frame, with names; None without predictions."""
    each = [count(predictions).assign(run=run_id) for run_id, predictions in by_run.items()]
    return compared.legend.name(pd.concat(each, ignore_index=True)) if each else None


NAMES = {"row": "Row", "label": "Label", "move": "Move"}


def changed_rows(compared: Compared, runs: list[Run]) -> None:
    """Draws the rows that two runs predict differently, by default from zero-shot to the last chosen run."""
    if len(runs) < 2:
        st.info("Choose a second run above.", icon=":material/compare_arrows:")
        return
    ids = [run.id for run in runs]
    zero_shot = next((place for place, run in enumerate(runs) if run.settings.strategy == "inference"), 0)
    before, after, part = st.columns([2, 2, 1], vertical_alignment="bottom")
    words = compared.legend.labels.__getitem__
    first = before.selectbox("From", ids, zero_shot, format_func=words, key=f"from_{compared.sweep}")
    others = [run_id for run_id in ids if run_id != first]
    second = after.selectbox("To", others, len(others) - 1, format_func=words, key=f"to_{compared.sweep}")
    with part:
        rows = which_rows()
    pair = [next(run for run in runs if run.id == run_id) for run_id in (first, second)]
    predictions = predictions_of(compared, pair, rows)
    if len(predictions) < 2:
        return
    both = together(*(predictions[run.id] for run in pair))
    if both.empty:
        st.info(f"These two runs have no {rows} row in common, because their seeds differ.", icon=":material/info:")
        return
    if pair[0].settings.seed != pair[1].settings.seed:
        st.caption(f"Their seeds differ: they share {len(both):,} {rows} rows.")
    names = [compared.legend.labels[run.id] for run in pair]
    if compared.task == "classification":
        _classes(both, names, pair[0])
    else:
        _numbers(both, names, pair[0])


def _classes(both: pd.DataFrame, names: list[str], run: Run) -> None:
    changed = flips(both)
    st.markdown(in_words(both, changed, names))
    if changed.empty:
        return
    right = {(True, False): names[0], (False, True): names[1], (False, False): "neither"}
    pairs = zip(changed["first_right"].astype(bool), changed["second_right"].astype(bool), strict=True)
    rows = changed[["row", "label"]].assign(right=[right[pair] for pair in pairs])
    for prefix, name in zip(("first", "second"), names, strict=True):
        rows[f"{name}: predicted"] = changed[f"{prefix}_predicted"]
        rows[f"{name}: probability"] = changed[f"{prefix}_confidence"]
    _table(rows.rename(columns={**NAMES, "right": "Right"}), run, percent=[f"{name}: probability" for name in names])


def in_words(both: pd.DataFrame, changed: pd.DataFrame, names: list[str]) -> str:
    """Says how many predicted classes change, and whether they become right or wrong."""
    if changed.empty:
        same = f"predict the same class for all {len(both):,} rows"
        return f"No prediction changes: **{plain(names[0])}** and **{plain(names[1])}** {same}."
    counts = flip_counts(changed)
    become = f"{counts['right']:,} become right, {counts['wrong']:,} become wrong, {counts['still']:,} stay wrong"
    return f"{_from_to(names)} {len(changed):,} of {len(both):,} rows change: {become}."


def _from_to(names: list[str]) -> str:
    return f"From **{plain(names[0])}** to **{plain(names[1])}**,"


def _numbers(both: pd.DataFrame, names: list[str], run: Run) -> None:
    moved = movers(both)
    closer = int((both["second_error"].abs() < both["first_error"].abs()).sum())
    what = f"{closer:,} of {len(both):,} rows get closer to the true value"
    st.markdown(f"{_from_to(names)} {what}. The {len(moved)} rows with the largest change:")
    rows = moved[["row", "label", "move"]].copy()
    for prefix, name in zip(("first", "second"), names, strict=True):
        rows[f"{name}: predicted"], rows[f"{name}: error"] = moved[f"{prefix}_predicted"], moved[f"{prefix}_error"]
    _table(rows.rename(columns=NAMES), run, percent=[])


def _table(rows: pd.DataFrame, run: Run, percent: list[str]) -> None:
    """Draws the predictions beside the rows' values in the table."""
    settings = run.settings
    try:
        values = queries.rows_of(settings.dataset, rows["Row"].to_numpy()).drop(columns=settings.target)
    except TableError as error:
        st.caption(plain(str(error)))
        values = pd.DataFrame(index=rows.index)
    values.columns = beside(values, rows)
    whole = pd.concat([rows.reset_index(drop=True), values.reset_index(drop=True)], axis=1)
    config = row_columns(whole) | {name: st.column_config.NumberColumn(format="percent") for name in percent}
    config["Row"] = st.column_config.NumberColumn(pinned=True, help="Number of the row in the table, from 0.")
    st.dataframe(whole, hide_index=True, height="content" if len(whole) < 12 else 440, column_config=config)
