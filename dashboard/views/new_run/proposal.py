"""The guide's values for a table of this size: one button that fills them in."""

from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard.views.new_run.forms import DEFAULTS, to_widgets
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.settings.advice import PRESETS, WHY, proposed

SET = ("one_rate", "ranks", "tied", "alphas", "dropouts", "learning_rates")
"""Widgets that the proposal sets."""


def offer(card: ModelCard, task: Task, rows: int) -> None:
    """Draws the button, unless the form has these values already; a rate that was measured for the model stays."""
    values = _values(card, task, rows)
    if all(st.session_state.get(name, DEFAULTS[name]) == value for name, value in values.items()):
        return
    rank, dropout = values["ranks"][0], values["dropouts"][0]
    st.button(
        f"Use the guide's values for {rows:,} rows: rank {rank}, dropout {dropout}",
        key="use_proposal",
        on_click=st.session_state.update,
        args=(values,),
        icon=":material/auto_fix_high:",
        type="tertiary",
        help=f"For {WHY[proposed(rows)]}",
    )


def _values(card: ModelCard, task: Task, rows: int) -> dict[str, Any]:
    row = PRESETS[proposed(rows)]
    tied = row.lora.effective_alpha == 2 * row.lora.rank  # a tied alpha follows other ranks too
    run = RunSettings(
        dataset="-",
        target="-",
        lora=replace(row.lora, alpha=None if tied else row.lora.effective_alpha),
        train=TrainSettings(learning_rate=None if "peft" in card.rates.get(task, {}) else row.learning_rate),
    )
    values = to_widgets(SweepSettings(run=run, ranks=(row.lora.rank,)))
    return {name: values[name] for name in SET}
