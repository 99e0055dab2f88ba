"""The settings of a sweep as text: exported as TOML and command line, imported as TOML."""

import shlex
from collections.abc import Sequence
from pathlib import Path

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


def show(sweep: SweepSettings, name: str) -> None:
    """Draws the texts, and a field to load settings."""
    text = sweep.to_toml()
    as_toml, as_command = st.tabs(["Settings (TOML)", "Command line"])
    with as_toml:
        st.code(text, language="toml", height=300)
        download("Download the settings", text, "sweep.toml", "application/toml")
    with as_command:
        st.caption("The same sweep on the command line, in the folder of the downloaded sweep.toml:")
        st.code(command_line([sweep.run.dataset], name, queries.home()), language="bash", wrap_lines=True)
        if (table := queries.tables()[sweep.run.dataset]).origin or table.reading.sheet:
            st.caption("On another machine, with the table from its source:")
            st.code(command_line(table.words(), name, None), language="bash", wrap_lines=True)
    pasted = st.text_area("Load settings", placeholder="Paste TOML here", key="pasted_toml")
    file = st.file_uploader("Or a file", type=["toml"], key="toml_file", max_upload_size=1)
    given = file.getvalue().decode("utf-8", "replace") if file else pasted
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
        st.session_state["load_note"] = (
            f"{absent} The table, the target and the task are unchanged; all other settings are in the form."
        )
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
    found = queries.tables().get(sweep.run.dataset)
    if found is None:
        table, column = sweep.run.dataset[:12], sweep.run.target
        return (
            f"The settings are for the table {table!r} and its column {column!r}; that table is not in this workspace."
        )
    if sweep.run.target not in [column.name for column in found.columns]:
        return f"The settings are for the column {sweep.run.target!r}, which the table {found.name!r} does not have."
    if sweep.run.split_column not in (None, *(column.name for column in found.columns)):
        return (
            f"The settings split by the column {sweep.run.split_column!r}, which the table {found.name!r} does "
            "not have."
        )
    if _way_of(sweep) not in queries.ways(found.id, sweep.run.target):
        return (
            f"The settings predict {sweep.run.target!r} in a way ({WAYS[_way_of(sweep)].lower()}) that its values "
            "do not allow."
        )
    return None


def command_line(table: Sequence[str], name: str, home: Path | None) -> str:
    """Returns the command that runs sweep.toml on ``table``: its id, or the words that name its source."""
    named = [f"--name={name}", *([f"--home={home}"] if home else [])]  # '=', because a name may begin with a dash
    return shlex.join(["python", "-m", "tabtune_core", "sweep", *table, "--settings", "sweep.toml", *named])
