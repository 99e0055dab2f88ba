"""The settings of a sweep as TOML: to keep, and to fill the form from."""

import streamlit as st

from dashboard import queries
from dashboard.components import download
from dashboard.formatting import WAYS, plain
from dashboard.url_state import choose
from dashboard.views.new_run import forms
from dashboard.views.new_run.model_picker import FILLED_FOR, closed
from tabtune_core.data.split_question import written
from tabtune_core.data.target import Way
from tabtune_core.errors import SettingError
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import SweepSettings


def what_was_loaded() -> None:
    """Says what could not be used of the settings that were loaded last, or handed over by another page."""
    if error := st.session_state.get("load_error"):
        st.error(plain(error))
    if note := st.session_state.get("load_note"):
        st.warning(plain(note))


def show(sweep: SweepSettings) -> None:
    """Draws the text, and a field to load another one."""
    text = sweep.to_toml()
    st.code(text, language="toml", height=300)
    download("Download the settings", text, "sweep.toml", "application/toml")
    file = st.file_uploader("Load settings", type=["toml"], key="toml_file", max_upload_size=1)
    given = file.getvalue().decode("utf-8", "replace") if file else ""
    st.button("Fill the form", on_click=load, args=(given,), disabled=not given.strip())


def load(text: str) -> None:
    """Fills the form from a text; choose its table and target too, if this workspace has them."""
    st.session_state["load_error"] = st.session_state["load_note"] = None
    try:
        sweep = SweepSettings.from_toml(text)
        card = get_card(sweep.run.model)
        if why_not := closed(card, sweep.run.task):
            raise SettingError(f"The settings are for the model {sweep.run.model!r}. {why_not}")
        forms.fill(sweep)
    except SettingError as error:
        st.session_state["load_error"] = str(error)
        return
    choose("model", sweep.run.model)
    st.session_state[FILLED_FOR] = card.name
    if absent := _what_is_absent(sweep):
        st.session_state["load_note"] = f"{absent} All other settings are in the form."
        return
    choose("table", sweep.run.dataset)
    choose("target", sweep.run.target)
    choose("way", _way_of(sweep))
    choose("split", written(sweep.run.split_by, sweep.run.split_column))


def _way_of(sweep: SweepSettings) -> Way:
    """Returns how the settings predict their target."""
    return "numbers" if sweep.run.task == "regression" else "halves" if sweep.run.split_at_median else "classes"


def _what_is_absent(sweep: SweepSettings) -> str | None:
    """Returns why the table or the target of the settings cannot be chosen here, or None."""
    table, target = queries.tables().get(sweep.run.dataset), sweep.run.target
    if table is None:
        return f"The settings are for another table with the column {target!r}, which is not in this workspace."
    known = [column.name for column in table.columns]
    if absent := [name for name in (target, sweep.run.split_column) if name not in (None, *known)]:
        return f"The table {table.name!r} does not have the column {absent[0]!r} of the settings."
    if _way_of(sweep) not in queries.ways(table.id, target):
        return f"The values of {target!r} cannot be predicted as the settings say ({WAYS[_way_of(sweep)].lower()})."
    return None
