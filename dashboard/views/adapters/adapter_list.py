"""The adapters to choose from, by sweep, with their gains over zero-shot; the best confirmed one is first."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.formatting import labels, moment, plain
from dashboard.url_state import chosen, handed_over, renew, settle
from tabtune_core.analysis.intervals import PLUS_MINUS
from tabtune_core.analysis.runs_table import gains_of
from tabtune_core.metrics import METRICS
from tabtune_core.store.run_row import Run
from tabtune_core.store.uploaded_adapters import StoredAdapter

MOST_HIGH = 6
"""Most rows of a list that is shown at full height."""
CONFIRMED = "✓ confirmed"


def choose_adapter(runs: Mapping[str, Run], uploads: Mapping[str, StoredAdapter]) -> str:
    """Draws the list and returns the chosen row; by default the best of the sweep that was viewed last."""
    sweeps = queries.sweeps()
    sweep = chosen("sweep", list(sweeps), "")
    rows = adapter_rows(list(runs.values()), list(uploads.values()), sweep)
    listed = list(rows.index)
    renew("run", when=sweep, value=listed[0])
    if (given := handed_over("run")) is not None:  # chosen by code: a new list, because the old one keeps its row
        st.session_state["adapter_lists"] = st.session_state.get("adapter_lists", 0) + 1
        settle("run", given)
    shown = chosen("run", listed, listed[0])
    place = listed.index(shown)
    picked = st.dataframe(
        rows,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        selection_default={"selection": {"rows": [place]}},
        key=f"adapters_{hash(tuple(listed))}_{st.session_state.get('adapter_lists', 0)}",
        height="content" if len(rows) <= MOST_HIGH else 260,
        placeholder="",
        column_config={
            "Adapter": st.column_config.TextColumn(pinned=True),
            "Validation gain": st.column_config.TextColumn(help="On the rows that chose the best checkpoint."),
            "On test rows": st.column_config.TextColumn(help="Confirmed: the test rows show the gain of this choice."),
        },
    ).selection.rows
    shown = listed[picked[0]] if picked and picked[0] < len(listed) else shown
    settle("run", shown)
    gains = f"Choose another with the box before its row. Gains are over zero-shot. {PLUS_MINUS}."
    st.header(plain(str(rows.loc[shown, "Adapter"])), help=gains)
    return shown


def adapter_rows(runs: Sequence[Run], uploads: Sequence[StoredAdapter], first: str = "") -> pd.DataFrame:
    """Returns one row per adapter, by id: the sweep ``first``, then the newest, then uploads; confirmed ones lead."""
    names, tables, sweeps = labels(list(runs)), queries.tables(), queries.sweeps()
    confirmed = queries.confirmed(sorted(dict.fromkeys(run.sweep for run in runs), key=lambda sweep: sweep != first))
    rows: dict[str, dict[str, Any]] = {}
    for run in runs:
        metric, table, sweep = run.settings.selection_metric, tables.get(run.settings.dataset), sweeps[run.sweep]
        in_words, gains = queries.gains_in_words(run), gains_of(run, METRICS[metric])
        gain = gains.get("test_gain" if run.id in confirmed else "gain", math.nan)
        place = run.sweep == first, sweep.created, run.sweep, run.id in confirmed
        rows[run.id] = {
            "Adapter": names[run.id],
            "Test gain": in_words.get("test_gain", ""),
            "On test rows": CONFIRMED if run.id in confirmed else "",
            "Validation gain": in_words.get("gain", ""),
            "Score": METRICS[metric].written,
            "Predicts": f"{run.settings.target} · {table.name if table else 'table deleted'}",
            "Model": run.settings.model,
            "Sweep": f"{moment(sweep.created)} {sweep.name}",
            "by": (*place, -math.inf if math.isnan(gain) else gain),
        }
    frame = pd.DataFrame.from_dict(rows, orient="index")
    if len(frame):
        frame = frame.sort_values("by", ascending=False, kind="stable").drop(columns="by")
    others = {
        adapter.id: {
            "Adapter": f"{adapter.name} (uploaded)",
            "Predicts": f"{adapter.settings.target} · {adapter.facts.table_name}",
            "Model": adapter.settings.model,
            "Sweep": f"{moment(adapter.created)} uploaded",
        }
        for adapter in uploads
    }
    return pd.concat([frame, pd.DataFrame.from_dict(others, orient="index")]) if others else frame
