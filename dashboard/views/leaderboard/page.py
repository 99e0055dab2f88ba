"""The Leaderboard page: every run or configuration, best validation score first, with actions for selected ones."""

from functools import partial

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components import download, unreadable
from dashboard.components.answer_card import answer_card
from dashboard.components.glossary import define
from dashboard.components.plotly_chart import show
from dashboard.components.unreadable import page_part
from dashboard.formatting import plain, sweep_titles
from dashboard.url_state import SELECT_PIXELS, chosen, nothing_yet, pick, renew, say_gone, seen, settle, stop
from dashboard.views.leaderboard import board_table, exports, run_actions
from tabtune_core.analysis.races import at_one_rate, picture_rows
from tabtune_core.analysis.recommendation import Recommendation, with_noise
from tabtune_core.errors import StoreError
from tabtune_core.metrics import METRICS, SELECTION, metrics_of
from tabtune_core.wording import few

ALL = "all"
LOOK_SECONDS = 2.0
"""Interval at which an open page checks whether a run has begun or ended."""
PAGE_ROWS, ROW_PIXELS = 40, 35
"""Most lines without a scroll bar, and the height of a line."""
PER = {"run": "Each run", "configuration": "Each configuration"}


def speak(board: pd.DataFrame, recommendation: Recommendation | None, metric: str, *, going: bool) -> None:
    """Shows the short recommendation, or why it is missing."""
    done = board[board["place"].notna() & (board["apart"] == "")]
    if recommendation is None:
        st.caption(
            "Places across sweeps mean little, because their validation rows differ. Choose one sweep to compare."
        )
    elif going:
        st.caption("Some runs of this sweep have not ended. The recommendation appears after the last one.")
    elif recommendation.sentences:
        with st.container(border=True):
            answer_card(recommendation)
            if recommendation.claim is not None:
                run_actions.offer_seeds(recommendation.claim, list(runs.values()))
    elif recommendation.configurations.empty and recommendation.basis:
        st.markdown(plain(recommendation.basis))
    elif len(done):
        best = done.iloc[0]
        first = [plain(name) for name in done.loc[done["place"] == best["place"], "name"]]
        lead = f"**{first[0]}** leads" if len(first) == 1 else f"**{', '.join(first)}** share the first place"
        noise = "How much of a lead is noise is not known. "
        if len(done) == 1:
            lead, noise = f"**{first[0]}** is the only run in the ranking,", ""
        meaning, score, untrained = (
            METRICS[metric],
            best[f"validation_{metric}"],
            best[f"zero_shot_validation_{metric}"],
        )
        trained = pd.notna(untrained) and best["strategy"] != "inference"
        zero_shot = f" (zero-shot {meaning.text(untrained, score - untrained)})" if trained else ""
        st.markdown(
            f"{lead} on the validation rows with {meaning.written} **{meaning.text(score, score - untrained)}**"
            f"{zero_shot}. {noise}Validation ranks; test is only reported. {plain(recommendation.basis)}"
        )


def remarks(board: pd.DataFrame) -> None:
    """Points out archived runs and runs without a gain."""
    if away := int(board["archived"].sum()):
        st.caption(
            f"{away} archived {'run is' if away == 1 else 'runs are'} excluded from the ranking and the recommendation."
        )
    no_gain = [plain(name) for name in board.loc[board["note"].str.startswith("no gain") & ~board["archived"], "name"]]
    if no_gain:
        st.caption(
            f"No gain over zero-shot: {few(no_gain, 10)}. These runs kept the pretrained weights, because no "
            "evaluation beat them."
        )


head = st.container(horizontal=True, vertical_alignment="center")
head.title("Leaderboard", help=define("Held-out rows", "Gain", "Claim", "Selection metric"), width="content")
sweeps = queries.sweeps()
if not sweeps:
    nothing_yet("No run yet. Choose a table and a model first; every run then has a line here.", "leaderboard")

say_gone("sweep", list(sweeps), "sweep")
with head:
    names = {ALL: "All runs of this workspace", **sweep_titles(sweeps)}
    elsewhere = chosen("sweep", list(sweeps), next(iter(sweeps)))  # on Live or Compare
    renew("board", when=elsewhere, value=elsewhere)
    picked = pick(
        "Runs",
        list(names),
        name="board",
        default=elsewhere,
        format_func=names.__getitem__,
        label_visibility="collapsed",
        width=SELECT_PIXELS,
    )
    sweep = None if picked == ALL else picked
    if sweep is not None:
        settle("sweep", sweep)  # for the other pages
        seen("board", sweep)
