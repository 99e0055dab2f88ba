"""What would settle a gain that the test rows leave open: the chosen configuration and zero-shot once more, under other seeds."""

import dataclasses
from collections.abc import Sequence

import streamlit as st

from dashboard import queries
from dashboard.components.attempt import queue
from dashboard.formatting import plain
from dashboard.server.people import may_change
from tabtune_core.analysis.claims import Claim
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.wording import counted


def repeats(chosen: Run, runs: Sequence[Run], number: int) -> list[RunSettings]:
    """The settings of ``chosen`` and of zero-shot under so many seeds that no run of the sweep has yet, zero-shot first."""
    first = max(run.settings.seed for run in runs) + 1
    context_rows = chosen.settings.train.predict_context_rows
    alike = (run.settings for run in runs if run.settings.train.predict_context_rows == context_rows)
    zero_shot = next((settings for settings in alike if settings.strategy == "inference"), None)
    if zero_shot is None:
        zero_shot = chosen.settings.with_strategy("inference")
    return [dataclasses.replace(run_settings, seed=first + more) for more in range(number) for run_settings in (zero_shot, chosen.settings)]


def offer(claim: Claim, runs: Sequence[Run]) -> None:
    """Draws the button where more seeds would help; the runs go into the same sweep, behind all others."""
    if claim.more_seeds is None:
        return
    chosen = next(run for run in runs if run.id == claim.runs[0])
    st.button(
        f"Queue {counted(claim.more_seeds, 'more seed')}",
        icon=":material/playlist_add:",
        on_click=_queue,
        args=(chosen, repeats(chosen, runs, claim.more_seeds)),
        disabled=not may_change(queries.store().owner_of(chosen.id)),
        help=f"{plain(chosen.settings.label)} and zero-shot, with the settings that they have here, under new seeds.",
    )


def _queue(chosen: Run, settings: Sequence[RunSettings]) -> None:
    names = [f"{run_settings.label} seed {run_settings.seed}" for run_settings in settings]
    queued = [queue(queries.store().duplicate, chosen.id, one, name) for one, name in zip(settings, names, strict=True)]
    if all(queued):
        st.toast(f"Queued: {len(settings)} runs", icon=":material/playlist_add:")
