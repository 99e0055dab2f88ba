"""The size of a sweep, what to know before it starts, and the button that starts it."""

import dataclasses
from collections.abc import Sequence
from contextlib import suppress

import streamlit as st

from dashboard import queries
from dashboard.components.target_picker import balance, group_rare, without_mended
from dashboard.components.unreadable import errors_shown, once
from dashboard.formatting import duration, plain, with_labels, without_flags
from dashboard.url_state import go
from dashboard.views.new_run.estimate_panel import BADGES, Judged
from tabtune_core.analysis.launch_checks import on_unequal_gpus, stopped_by_request
from tabtune_core.data.findings import Finding
from tabtune_core.data.target import Way
from tabtune_core.errors import TabTuneError
from tabtune_core.metrics import Task
from tabtune_core.models.cards import AdapterSize, ModelCard, adapter_size
from tabtune_core.search.budget import Parts
from tabtune_core.settings import MANY_RUNS, SweepSettings
from tabtune_core.settings.advice import advise
from tabtune_core.wording import counted


def what_stops(sweep: SweepSettings, cluster_cards: int | None) -> list[str]:
    """Returns all reasons why the runs would fail before their first step; see ``stopped_by_request``."""
    stops = stopped_by_request(sweep.one_seed(), cluster_cards=cluster_cards)
    return [with_labels(str(stop)) for stop in (*queries.table_stops(sweep.run, sweep.seeds), *stops)]


def show_findings(sweep: SweepSettings, way: Way) -> None:
    """Says how the rows are split if not at random, and what to do about a rare class."""
    run, findings = sweep.run, list[Finding]()
    with suppress(TabTuneError):  # it is shown as the reason why the runs cannot start
        of_label = queries.label_findings(run.dataset, run.target, way, run.group_rare_classes)
        findings += without_mended([one for one in of_label if one.code in ("rare-classes", "imbalance")])
        findings += queries.split_findings(sweep)
    for finding in findings:
        icon = ":material/warning:" if finding.severity == "warning" else ":material/call_split:"
        st.caption(f"{icon} {plain(without_flags(finding.message))}")
    balance(findings)
    group_rare(run.dataset, run.target, way)


def show_adapters(card: ModelCard, task: Task, sweep: SweepSettings) -> None:
    """Says how many parameters the adapters of the lowest and the highest rank train."""
    total, sizes = card.weights_for(task).total_parameters, dict[str, None]()
    for rank in (sweep.ranks[0], sweep.ranks[-1]):
        size = adapter_size(card, task, dataclasses.replace(sweep.run.lora, rank=rank))
        sizes[f"r={rank} trains {size.trainable:,} parameters ({size.trainable / (total + size.factors):.2%})"] = None
    st.caption(f"{'; '.join(sizes)}.")


def show_advice(card: ModelCard, task: Task, sweep: SweepSettings) -> None:
    """Draws the warnings that apply."""
    lora = [run.lora for run in sweep.one_seed() if run.strategy == "peft" and run.lora.rank == max(sweep.ranks)]
    sizes = [adapter_size(card, task, one) for one in dict.fromkeys(lora)]
    # of the adapter that saves least
    size = min(sizes, key=lambda size: size.compression, default=AdapterSize(0, 0, 0))
    parameters = {"adapted_weights": size.adapted_weights, "adapter_parameters": size.trainable}
    sentences = advise(sweep, model_parameters=card.weights_for(task).total_parameters, **parameters)
    if advice := "\n".join(f"- {plain(one)}" for one in sentences):
        st.markdown("**Before you start**")
        st.markdown(advice)


def launch_bar(
    sweep: SweepSettings, name: str, stops: Sequence[str], judged: Judged, minutes: float | None = None
) -> None:
    """Draws the bar that is always in view: what would start and its button (a large sweep asks first), or why not.

    With ``minutes``, a search would start.
    """
    with (
        st.bottom,
        st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="launch_bar"),
    ):
        if stops:
            st.markdown(":red[:material/block: **Cannot start**] for the reasons above.", width="content")
        elif judged.too_large:
            st.markdown(":red[:material/memory: **Does not fit**], as estimated.", width="content")
        else:
            what = in_short(sweep, judged) if minutes is None else f"**Search** for {minutes:g} minutes"
            st.markdown(what, width="content")
        help = "The estimate can be wrong. If memory runs out, the system ends the run, and perhaps other programs."
        insists = not judged.too_large or st.checkbox("Start even if it does not fit", key="insists", help=help)
        sure = sweep.size <= MANY_RUNS or st.checkbox(f"Yes, queue {sweep.size:,} runs", key="sure")
        ready = not stops and sure and insists
        pressed = st.button(
            f"Launch {counted(sweep.size, 'run')}" if minutes is None else "Find the best",
            type="primary" if ready else "secondary",
            disabled=not ready,
            icon=":material/rocket_launch:",
            # a press counts for this table only, also if the table was deleted in another tab
            key=f"launch_{sweep.run.dataset[:12]}",
        )
    if pressed:
        _launch(sweep, name, judged, minutes)


def in_short(sweep: SweepSettings, judged: Judged) -> str:
    """Returns for example ``5 runs = 3 ranks + 2 baselines · about 40 s of training · fits``."""
    time = f"about {duration(judged.seconds)} of training" if judged.seconds else None
    runs = f"**{counted(sweep.size, 'run')}** = {plain(sweep.formula)}"
    return " · ".join(filter(None, (runs, time, BADGES[judged.fit] if judged.fit else None)))


def _launch(sweep: SweepSettings, name: str, judged: Judged, minutes: float | None) -> None:
    """Queues the runs, makes sure that a worker runs, and goes to the Live page; or says why that is not possible."""
    with errors_shown(TabTuneError):
        runs = sweep.expand()
        runs = runs if queries.cluster() else on_unequal_gpus(queries.home(), runs)
        if minutes is not None and judged.clock is not None:
            add = Parts.sort(runs).add
            sweep_id, _ = once(add, queries.store(), 60 * minutes, judged.clock.trained_on, name)
        else:
            sweep_id, _ = once(queries.store().add_sweep, runs, name, halving=sweep.halves)
        queries.keep_worker()
        go("views/live/page.py", sweep=sweep_id)
