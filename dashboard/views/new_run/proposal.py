"""The guide's values for a table of this size: one button that fills them in."""

import streamlit as st

from dashboard.views.new_run.forms import DEFAULTS, written
from tabtune_core.settings.advice import PRESETS, WHY, proposed


def offer(rows: int) -> None:
    """Draws the button, unless the form has the values; the chosen ranks stay, and rates are measured by the sweep."""
    lora = PRESETS[proposed(rows)]
    values = {"tied": True, "dropouts": [written(lora.dropout)]}  # the guide's alphas are twice its ranks
    ranks = [*(st.session_state.get("ranks") or DEFAULTS["ranks"])]
    if (
        all(st.session_state.get(name, DEFAULTS[name]) == value for name, value in values.items())
        and lora.rank in ranks
    ):
        return
    rank = "" if lora.rank in ranks else f", and rank {lora.rank} too"
    st.button(
        f"Use the guide's values for {rows:,} rows: dropout {lora.dropout:g}{rank}",
        key="use_proposal",
        on_click=st.session_state.update,
        args=(values | {"ranks": sorted({*ranks, lora.rank})},),
        icon=":material/auto_fix_high:",
        type="tertiary",
        help=f"For {WHY[proposed(rows)]}",
    )