unreadable.runs()
stamp = queries.stamp_of(sweep)
runs = {run.id: run for run in queries.listed(sweep)}
if not runs:
    stop()
verdict, controls = st.container(), st.container(horizontal=True)
with controls:
    tasks = list(dict.fromkeys(run.settings.task for run in reversed(runs.values())))
    usual_metric = SELECTION[tasks[0]] if sweep is None else queries.selection_metric(sweep)
    metric = pick(
        "Rank by",
        [name for task in tasks for name in metrics_of(task)],
        name="metric",
        default=usual_metric,
        format_func=lambda name: f"By {METRICS[name].written}" + (f" ({METRICS[name].task})" if len(tasks) > 1 else ""),
        label_visibility="collapsed",
    )
    repeated = "configuration" if sweep and len({run.settings.seed for run in runs.values()}) > 1 else "run"
    renew("lines", when=picked, value=repeated)
    per = pick(
        "Rows", list(PER), name="lines", default=repeated, format_func=PER.__getitem__, label_visibility="collapsed"
    )
with unreadable.errors_shown(StoreError, stop=True):
    board = queries.ranked(sweep, metric, archived=True)
    found = None if sweep is None else queries.recommended(sweep, metric)

active = queries.active(list(runs.values()))
going = sweep is not None and active
with verdict:
    speak(board, found, metric, going=going)
    drawn = picture_rows(queries.store(), board if found is not None else board[:0], metric)
    lora = drawn[drawn["strategy"] == "peft"]
    if found is not None and lora[f"validation_{metric}"].notna().any():
        label = f"{METRICS[metric].label} against rank{at_one_rate(lora)}"
        show("rank_curve", with_noise(drawn, found.configurations), key="picture", label=label, metric=metric)
tables = {dataset.id: dataset.name for dataset in queries.tables().values()}
with controls:
    away = int(board["archived"].sum())
    with_archived = bool(away) and st.toggle(f"Show archived runs ({away})", key="archived", bind="query-params")
shown_runs = board if with_archived else board[~board["archived"]]
if per == "configuration":
    every = queries.configurations(sweep, metric)
    passed = set(shown_runs["run"])
    kept = every[[not passed.isdisjoint(ids) for ids in every["runs"]]].reset_index(drop=True)
else:
    every = board
    kept = (shown_runs if found is None else with_noise(shown_runs, found.configurations)).reset_index(drop=True)
shown = board_table.table(kept, metric, queries.sparklines(sweep, metric), tables, names)
with controls:
    visible = board_table.ask_columns(shown, f"columns_{picked}_{per}")
what = "runs" if per == "run" else "configurations"
chosen_rows = st.dataframe(
    shown[visible],
    column_config=board_table.columns(shown, metric),
    hide_index=True,
    height="content" if len(shown) <= PAGE_ROWS else ROW_PIXELS * (PAGE_ROWS + 1),
    placeholder="",
    on_select="rerun",
    selection_mode="multi-row",
    # a selection must not carry over to other lines
    key=f"board_{hash((*board_table.runs_of(kept, range(len(kept))), picked, per))}",
).selection.rows
chosen_runs = [runs[run] for run in board_table.runs_of(kept, chosen_rows)]
if chosen_runs:
    run_actions.bar(chosen_runs)
    run_actions.show_chosen(chosen_runs, metric)
else:
    splits = sorted({run.settings.split for run in runs.values()} - {""}) if sweep else []
    test_rows = sorted({run.settings.test_rows_in_words for run in runs.values()}) if sweep else []
    about = [*splits, *([f"Test rows: {'; '.join(test_rows)}"] if test_rows else []), board_table.MEANING]
    st.caption(
        f"Select {what} with their boxes to compare, try, rename, note, archive or delete them.",
        help="\n\n".join(map(plain, about)),
    )
remarks(board)
with st.container(horizontal=True):
    download(
        "Download the leaderboard (CSV)",
        partial(exports.csv, kept, metric),
        "leaderboard.csv",
        "text/csv",
        help="The rows shown here, with every column. A name that looks like a formula gets a ' in front.",
    )
    if sweep is not None:
        exports.offer(sweep, metric)
exports.show(sweep)


@page_part(LOOK_SECONDS if active else None)
def follow() -> None:
    """Redraws the page when a run has begun, ended or been added."""
    if queries.stamp_of(sweep) != stamp:
        st.rerun()


follow()
