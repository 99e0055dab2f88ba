"""The guide's values for a table of this size: one button that fills them in."""

import streamlit as st

from dashboard.views.new_run.forms import DEFAULTS, written
from tabtune_core.settings.advice import PRESETS, WHY, proposed


def offer(rows: int) -> None:
    """Draws the button, unless the form has the values; the chosen ranks stay, and rates are measured by the sweep."""
    lora = PRESETS[proposed(rows)]
    values = {"tied": True, "dropouts": [written(lora.dropout)]}  # the guide's alphas are twice its ranks
    ranks = [*(st.session_state.get("ranks") or DEFAULTS["ranks"])]
    held = all(st.session_state.get(name, DEFAULTS[name]) == value for name, value in values.items())
    if held and lora.rank in ranks:
        return
    rank = "" if lora.rank in ranks else f", and rank {lora.rank} too"
    label, help = f"Use the guide's values for {rows:,} rows: dropout {lora.dropout:g}{rank}", WHY[proposed(rows)]
    args, fill, icon = (
        (values | {"ranks": sorted({*ranks, lora.rank})},),
        st.session_state.update,
        ":material/auto_fix_high:",
    )
    st.button(label, "use_proposal", f"For {help}", on_click=fill, args=args, icon=icon, type="tertiary")
