"""The filters of the leaderboard, kept in the address bar. A filter hides lines and does not change any place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from dashboard.components.ownership import MINE, only_mine
from dashboard.formatting import STATUS
from tabtune_core.settings import STRATEGY_NAMES
from tabtune_core.wording import counted


@dataclass(frozen=True, slots=True)
class Filter:
    """One choice among the values of a column."""

    label: str
    values: Callable[[pd.DataFrame], "pd.Series[str]"]
    """Returns each run's value; empty if a run has none."""
    several: bool = False
    """True if a run may have several values, separated by spaces; a run passes if one of them was chosen."""

    def options(self, board: pd.DataFrame) -> list[str]:
        """Returns the values of the runs; ranks in numerical order, others in the order of the board."""
        values = self.values(board).dropna()
        texts = [str(value) for value in (values.str.split().explode().dropna() if self.several else values).unique()]
        texts = [text for text in texts if text not in ("", "r=")]
        return (
            sorted(texts, key=lambda text: int(text[2:]))
            if all(text[:2] == "r=" and text[2:].isdigit() for text in texts)
            else texts
        )

    def fits(self, board: pd.DataFrame, chosen: list[str]) -> "pd.Series[bool]":
        """Returns for each run whether it has one of the chosen values."""
        values = self.values(board)
        return values.map(lambda own: not set(chosen).isdisjoint(own.split())) if self.several else values.isin(chosen)


FILTERS: dict[str, Filter] = {
    "only_model": Filter("Model", lambda board: board["model"]),
    "only_way": Filter("Strategy", lambda board: board["strategy"].map(STRATEGY_NAMES)),
    "only_rank": Filter("Rank", lambda board: "r=" + board["rank"].astype("string").fillna("")),
    "only_status": Filter("Status", lambda board: board["status"].map(STATUS)),
    "only_tag": Filter("Tags", lambda board: board["tags"], several=True),
    "only_table": Filter("Table and target", lambda board: board["table"] + " · " + board["target"]),
}
"""Filters by their name in the address bar, which is also the key of the widget."""
TEXT, ARCHIVED = "only_text", "archived"


def kept(board: pd.DataFrame, chosen: Mapping[str, list[str]], text: str, *, archived: bool) -> "pd.Series[bool]":
    """Returns for each run whether it passes every choice and has the text in its name, tags or notes; an empty choice
    passes all.
    """
    fits = pd.Series(True, index=board.index) if archived else ~board["archived"]
    for name, values in chosen.items():
        if values:
            fits &= FILTERS[name].fits(board, values)
    if text.strip():
        words = board["name"] + "\n" + board["own_note"] + "\n" + board["tags"] + "\n" + board["note"]
        fits &= words.str.contains(text.strip(), case=False, regex=False)
    return fits


def ask(board: pd.DataFrame) -> "pd.Series[bool]":
    """Draws the filters that can hide a run, and returns which runs pass.

    ``board`` also has the table's name ``table`` and ``owner``.
    """
    options = {name: each.options(board) for name, each in FILTERS.items()}
    useful = {name: values for name, values in options.items() if len(values) > (not FILTERS[name].several)}
    away = int(board["archived"].sum())
    for name, values in useful.items():
        if name in st.session_state:  # another sweep has other values
            st.session_state[name] = [value for value in st.session_state[name] if value in values]
    on = sum(bool(st.session_state.get(name)) for name in (*useful, TEXT, MINE))
    with st.popover("Filters", icon=":material/filter_alt:", key="filters"):  # another label would close it
        chosen = {
            name: st.multiselect(FILTERS[name].label, values, key=name, bind="query-params", placeholder="All")
            for name, values in useful.items()
        }
        text = st.text_input("Text in the name, a tag or a note", key=TEXT, bind="query-params")
        archived = bool(away) and st.toggle(f"Show archived runs ({away})", key=ARCHIVED, bind="query-params")
        listed = only_mine(dict(zip(board["run"], board["owner"], strict=True)), "runs")
    if on:
        st.badge(f"{counted(on, 'filter')} on")
    return kept(board, chosen, text, archived=archived) & board["run"].isin(listed)
