"""Starting values: the proposal for this table with its reason, and the rows of the guide's quick reference."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard.formatting import plain
from dashboard.views.new_run.forms import DEFAULTS, to_widgets
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.settings.advice import PRESETS, WHY, proposed
from tabtune_core.settings.labels import short_rate

SET = ("one_rate", "ranks", "tied", "alphas", "dropouts", "learning_rates")
"""Widgets that a row of the quick reference sets."""
NAMES = {"ranks": "Rank", "alphas": "Alpha", "dropouts": "Dropout", "learning_rates": "Learning rate"}


def starting_points(card: ModelCard, task: Task, rows: int) -> None:
    """Compares the form with the defaults and the proposal for ``rows`` rows; call it after the widgets are drawn."""
    preset, rate, measured = (
        proposed(rows),
        short_rate(card.usual_rate(task, "peft")),
        "peft" in card.rates.get(task, {}),
    )
    proposal = {**_values(preset), **({"learning_rates": DEFAULTS["learning_rates"]} if measured else {})}
    held = {name: st.session_state.get(name, DEFAULTS[name]) for name in SET}
    described = {"In the form": held, "Default": DEFAULTS, "Proposed for this table": proposal}
    filled = {name: _words(values, rate) for name, values in described.items()}
    with st.container(border=True):
        lines = [
            f"| {name} | " + " | ".join(plain(values[key]) for values in filled.values()) + " |"
            for key, name in NAMES.items()
        ]
        st.markdown(
            "\n".join([f"| | {' | '.join(filled)} |", "|---" * (len(filled) + 1) + "|", *lines])
        )  # fits a phone
        kept = f", except the learning rate: on real tables this model gained more at {rate}" if measured else ""
        st.caption(
            f"{rows:,} rows: {WHY[preset]} From the guide's quick reference{kept}. Tune the learning rate before the "
            "rank."
        )
        with st.container(horizontal=True):
            st.button(
                "Use the proposal",
                key="use_proposal",
                on_click=st.session_state.update,
                args=(proposal,),
                icon=":material/check:",
                disabled=filled["Proposed for this table"] == filled["In the form"],
            )
            st.button(
                "Use the defaults",
                key="use_defaults",
                on_click=st.session_state.update,
                args=({name: DEFAULTS[name] for name in SET},),
                icon=":material/undo:",
                disabled=filled["Default"] == filled["In the form"],
            )
    st.pills(
        "Or start from another row of the quick reference",
        list(PRESETS),
        key="preset",
        on_change=_fill_in_chosen,
        format_func=lambda name: PRESETS[name].title.split(" (")[0],
        help="Sets rank, alpha, dropout and learning rate. "
        + " ".join(f"{row.title}: {row.said}." for row in PRESETS.values()),
    )


def _words(values: Mapping[str, Any], rate: str) -> dict[str, str]:
    """Returns setting -> text; equal texts mean equal settings. ``rate`` is the model's default."""
    return {
        "ranks": ", ".join(map(str, sorted(values["ranks"]))) or "none",
        "alphas": "2 x rank" if values["tied"] else ", ".join(values["alphas"]),
        "dropouts": ", ".join(values["dropouts"]),
        "learning_rates": ", ".join(values["learning_rates"]) or (rate if values["one_rate"] else "each rank's own"),
    }


def _fill_in_chosen() -> None:
    """Fills in the chosen row and clear the choice, because the widgets may be changed afterwards."""
    name, st.session_state["preset"] = st.session_state["preset"], None
    if name is not None:
        st.session_state.update(_values(name))


def _values(name: str) -> dict[str, Any]:
    row = PRESETS[name]
    alpha = (
        None if row.lora.effective_alpha == 2 * row.lora.rank else row.lora.effective_alpha
    )  # a tied alpha follows other ranks too
    run = RunSettings(
        dataset="-",
        target="-",
        lora=replace(row.lora, alpha=alpha),
        train=TrainSettings(learning_rate=row.learning_rate),
    )
    values = to_widgets(SweepSettings(run=run, ranks=(row.lora.rank,)))
    return {name: values[name] for name in SET}
