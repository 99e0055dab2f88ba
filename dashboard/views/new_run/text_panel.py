"""The settings of a sweep as text: exported as TOML, command line and Python, imported as TOML.

In: the sweep that the form describes. Out: text to copy; or the form filled from a text, with a message about what
could not be used.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components import download
from dashboard.formatting import WAYS, plain
from dashboard.url_state import choose
from dashboard.views.new_run import forms
from dashboard.views.new_run.model_cards import FILLED_FOR, closed
from tabtune_core.data.split_question import written
from tabtune_core.data.target import Way
from tabtune_core.errors import SettingError
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings


def what_was_loaded() -> None:
    """Says what could not be used of the settings that were loaded last, or handed over by another page."""
    if error := st.session_state.get("load_error"):
        st.error(plain(error))
    if note := st.session_state.get("load_note"):
        st.warning(plain(note))


def show(sweep: SweepSettings, name: str, cluster_cards: int | None) -> None:
    """Draws the texts, and a field to load settings; ``cluster_cards`` is as in ``python_code``."""
    text = sweep.to_toml()
    as_toml, as_command, as_python = st.tabs(["Settings (TOML)", "Command line", "Python"])
    with as_toml:
        st.code(text, language="toml", height=300)
        download("Download the settings", text, "sweep.toml", "application/toml")
    with as_command:
        st.caption("The same sweep on the command line, in the folder of the downloaded sweep.toml:")
        st.code(command_line([sweep.run.dataset], name, queries.home()), language="bash", wrap_lines=True)
        if (table := queries.tables()[sweep.run.dataset]).origin or table.reading.sheet:
            st.caption("On another machine, with the table from its source:")
            st.code(command_line(table.words(), name, None), language="bash", wrap_lines=True)
    with as_python:
        st.caption("The same sweep in Python. These pages show its runs too.")
        st.code(python_code(sweep, name, queries.home(), cluster_cards), language="python", height=300)
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


WIDTH = 100
"""Longest line before its arguments are put on separate lines."""
_SCRIPT = '''"""A sweep of LoRA Lab; run it with the Python that LoRA Lab is installed in."""

from pathlib import Path

from tabtune_core import {classes}
from tabtune_core.analysis.launch_checks import what_stops
from tabtune_core.analysis.runs_table import leaderboard
from tabtune_core.store.runs import RunStore
from tabtune_core.cli.terminal import follow

sweep = {sweep}

if __name__ == "__main__":
    store = RunStore(Path({home!r}))
    if stops := what_stops(store.home, sweep.expand(){cards}):  # found before anything is queued
        raise SystemExit("\\n".join(map(str, stops)))
    sweep_id, run_ids = store.add_sweep(sweep.expand(), {name!r})
    runs = follow(store, sweep_id)  # starts a worker, shows progress, returns when the last run has ended
    board = leaderboard(runs, sweep.run.selection_metric)
    print(board[["place", "name", f"validation_{{sweep.run.selection_metric}}", "train_seconds"]])
'''


def command_line(table: Sequence[str], name: str, home: Path | None) -> str:
    """Returns the command that runs the sweep saved as sweep.toml on ``table``: the id of a table, or the words that
    name its source.
    """
    named = [f"--name={name}", *([f"--home={home}"] if home else [])]  # '=', because a name may begin with a dash
    return shlex.join(["python", "-m", "tabtune_core", "sweep", *table, "--settings", "sweep.toml", *named])


def python_code(sweep: SweepSettings, name: str, home: Path, cluster_cards: int | None = None) -> str:
    """Returns a script that builds the same settings and runs them; ``cluster_cards`` is the cluster's number of GPUs,
    None without one.
    """
    written = _call(sweep)
    used = [
        cls.__name__
        for cls in (LoraSettings, RunSettings, SweepSettings, TrainSettings)
        if f"{cls.__name__}(" in written
    ]
    cards = "" if cluster_cards is None else f", cluster_cards={cluster_cards}"
    return _SCRIPT.format(name=name, classes=", ".join(used), sweep=written, home=str(home), cards=cards)


def _call(settings: Any, indent: str = "") -> str:
    """Returns the call that makes a settings object, without arguments at their default."""
    inner = indent + "    "
    given = {
        f.name: _call(value, inner) if dataclasses.is_dataclass(value) else repr(value)
        for f in dataclasses.fields(settings)
        if (value := getattr(settings, f.name))
        != (f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default)
    }
    arguments = [f"{name}={text}" for name, text in given.items()]
    flat = f"{type(settings).__name__}({', '.join(arguments)})"
    if len(indent) + len(flat) <= WIDTH and "\n" not in flat:
        return flat
    return "\n".join((f"{type(settings).__name__}(", *(f"{inner}{argument}," for argument in arguments), f"{indent})"))
