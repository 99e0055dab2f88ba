"""The choice of a model, with its size, licence and limits, and whether its weights are included."""

import streamlit as st

from dashboard.formatting import plain
from dashboard.url_state import pick
from dashboard.views.new_run.form_widgets import parts_of
from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard, Weights
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


def pick_model(task: Task) -> ModelCard:
    """Draws the choice, models of the package first, with the reason for each that cannot be chosen."""
    cards = {card.name: card for card in sorted(CATALOGUE.values(), key=lambda card: not card.in_the_box)}
    why_not = {name: why for name, card in cards.items() if (why := closed(card, task))}
    open_to = [name for name in cards if name not in why_not]
    shut = "\n\n".join(f"Not to choose: **{cards[name].title}**. {why}" for name, why in why_not.items())
    words = {name: f"{cards[name].title} · {_where(cards[name], task)}" for name in open_to}.__getitem__
    name = pick("Model", open_to, name="model", default=open_to[0], format_func=words, help=shut or None)
    card = cards[name]
    _settle_form(card, task)
    weights = card.weights_for(task)
    about = f"{weights.total_parameters / 1e6:.1f} M parameters. {plain(card.note)}{_source(weights)}"
    st.caption(f"Licence {card.licence}.", help=about)
    return card


def _where(card: ModelCard, task: Task) -> str:
    """Says in a few words where the weights are."""
    weights = card.weights_for(task)
    download = f"{weights.total_parameters * BYTES_A_PARAMETER / 1e6:.0f} MB download"
    return "included" if card.in_the_box else "by its path" if weights.by_path else download


def _source(weights: Weights) -> str:
    """Says where the weights come from, unless they are included."""
    how = "where you accept its licence; name the file under More settings" if weights.by_path else "once"
    return f" Weights from huggingface.co/{weights.repository}, {how}." if weights.repository else ""


def _settle_form(card: ModelCard, task: Task) -> None:
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
