"""Where to start: the proposal for this table with its reason, and the rows of the guide's quick reference.

In: the rows of the table. Out: rank, alpha, dropout and learning rate in the form, once a person asks for them.
"""

from dataclasses import replace

import streamlit as st

from dashboard.views.new_run.forms import to_widgets
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.settings.presets import PRESETS, propose

SET = ("ranks", "tied", "alphas", "dropouts", "learning_rates")
"""Widgets that a row of the quick reference sets."""


def starting_points(rows: int) -> None:
    """The proposal with a button, and the other rows."""
    proposal = propose(rows)
    proposed = PRESETS[proposal.preset]
    with st.container(border=True):
        st.markdown(f"**Proposed for this table:** {proposed.said}.")
        st.caption(f"{proposal.reason} From the guide's quick reference; tune the learning rate before the rank.")
        st.button("Use the proposal", key="use_proposal", on_click=fill_in, args=(proposal.preset,), icon=":material/check:")
    st.pills(
        "Or start from another row of the quick reference",
        list(PRESETS),
        key="preset",
        on_change=_fill_in_chosen,
        format_func=lambda name: PRESETS[name].title.split(" (")[0],
        help="Sets rank, alpha, dropout and learning rate. " + " ".join(f"{row.title}: {row.said}." for row in PRESETS.values()),
    )


def _fill_in_chosen() -> None:
    """It does not stay chosen, as any of the widgets may be changed afterwards."""
    name, st.session_state["preset"] = st.session_state["preset"], None
    if name is not None:
        fill_in(name)


def fill_in(name: str) -> None:
    """Puts a row of the quick reference into the widgets."""
    row = PRESETS[name]
    alpha = None if row.lora.effective_alpha == 2 * row.lora.rank else row.lora.effective_alpha  # a tied one follows other ranks too
    run = RunSettings(dataset="-", target="-", lora=replace(row.lora, alpha=alpha), train=TrainSettings(learning_rate=row.learning_rate))
    values = to_widgets(SweepSettings(run=run, ranks=(row.lora.rank,)))
    st.session_state.update({name: values[name] for name in SET})
