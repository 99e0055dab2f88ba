"""The Leaderboard page: every run or configuration, best validation score first, with actions for selected ones."""

from contextlib import suppress
from functools import partial

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components import download, unreadable
from dashboard.components.answer_card import answer_card
from dashboard.components.glossary import define
from dashboard.components.plotly_chart import compose, show_drawn
from dashboard.components.search_tries import search_words
from dashboard.components.unreadable import page_part
from dashboard.formatting import plain, sweep_titles
from dashboard.url_state import SELECT_PIXELS, chosen, go, nothing_yet, pick, renew, say_gone, seen, settle, stop
from dashboard.views.leaderboard import board_table, run_actions
from dashboard.views.leaderboard.threshold import threshold
from tabtune_core.analysis.comparison import at_one_rate
from tabtune_core.analysis.races import picture_rows
from tabtune_core.analysis.recommendation import Recommendation, with_noise
from tabtune_core.analysis.runs_table import costs_note, of_task
from tabtune_core.analysis.sweep_page import sweep_page, sweep_picture
from tabtune_core.analysis.verdict import NO_BETTER
from tabtune_core.charts import CHARTS
from tabtune_core.data.spreadsheet import safe_csv
from tabtune_core.errors import StoreError, TabTuneError
from tabtune_core.metrics import METRICS, SELECTION, metrics_of
from tabtune_core.wording import few

ALL = "all"
LOOK_SECONDS = 2.0
"""Interval at which an open page checks whether a run has begun or ended."""
PAGE_ROWS, ROW_PIXELS = 40, 35
"""Most lines without a scroll bar, and the height of a line."""
PICTURE_PIXELS = 360
"""Height of the picture beside the answer, so that a screen of 800 pixels shows the first lines too."""
TOGETHER = (
    "A weighted mean of the predictions of these models. Each of 25 draws took the model that helped most on the "
    "validation rows (Caruana et al. 2004). Nothing is trained. Memory is the most of any, other costs are sums."
)
PER = {"run": "Each run", "configuration": "Each configuration"}


def speak(board: pd.DataFrame, advice: Recommendation | None, metric: str, *, going: bool) -> None:
    """Shows the short recommendation, or why it is missing."""
    done = board[board["place"].notna() & (board["apart"] == "")]
    if advice is None:
        st.caption("Rows differ between sweeps: choose one sweep to compare its runs.")
    elif going:
        st.caption("The recommendation appears after the last run.")
    elif advice.sentences:
        with st.container(border=True):
            answer_card(advice)
            if (verdict := advice.verdict) is not None and verdict.choice is not None:
                used = done.loc[done["strategy"] == verdict.choice, "run"]
                threshold(verdict.run if verdict.choice == "peft" else used.iloc[0])
            if verdict is not None and verdict.headline == NO_BETTER:
                far_targets(*board[["dataset", "target"]].iloc[0])
    elif advice.configurations.empty and advice.basis:
        st.markdown(plain(advice.basis))
    elif len(done):
        best = done.iloc[0]
        first = [plain(name) for name in done.loc[done["place"] == best["place"], "name"]]
        score = METRICS[metric].text(best[f"validation_{metric}"])
        lead = "leads" if len(first) == 1 < len(done) else "share the first place" if len(first) > 1 else "is alone"
        st.markdown(
            f"**{few(first, 4)}** {lead}: validation {METRICS[metric].written} **{score}**.",
            help=plain(advice.basis),
        )


def far_targets(table: str, target: str) -> None:
    """Names target values far from all others, which can make a constant the best answer, with the way out."""
    values = []
    with suppress(TabTuneError, ValueError):  # the table was deleted, or the target is no number
        values = queries.far_values(table, target)
    if values:
        st.warning(f"Far from all other values of {plain(target)}: {few(values)}.", icon=":material/warning:")
        if st.button("Leave them out on Data", icon=":material/backspace:"):
            go("views/data/page.py", table=table, target=target)


def csv(board: pd.DataFrame, metric: str) -> str:
    """Returns every column as CSV, with units in the names; ids of several runs become one text."""
    board = of_task(board, METRICS[metric].task)
    return safe_csv(board.assign(runs=board["runs"].str.join(" ")) if "runs" in board else board)


