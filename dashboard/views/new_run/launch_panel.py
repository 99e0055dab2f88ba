"""What a sweep takes, what to know before it starts, and the button that starts it.

In: the sweep that the form describes, its model and table. Out: its runs in the queue.
"""

from contextlib import suppress

import streamlit as st

from dashboard import queries
from dashboard.formatting import plain
from dashboard.server.access import NO_PATHS, may_type_paths
from dashboard.url_state import go
from dashboard.views.new_run.pricing import price_adapters
from tabtune_core.data.findings import Finding
from tabtune_core.data.target import Way
from tabtune_core.errors import LabelError, TableError, TabTuneError
from tabtune_core.metrics import Task
from tabtune_core.models.adapter_size import AdapterSize, adapter_size
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import check_features, check_request
from tabtune_core.settings import MANY_RUNS, SplitBy, SweepSettings
from tabtune_core.settings.advice import Facts, advise


def unfit(card: ModelCard, table: str, target: str, way: Way, split: tuple[SplitBy, str | None]) -> str | None:
    """Why this model cannot predict the column, if it cannot."""
    try:
        queries.label_findings(table, target, way, max_classes=card.family.class_limit)
        check_features(card, queries.features(table, target, unseen=split[1] if split[0] == "group" else None))
    except (LabelError, TableError) as error:
        return str(error)
    return None


def refused(sweep: SweepSettings, cards: list[str]) -> str | None:
    """Why one of the runs would fail before its first step, if it would. ``cards`` names the NVIDIA cards of this machine."""
    run = sweep.run
    if run.checkpoint is not None and not may_type_paths():
        return f"The run names the weights file {run.checkpoint}. {NO_PATHS}"
    if run.train.amp != "off" and (run.device == "cpu" or (run.device == "auto" and not cards)):
        return "Mixed precision needs a CUDA GPU, and these runs would use the CPU. Turn it off under Advanced."
    try:
        for one in sweep.one_seed():
            check_request(one)
        queries.split_findings(sweep)
    except TabTuneError as error:
        return str(error)
    return None


def show_findings(sweep: SweepSettings, way: Way) -> None:
    """How the rows are split where it is not at random, and what to do about a rare class."""
    run, found = sweep.run, list[Finding]()
    with suppress(TabTuneError):  # which is said as the reason why the runs cannot start
        found += [one for one in queries.label_findings(run.dataset, run.target, way, max_classes=None) if one.code == "imbalance"]
        found += queries.split_findings(sweep)
    for finding in found:
        icon = ":material/warning:" if finding.severity == "warning" else ":material/call_split:"
        st.caption(f"{icon} {plain(finding.message)}")


def show_size(sweep: SweepSettings) -> None:
    """How many runs there are, and how that comes about."""
    st.metric("Runs", f"{sweep.size:,}", help="They run one after the other on each CUDA GPU, or on the CPU.")
    st.caption(f"{sweep.size:,} = {plain(sweep.formula)}")


def show_adapters(card: ModelCard, task: Task, sweep: SweepSettings) -> None:
    """What each rank and set of parts trains."""
    priced = price_adapters(card, task, sweep)
    hidden = [name for name, idle in _IDLE.items() if idle(priced)]
    st.dataframe(
        priced.drop(columns=hidden),
        hide_index=True,
        column_config={
            "Rank": st.column_config.NumberColumn(width=50),
            "Trainable": st.column_config.NumberColumn(
                format="localized", width=85, help="Factors A and B, DoRA's magnitudes and trained biases."
            ),
            "Bytes": st.column_config.NumberColumn(
                format="localized", width=90, help="Exact size of the tensors in the adapter file, without names and metadata."
            ),
            "Share (%)": st.column_config.NumberColumn(
                "% of the model", format="%.2f", width=90, help="Share of all parameters, adapter included."
            ),
            "Compression": st.column_config.NumberColumn(
                format="%.1f : 1",
                width=100,
                help="Weights of the adapted layers divided by the adapter's parameters. At 1 or below the adapter saves nothing.",
            ),
            "Scaling": st.column_config.TextColumn(
                "Alpha / r", width=80, help="Strength of the update: alpha / rank, or with rsLoRA alpha / root of the rank."
            ),
            "Capped layers": st.column_config.NumberColumn(
                width=100, help="Layers narrower than the rank; there the rank is the layer's own width."
            ),
        },
    )
    if sweep.run.checkpoint is not None:
        st.caption(f"Computed for {card.title}; your own weights file may differ.")


_IDLE = {
    "Parts": lambda priced: priced["Parts"].nunique() < 2,
    "Capped layers": lambda priced: not priced["Capped layers"].any(),
}
"""Columns, and when they say nothing."""


def show_advice(card: ModelCard, task: Task, sweep: SweepSettings, rows: int) -> None:
    """The guide's warnings that apply."""
    size = _largest(card, task, sweep)
    facts = Facts(
        sweep=sweep,
        rows=rows,
        model_parameters=card.weights_for(task).total_parameters,
        adapted_weights=size.adapted_weights,
        adapter_parameters=size.trainable,
    )
    found = advise(facts)
    if found:
        st.markdown("**Before you start**")
        st.markdown("\n".join(f"- {plain(one.text(facts))} {plain(one.todo)}" for one in found))


def _largest(card: ModelCard, task: Task, sweep: SweepSettings) -> AdapterSize:
    """The adapter that saves least."""
    points = [run.lora for run in sweep.one_seed() if run.strategy == "peft" and run.lora.rank == max(sweep.ranks)]
    sizes = [adapter_size(card, task, lora) for lora in dict.fromkeys(points)]
    return min(sizes, key=lambda size: size.compression, default=AdapterSize(0, 0, 0, 0))


def launch_button(sweep: SweepSettings, name: str, *, stopped: bool, too_large: str | None) -> None:
    """Starts the sweep; a large one, and one that is ``too_large`` for the memory or the disk there is, ask first."""
    if too_large:
        st.error(plain(too_large), icon=":material/memory:")
    insists = not too_large or st.checkbox(
        "Start even if it does not fit",
        key="insists",
        help="The estimate can be wrong. Where memory ends, the system ends the run, and perhaps other "
        "programs; where the disk is full, runs fail or wait.",
    )
    sure = sweep.size <= MANY_RUNS or st.checkbox(
        f"Yes, queue {sweep.size:,} runs", key="sure", help=f"More than {MANY_RUNS} runs take long; consider fewer values."
    )
    if st.button(
        f"Launch {sweep.size:,} run{'s' * (sweep.size != 1)}",
        type="primary",
        disabled=stopped or not sure or not insists,
        icon=":material/rocket_launch:",
        width="stretch",
    ):
        _launch(sweep, name)


def _launch(sweep: SweepSettings, name: str) -> None:
    """Queues, makes sure that a worker runs, and goes to the Live page; or says why not."""
    try:
        sweep_id, _ = queries.store().add_sweep(sweep.expand(), name)
        queries.keep_worker()
    except TabTuneError as error:
        st.error(plain(str(error)))
        return
    go("views/live/page.py", sweep=sweep_id)
