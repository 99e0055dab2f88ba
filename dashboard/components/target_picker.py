"""The column to predict, how to predict it, and the split of the rows: on Data and New run, with one answer."""

from collections.abc import Iterable
from typing import cast

import streamlit as st

from dashboard import queries
from dashboard.formatting import WAYS, plain
from dashboard.url_state import choose, chosen, pick, renew
from tabtune_core.data.datasets import Dataset
from tabtune_core.data.findings import Finding
from tabtune_core.data.merged_classes import GROUPED, worth_grouping
from tabtune_core.data.split_question import AT_RANDOM, all_answers, read_answer
from tabtune_core.data.target import Way
from tabtune_core.settings import RunSettings, SplitBy, describe

NOT_CHOSEN, RARE, MOST_LIKELY = "", "group_rare_classes", 3
BALANCED = {"class_weights": "balanced", "selection_metric": "average_precision"}
SCORES_OF_RARE = ("balanced_accuracy", "average_precision")


def pick_target(dataset: Dataset) -> str:
    """Picks the column; if several are likely, the result is NOT_CHOSEN until a person chooses."""
    proposed = queries.proposal(dataset.id)
    names = [column.name for column in dataset.columns]
    likely = proposed.column or (NOT_CHOSEN if proposed.near else names[-1])
    options = [NOT_CHOSEN, *names] if proposed.near else names
    renew("target", when=dataset.id, value=likely)
    if proposed.near and chosen("target", options, likely) == NOT_CHOSEN:
        _ask_target(dataset, proposed.near)
    words = {name: name or "Not chosen yet" for name in options}.__getitem__
    help = f"Proposed: {plain(proposed.reason)}" if likely and likely == proposed.column else None
    return pick("Column to predict", options, name="target", default=likely, format_func=words, help=help)


def _ask_target(dataset: Dataset, near: tuple[str, ...]) -> None:
    """Asks which of the likeliest columns to predict."""
    key, likely = f"predict_{dataset.id[:12]}", near[:MOST_LIKELY]
    asked = "What do you want to predict?"
    if column := st.pills(asked, likely, key=key, format_func=plain, help="Any other column is in the list below."):
        choose("target", column)
        st.rerun()


def pick_way(table: str, column: str) -> Way:
    """Asks how to predict, if there is more than one way; a new table or column starts with its likely way."""
    ways = queries.ways(table, column)
    renew("way", when=f"{table} {column}", value=ways[0])
    if len(ways) == 1:
        st.query_params.pop("way", None)  # of an earlier table or column
        return cast(Way, chosen("way", ways, ways[0]))
    words = {str(way): text for way, text in WAYS.items()}
    picked = pick("Predict", ways, name="way", default=ways[0], format_func=words.__getitem__, widget=st.radio)
    return cast(Way, picked)


def rare_grouped() -> int:
    """Returns the number of rows below which classes are merged, as chosen on Data or on New run; 0 merges none."""
    return int(st.session_state.get(RARE, 0))


def group_rare(table: str, target: str, way: Way) -> None:
    """Shows a button that merges rare classes, if there are some, or one that undoes it."""
    if way != "classes":
        return
    if rare_grouped():
        label, icon, rows = "Keep rare classes separate", ":material/call_split:", 0
    elif worth_grouping(queries.class_counts(table, target, way)["rows"]):
        label, icon, rows = f"Merge classes with fewer than {GROUPED} rows", ":material/call_merge:", GROUPED
    else:
        return
    help = describe(RunSettings, RARE)
    st.button(label, key="group_rare", icon=icon, on_click=st.session_state.update, args=({RARE: rows},), help=help)


def without_mended(findings: Iterable[Finding]) -> list[Finding]:
    """Leaves out the finding about a rare class, if the choices already give it the weight of the others."""
    now = st.session_state
    mended = now.get("class_weights") == BALANCED["class_weights"] and now.get("selection_metric") in SCORES_OF_RARE
    return [one for one in findings if one.code != "imbalance" or not mended]


def balance(findings: list[Finding]) -> None:
    """Shows a button that gives a rare class the weight of the others, if it is among the findings."""
    if any(one.code == "imbalance" for one in findings):
        label, icon = "Use balanced weights and average precision", ":material/balance:"
        st.button(label, key="balance", icon=icon, on_click=st.session_state.update, args=(BALANCED,))


def ask_split(dataset: Dataset, target: str) -> str:
    """Asks how to split if the table has dates or repeated ids; New run uses the answer too."""
    question = queries.split_asked(dataset.id, target)
    last, held = _held_split(dataset, target)
    if question is None and held == AT_RANDOM:
        st.query_params.pop("split", None)  # of an earlier table
        return AT_RANDOM
    answers = list(dict.fromkeys([*(question.options if question else (AT_RANDOM,)), held]))
    answer = pick("How to split the rows", answers, name="split", default=last, format_func=plain, widget=st.radio)
    if question:
        st.caption(plain(question.message))
    return answer


def pick_split(dataset: Dataset, target: str) -> tuple[SplitBy, str | None]:
    """Picks how to split, and by which column; the answers that the table suggests come first, with the reason."""
    question = queries.split_asked(dataset.id, target)
    last, _ = _held_split(dataset, target)
    answers = list(dict.fromkeys([*(question.options if question else ()), *all_answers(dataset.columns, target)]))
    answer = pick("Split", answers, name="split", default=last, help=describe(RunSettings, "split_by"))
    if question and answer == AT_RANDOM:
        st.caption(plain(question.message))
    return read_answer(answer)


def _held_split(dataset: Dataset, target: str) -> tuple[str, str]:
    """Returns the split of the table's last run, with which a new table starts, and the one that is chosen now."""
    every = all_answers(dataset.columns, target)
    last = queries.last_split(dataset.id, target)
    last = last if last in every else AT_RANDOM
    renew("split", when=dataset.id, value=last)
    return last, chosen("split", every, last)