def downloads(board: pd.DataFrame, sweep: str | None, metric: str) -> None:
    """Draws the downloads of the shown rows and of the sweep."""
    with st.container(horizontal=True):
        every = "The rows shown here, with every column. A name that looks like a formula gets a ' in front."
        name = "Download the leaderboard (CSV)"
        download(name, partial(csv, board, metric), "leaderboard.csv", "text/csv", help=every)
        if sweep is not None:
            one = "One page to mail, without rows of the table: findings, curves, leaderboard, how to run it again."
            made = partial(sweep_page, queries.store(), sweep, metric)
            with st.popover("Download the picture", icon=":material/image:", key="share"):
                for kind, mime in (("png", "image/png"), ("svg", "image/svg+xml")):
                    drawn = partial(sweep_picture, queries.store(), sweep, kind, metric)
                    download(kind.upper(), drawn, f"sweep-{sweep}.{kind}", mime)
            download("Download the sweep (HTML)", made, f"sweep-{sweep}.html", "text/html", help=one)


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
    advice = None if sweep is None else queries.recommended(sweep, metric)

active = queries.active(list(runs.values()))
going = sweep is not None and active
drawn = picture_rows(queries.store(), board if advice is not None else board[:0], metric)
lora = drawn[drawn["strategy"] == "peft"]
pictured = bool(lora[f"validation_{metric}"].notna().any())
with verdict:
    left, right = st.columns([1, 1.1]) if pictured else (st.container(), None)
    with left:
        speak(board, advice, metric, going=going)
    if advice is not None and right is not None:
        with right:
            label = f"{METRICS[metric].label} against rank{at_one_rate(lora)}"
            drawn = with_noise(drawn, advice.configurations)
            picture = CHARTS["rank_curve"].draw(drawn, metric=metric).update_layout(height=PICTURE_PIXELS)
            show_drawn(compose(picture, key="picture"), key="picture", label=label)  # the board has its numbers
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
    kept = (shown_runs if advice is None else with_noise(shown_runs, advice.configurations)).reset_index(drop=True)
shown = board_table.table(kept, metric, tables, names)
what = "runs" if per == "run" else "configurations"
chosen_rows = st.dataframe(
    shown,
    column_order=board_table.usual(shown),
    column_config=board_table.columns(shown, metric),
    hide_index=True,
    height="content" if len(shown) <= PAGE_ROWS else ROW_PIXELS * (PAGE_ROWS + 1),
    placeholder="",
    on_select="rerun",
    selection_mode="multi-row",
    # a selection must not carry over to other lines
    key=f"board_{hash((*board_table.runs_of(kept, range(len(kept))), picked, per))}",
).selection.rows
if advice is not None and advice.ensemble is not None and not going:
    mixed = board_table.ensemble_row(advice.ensemble, metric)
    st.dataframe(
        mixed, column_config=board_table.columns(shown, metric), hide_index=True, placeholder="", key="together"
    )
    st.caption(plain(advice.ensemble.sentence(METRICS[metric])), help=TOGETHER)
if sweep is not None:
    search_words(sweep)
if note := costs_note(shown_runs):
    st.caption(plain(note))
chosen_runs = [runs[run] for run in board_table.runs_of(kept, chosen_rows)]
if chosen_runs:
    run_actions.bar(chosen_runs)
else:
    splits = sorted({run.settings.split for run in runs.values()} - {""}) if sweep else []
    test_rows = sorted({run.settings.test_rows_in_words for run in runs.values()}) if sweep else []
    about = [*splits, *([f"Test rows: {'; '.join(test_rows)}"] if test_rows else [])]
    st.caption(
        f"Select {what} to compare, try, note, archive or delete them.", help="\n\n".join(map(plain, about)) or None
    )
downloads(kept, sweep, metric)


@page_part(LOOK_SECONDS if active else None)
def follow() -> None:
    """Redraws the page when a run has begun, ended or been added."""
    if queries.stamp_of(sweep) != stamp:
        st.rerun()


follow()
