"""The models to choose from, with their size, licence and limits, and whether their weights are included."""

import streamlit as st

from dashboard.formatting import plain
from dashboard.url_state import choose, chosen, keep
from dashboard.views.new_run.form_widgets import parts_of
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import CATALOGUE, get_card
from tabtune_core.settings.serialization import read_target_set

BYTES_A_PARAMETER = 4
FILLED_FOR = "filled_for_model"
"""Key of the session state with the name of the model that the form is filled for."""


def closed(card: ModelCard, task: Task) -> str | None:
    """Returns why a model cannot be chosen for a task, or None."""
    if task not in card.weights:
        return f"No weights for {task}."
    if not card.family.installed:
        return f"Its package is not installed: `{card.family.install}`"
    return None


def model_cards(task: Task) -> ModelCard:
    """Draws the models by family, included ones first, and returns the chosen one."""
    cards = sorted(CATALOGUE.values(), key=lambda card: not card.in_the_box)
    open_to = [card.name for card in cards if closed(card, task) is None]
    current = get_card(chosen("model", open_to, open_to[0]))
    settle_form(current, task)
    st.header(f"Model: {current.title}")
    families = list(dict.fromkeys(card.family.name for card in CATALOGUE.values()))
    tabs = st.tabs(families, default=current.family.name, key=f"families_{current.family.folder}", on_change="rerun")
    family, tab = next((family, tab) for family, tab in zip(families, tabs, strict=True) if tab.open)
    with tab, st.grid(4, min_column_width=220):
        for card in cards:
            if card.family.name == family:
                with st.container(border=True, height="stretch"):
                    _model_card(card, task, current)
    keep("model", current.name)
    return current


def settle_form(card: ModelCard, task: Task) -> None:
    """Removes from the form the target modules that this model lacks, and a weights file of another family."""
    before = st.session_state.get(FILLED_FOR)
    st.session_state[FILLED_FOR] = card.name
    if before in (None, card.name):
        return
    known = parts_of(card, task)
    st.session_state["targets"] = [part for part in st.session_state.get("targets", []) if part in known]
    sets = st.session_state.get("target_sets", [])
    st.session_state["target_sets"] = [text for text in sets if all(part in known for part in read_target_set(text))]
    if get_card(before).family is not card.family:
        st.session_state["checkpoint"] = ""


def _limits(card: ModelCard, task: Task) -> str:
    """Says how large a table the model supports."""
    known = {"classes": card.family.class_limit} if task == "classification" else {}
    known |= {"columns": card.family.feature_limit, "context rows": card.family.context_limit}
    told = [f"{most:,} {what}" for what, most in known.items() if most is not None]
    return f"At most {', '.join(told)}." if told else f"No limit on {', '.join(known)}."


def _model_card(card: ModelCard, task: Task, current: ModelCard) -> None:
    """Draws a model with the facts that a person needs before choosing it."""
    weights = card.weights.get(task) or next(iter(card.weights.values()))
    badge = (
        ":green-badge[:material/check: included]"
        if card.in_the_box
        else ":orange-badge[:material/download: to download]"
    )
    badge = ":orange-badge[:material/folder_open: by its path]" if weights.by_path else badge
    st.markdown(f"**{card.title}** {badge}")
    st.caption(
        f"{weights.total_parameters / 1e6:.1f} M parameters. {_limits(card, task)} Licence {card.licence}. "
        f"{plain(card.note)}"
    )
    if weights.repository is not None:
        size = weights.total_parameters * BYTES_A_PARAMETER / 1e6
        how = "where you accept its licence; name the file under Advanced" if weights.by_path else "once"
        st.caption(f"About {size:.0f} MB from huggingface.co/{weights.repository}, {how}.")
    st.space("stretch")
    why_not = closed(card, task)
    if why_not:
        st.caption(f":material/block: {why_not}")
    st.button(
        "Chosen" if card is current else f"Choose {card.title}",
        key=f"model_{card.name}",
        on_click=choose,
        args=("model", card.name),
        type="primary" if card is current else "secondary",
        icon=":material/check:" if card is current else None,
        width="stretch",
        disabled=why_not is not None,
    )
