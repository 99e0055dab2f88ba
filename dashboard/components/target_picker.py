"""How the target is predicted: a question of the Data page and of New run, with one answer."""

from typing import cast

import streamlit as st

from dashboard import queries
from dashboard.formatting import WAYS
from dashboard.url_state import chosen, pick, renew
from tabtune_core.data.target import Way


def pick_way(table: str, column: str) -> Way:
    """Asks where there is more than one way; another table or column starts with its likely one."""
    ways = queries.ways(table, column)
    renew("way", when=f"{table} {column}", value=ways[0])
    if len(ways) == 1:
        return cast(Way, chosen("way", ways, ways[0]))
    return cast(Way, pick("Predict", ways, name="way", default=ways[0], format_func=lambda way: WAYS[cast(Way, way)], widget=st.radio))
