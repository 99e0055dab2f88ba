"""The estimated memory and time of the sweep in the form."""

import dataclasses
from functools import partial

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import queries
from dashboard.components.job_status import wait_for
from dashboard.components.plotly_chart import show
from dashboard.formatting import duration
from tabtune_core.analysis.runtime_estimate import Pace, TrainedOn, came_from, growth_ratio, not_known, train_seconds
from tabtune_core.charts.memory import CAUSES
from tabtune_core.data.target import Way
from tabtune_core.data.task import features_of
from tabtune_core.machine import PROCESS_BYTES
from tabtune_core.models.cards import ModelCard, Weights
from tabtune_core.models.checkpoints import is_here
from tabtune_core.search.budget import Clock
from tabtune_core.settings import RunSettings, SweepSettings
from tabtune_core.training.memory.estimate import Sizes, estimate_memory, with_shown_rows
from tabtune_core.training.memory.fitting import DeviceMemory, Fit, Need, between, cannot_fit, judge, need_of

GIGABYTE = 1e9
BESIDE = f"{PROCESS_BYTES / GIGABYTE:g} GB of it for Python and torch, which the chart does not show"
BADGES = {
    "fits": ":green-badge[:material/check: fits]",
    "tight": ":orange-badge[:material/warning: tight]",
    "exceeds": ":red-badge[:material/block: exceeds]",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """The estimate of a sweep in short."""

    too_large: str | None = None
    """Why its runs cannot fit this machine, or None."""
    fit: Fit | None = None
    """None if the device's memory is not known."""
    seconds: float | None = None
    """Total training time; None if not known."""
    clock: Clock | None = None
    """Estimates the seconds of single runs."""


def shown_runs(sweep: SweepSettings) -> dict[str, RunSettings]:
    """Returns the runs of the chart by name: full fine-tuning, and LoRA at the lowest and the highest rank."""
    full = sweep.run.with_strategy("base-ft")
    by_rank = {run.lora.rank: run for run in sweep.one_seed() if run.strategy == "peft"}
    ends = sorted({min(by_rank), max(by_rank)}) if by_rank else []
    return {"Full fine-tuning": full} | {f"LoRA r={rank}": by_rank[rank] for rank in ends}


def estimate_panel(sweep: SweepSettings, card: ModelCard, way: Way, *, box: DeltaGenerator, stopped: bool) -> Judged:
    """Draws memory by cause, whether it fits and disk into ``box``; runs that are ``stopped`` are not measured."""
    table, target = sweep.run.dataset, sweep.run.target
    classes = 0 if way == "numbers" else len(queries.class_counts(table, target, way, sweep.run.group_rare_classes))
    split = queries.split_sizes(dataclasses.replace(sweep.run, seed=sweep.seeds[0]))
    features = features_of(queries.tables()[table].columns, sweep.run)
    device = _device(sweep.run.device)
    on_gpu = device.on_gpu
    if device.all_bytes is not None:
        run = with_shown_rows(sweep.run, features=features, memory_bytes=round(device.all_bytes), on_gpu=on_gpu)
        sweep = dataclasses.replace(sweep, run=run)
    sizes = Sizes.plan(sweep.run, split, features=features, classes=classes)
    trained_on = TrainedOn.plan(split, features=features, classes=classes, on_gpu=on_gpu)
    paces = queries.paces(card.name)
    ratio = partial(growth_ratio, paces, trained_on)
    bars = []
    for name, run in shown_runs(sweep).items():
        estimate, known = estimate_memory(run, card, sizes, on_gpu=on_gpu), ratio(run)
        likely = estimate if known is None else estimate.with_growth(known * estimate.growth)
        by_cause = dataclasses.asdict(likely)
        bars += [{"run": name, "cause": cause, "bytes": by_cause[cause]} for cause in CAUSES]
    need = need_of(dataclasses.replace(sweep, references=False).one_seed(), card, sizes, on_gpu=on_gpu, ratio=ratio)
    with box:
        fit = _say_whether_it_fits(need, device)
        frame = pd.DataFrame(bars)
        numbers = frame.pivot_table("bytes", "run", "cause").reset_index()
        show("memory_breakdown", frame, key="estimate_by_cause", label="Memory by cause of each run", numbers=numbers)
    if fit not in (None, "fits"):
        st.caption(_WAY_OUT)
    too_large = cannot_fit(need, device, sweep.run)
    weights, may = card.weights_for(sweep.run.task), not stopped and fit != "exceeds"
    seconds = _time(sweep, weights, trained_on, paces, box, may=may)
    return Judged(too_large, fit, seconds, Clock(paces, trained_on))


def _device(asked: str) -> DeviceMemory:
    """Returns the memory of the device ``asked`` for; of a cluster, of some node."""
    cluster = queries.cluster()
    if cluster is None:
        return DeviceMemory.of(asked, *queries.memory_of_devices())
    on_gpu = asked.startswith("cuda") or (asked == "auto" and bool(cluster.cards))
    return DeviceMemory("a node of the cluster", None, None, on_gpu)


def _say_whether_it_fits(need: Need, device: DeviceMemory) -> Fit | None:
    """Says what the runs need of the device's free memory, and returns whether it is enough, if known."""
    needed = f"{between(need.least, need.most, GIGABYTE, 1)} GB at most"
    if device.free_bytes is None:
        st.caption(f"Needs {needed} ({BESIDE}). Free memory on {device.name}: not known.")
        return None
    fit = judge(need, device.free_bytes)
    of = f"of {device.free_bytes / GIGABYTE:.1f} GB on {device.name}"
    st.markdown(f"{BADGES[fit]} {needed}, {of}.", help=f"{BESIDE}.")
    return fit


_WAY_OUT = (
    "Fewer context rows save most; then fewer query rows, gradient checkpointing or fewer target modules, all under "
    "More settings. The rank hardly matters."
)
_TIME_HELP = (
    "From a few measured steps, later from your own runs with like settings. You wait less if runs share frozen layers "
    "or run at the same time."
)


def _time(
    sweep: SweepSettings, weights: Weights, trained_on: TrainedOn, paces: list[Pace], box: DeltaGenerator, *, may: bool
) -> float | None:
    """Shows the longest training time in ``box`` and returns it, from earlier runs or steps that it ``may`` measure."""
    runs = sweep.expand()
    estimate = train_seconds(runs, paces, trained_on, halving=sweep.halves)
    if estimate is None:
        here = sweep.run.checkpoint is not None or is_here(weights)
        measuring = queries.measure(not_known(runs, paces, trained_on)) if may and here else None
        if measuring:
            wait_for([measuring], "Measuring a few training steps on this machine")
        else:
            st.caption("Training time: known after the first run.", help=_TIME_HELP)
    elif estimate.seconds:
        why = f"Training takes at most about {duration(estimate.seconds)}, {came_from(estimate)}."
        box.caption(why, help=_TIME_HELP)
    return None if estimate is None else estimate.seconds
