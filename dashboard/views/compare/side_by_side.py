"""The fourth tab of Compare: two to six runs side by side, one view at a time."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.url_state import MOST_BESIDE, asked_for, first_few, keep
from dashboard.views.compare.compared import Compared
from dashboard.views.compare.predictions_view import calibration, changed_rows, confusions, number_errors
from tabtune_core.analysis.runs_table import SCIKIT_LEARN
from tabtune_core.settings import REFERENCES, SETTINGS, STRATEGY_NAMES
from tabtune_core.store.run_row import Run

SECTIONS = {"lora": "LoRA", "train": "Training"}
NOT_SET = "not set"
View = Callable[[Compared, list[Run]], None]


def flat(run: Run) -> dict[str, str]:
    """Returns dotted name -> value in use of the settings that apply to a run."""
    own, settings = run.settings, dict[str, str]()
    for row in SETTINGS.values():
        if own.strategy in row.strategies and not own.is_replaced(row.name):
            value = own.used(row.name)
            settings[row.path] = NOT_SET if value is None else str(list(value) if isinstance(value, tuple) else value)
    as_used = {"train.learning_rate": f"{own.learning_rate:g}", "lora.alpha": f"{own.lora.effective_alpha:g}"}
    as_used["train.selection_metric"] = own.selection_metric
    settings |= {name: value for name, value in as_used.items() if name in settings}
    settings |= {"test_rows": own.test_rows_in_words, "strategy": STRATEGY_NAMES[own.strategy]}
    return settings | ({"model": SCIKIT_LEARN} if own.strategy in REFERENCES else {})


def settings_table(runs: list[Run], named: dict[str, str], *, differences_only: bool) -> pd.DataFrame:
    """Returns one row per setting, one column per run."""
    side_by_side = pd.DataFrame({named[run.id]: flat(run) for run in runs})
    if differences_only:  # a setting that a run does not use is not a difference
        side_by_side = side_by_side[side_by_side.nunique(axis=1) > 1]
    return side_by_side.fillna("N/A").rename(setting_words).rename_axis("Setting").reset_index()


def setting_words(name: str) -> str:
    """Returns the displayed name of a setting.

    >>> setting_words("train.learning_rate"), setting_words("lora.use_dora")
    ('Training: learning rate', 'LoRA: use dora')
    """
    section, dot, setting = name.rpartition(".")
    words = setting.replace("_", " ")
    return f"{SECTIONS[section]}: {words}" if dot else words.capitalize()


def side_by_side(compared: Compared) -> None:
    """Draws the tab."""
    ids, key = [run.id for run in compared.done], f"compared_{compared.sweep}"
    wanted = first_few(asked_for("runs", key).split(","), ids)
    if wanted:
        st.session_state[key] = wanted
    label, words = f"Runs (two to {MOST_BESIDE})", compared.legend.labels.__getitem__
    more: dict[str, Any] = {"max_selections": MOST_BESIDE, "format_func": words, "persist_state": "session"}
    chosen = st.multiselect(label, ids, default=wanted or usual(compared), key=key, **more)
    keep("runs", ",".join(chosen))
    runs = [run for run in compared.done if run.id in chosen]
    if not runs:
        st.info("Choose runs to see them side by side.", icon=":material/compare_arrows:")
        return
    of_classes: dict[str, View] = {"Confusion": confusions, "Calibration": calibration}
    of_task = {"Errors": number_errors} if compared.task == "regression" else of_classes
    views = {"Settings": _settings, **of_task, "Changed rows": changed_rows}
    for tab, draw in zip(st.tabs(list(views), key="side_by_side", on_change="rerun"), views.values(), strict=True):
        if tab.open:
            with tab:
                draw(compared, runs)


def usual(compared: Compared) -> list[str]:
    """Returns the default: baselines, the better reference and the two best LoRA runs of the first seed."""
    board = compared.board[compared.board["place"].notna() & (compared.board["seed"] == compared.done[0].settings.seed)]
    lora, reference = board["strategy"] == "peft", board["strategy"].isin(REFERENCES)
    first = ((~lora & ~reference, 2), (lora, 2), (reference, 1))
    chosen = {run for which, most in first for run in board.loc[which, "id"].head(most)}
    return [run.id for run in compared.done if run.id in chosen]


def _settings(compared: Compared, runs: list[Run]) -> None:
    only = st.toggle("Differences only", True, key="differences_only", persist_state="session")
    st.dataframe(settings_table(runs, compared.legend.labels, differences_only=only), hide_index=True)
