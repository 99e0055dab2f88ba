"""The tree of a model's parts on the page: check boxes with three states, for the mouse, the keyboard and a screen reader.

In: the nodes of target_tree. Out: the path at which a person ticked. Streamlit has no tree; this one is made of the browser's own
``details`` and check boxes, and keeps open what is open while the page is drawn again.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard.components import browser_part

_component = browser_part("tree_view", "<div class='lab-tree'></div>")


def show(nodes: list[dict[str, Any]], *, rank: int, key: str, on_tick: Callable[[str], None]) -> None:
    """Draws the tree; ``on_tick`` is called with the path of a box before the page is drawn anew."""

    def ticked() -> None:
        path = st.session_state[key].ticked
        if path:
            on_tick(path)

    _component(data={"nodes": nodes, "rank": rank}, key=key, on_ticked_change=ticked)
