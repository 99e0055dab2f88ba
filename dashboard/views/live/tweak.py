"""A run once more with one setting changed: which settings, what the change makes, and the popover that asks for it."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard.formatting import plain
from dashboard.views.live.actions import duplicate
from tabtune_core.errors import SettingError
from tabtune_core.settings import REFERENCES, TRAINED, LoraSettings, RunSettings, Strategy, TrainSettings, describe
from tabtune_core.store.run_row import Run


@dataclass(frozen=True, slots=True)
class Field:
    """One setting that can be changed here."""

    label: str
    section: str
    """``lora``, ``train`` or empty."""
    strategies: tuple[Strategy, ...]
    """Those that it matters to."""


FIELDS = {
    "rank": Field("Rank", "lora", ("peft",)),
    "alpha": Field("Alpha", "lora", ("peft",)),
    "dropout": Field("Dropout", "lora", ("peft",)),
    "learning_rate": Field("Learning rate", "train", TRAINED),
    "context_rows": Field("Context rows", "train", TRAINED),
    "predict_context_rows": Field("Context rows at prediction", "train", ("inference", *TRAINED)),
    "steps": Field("Steps", "train", TRAINED),
    "seed": Field("Seed", "", ("inference", *TRAINED, *REFERENCES)),
}
_KINDS = {"lora": LoraSettings, "train": TrainSettings, "": RunSettings}


def fields_of(settings: RunSettings) -> list[str]:
    """Names of the settings that matter to a run."""
    return [name for name, field in FIELDS.items() if settings.strategy in field.strategies]


def value_of(settings: RunSettings, name: str) -> str:
    """A setting as it is used, as text."""
    if name == "alpha":
        return f"{settings.lora.effective_alpha:g}"
    if name == "learning_rate":
        return f"{settings.base_rate:g}"
    section = FIELDS[name].section
    value = getattr(getattr(settings, section) if section else settings, name)
    return "" if value is None else f"{value}"


def tweaked(settings: RunSettings, name: str, text: str) -> RunSettings:
    """The settings with one of them changed.

    Raises:
        SettingError: for a text that is no number, and for a value that the settings refuse.
    """
    change: dict[str, Any] = {name: _number(text, FIELDS[name].label)}
    if section := FIELDS[name].section:
        change = {section: dataclasses.replace(getattr(settings, section), **change)}
    return dataclasses.replace(settings, **change)


def _number(text: str, label: str) -> float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError as error:
            raise SettingError(f"{label} is {text!r}; write a number.") from error


def name_of(run: Run, settings: RunSettings, name: str) -> str:
    """What the changed run is called: by its rank and seed where the old one was, else with the change behind its name."""
    seeded = f" seed {run.settings.seed}"
    usual = run.settings.label + (seeded if run.name.endswith(seeded) else "")
    if name == "seed":
        return f"{settings.label} seed {settings.seed}"
    if name == "rank" and run.name == usual:
        return settings.label + usual.removeprefix(run.settings.label)
    return f"{run.name}, {FIELDS[name].label.lower()} {value_of(settings, name)}"


def tweak(run: Run, *, key: str) -> None:
    """The popover: which setting, its new value, and a button that queues the changed run behind all others."""
    popover = st.popover(
        "Change and queue", icon=":material/tune:", key=f"tweak_{key}", on_change="rerun", help="The same run with one setting changed."
    )
    if not popover.open:
        return
    with popover:
        known = fields_of(run.settings)
        name = st.selectbox("Setting", known, format_func=lambda field: FIELDS[field].label, key=f"tweak_field_{key}")
        now = value_of(run.settings, name)
        text = st.text_input(
            f"New value (now {now or 'not set'})",
            key=f"tweak_value_{name}_{key}",
            placeholder=now,
            help=describe(_KINDS[FIELDS[name].section], name),
        )
        settings = None
        if text.strip():
            try:
                settings = tweaked(run.settings, name, text.strip())
            except SettingError as error:
                st.error(plain(str(error)))
        st.button(
            "Add to queue",
            on_click=duplicate,
            args=(run.id, settings, name_of(run, settings, name) if settings else ""),
            disabled=settings is None or settings == run.settings,
            key=f"tweak_queue_{key}",
            type="primary",
        )
