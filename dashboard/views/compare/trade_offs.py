"""The tab Trade-offs of Compare: score against cost, with limits."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components.plotly_chart import show
from dashboard.formatting import megabytes, plain
from dashboard.url_state import pick
from dashboard.views.compare.compared import Compared
from tabtune_core.analysis.comparison import at_one_rate
from tabtune_core.analysis.configurations import by_configuration
from tabtune_core.analysis.pareto import best_of, front, score_noise, within_limits
from tabtune_core.analysis.recommendation import with_noise
from tabtune_core.charts import CHARTS
from tabtune_core.charts.pareto import COSTS
from tabtune_core.metrics import METRICS
from tabtune_core.wording import few

LIMITS = {
    "run_growth_memory_bytes": "Memory over the model, at most (MB)",
    "train_seconds": "Training, at most (s)",
    "adapter_bytes": "Adapter, at most (kB)",
}
MOST_NAMED = 6


def trade_offs(compared: Compared) -> None:
    """Draws the tab Trade-offs."""
    once = at_one_rate(compared.board[compared.board["strategy"] == "peft"])
    words = st.container()
    picture = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        cost = pick("Cost", list(COSTS), name="x", default="run_growth_memory_bytes", format_func=lambda x: COSTS[x][0])
        board, noun = _points(compared)
        limits = _limits()
    recommendation = queries.recommended(compared.sweep, compared.metric)
    noise = score_noise(recommendation.configurations)
    axes = {cost: True, f"validation_{compared.metric}": not METRICS[compared.metric].higher_is_better}
    complete = board[board["apart"] == ""]
    with words:
        st.header(f"Score against cost{once}", help=CHARTS["pareto"].help)
        fitting = what_fits(complete, compared.metric, limits, noun) if limits else ""
        st.markdown(fitting or what_leads(complete, axes, noun, noise))
    if "id" in board and noun == "runs":
        by_id = with_noise(board.assign(run=board["id"]), recommendation.configurations)
        board = compared.legend.name(by_id.assign(run=by_id["run"]))
    with picture:
        shown: dict[str, Any] = {"x": cost, "metric": compared.metric, "limits": limits, "score_noise": noise}
        show("pareto", board, label=f"Trade-offs of all runs{once}", numbers=board[["run", *axes]], **shown)
        absent = [str(name) for name in board.loc[board[[*axes]].isna().any(axis=1) & board["place"].notna(), "run"]]
        if absent:
            st.caption(f"Not shown, because a number is missing: {plain(few(absent, MOST_NAMED))}.")


def _points(compared: Compared) -> tuple[pd.DataFrame, str]:
    """Returns the runs, or on request the means over several seeds, and the noun for them."""
    board = compared.board
    help = "Training and validation rows differ between seeds, and those of one seed may be easier than another's."
    several = board["seed"].nunique() > 1
    if not several or not st.toggle("Mean over seeds", True, key="over_seeds", persist_state="session", help=help):
        return board, "runs"
    means = by_configuration(board.assign(run=board["id"]), compared.metric)
    means = means.dropna(subset=["place"]).rename(columns={"name": "run"})
    if means.empty:
        st.caption("No means yet: no seed has a result for every configuration.")
        return board, "runs"
    st.caption(f"Means over seeds {means['seeds'].iloc[0].replace(' ', ', ')}.")
    in_order = means.sort_values("rank", na_position="first", kind="stable")["run"].unique()
    run = pd.Categorical(means["run"], categories=list(in_order))
    return means.assign(run=run, apart=""), "configurations"  # a configuration with a place is compared


def _limits() -> dict[str, float]:
    """Asks for upper limits; returns them by column, in its unit."""
    limits = {}
    with st.popover("Limits on memory, time and size", icon=":material/straighten:"):
        for name, label in LIMITS.items():
            key = f"limit_{name}"
            most = st.number_input(label, value=None, key=key, placeholder="no limit", persist_state="session")
            if most is not None:
                limits[name] = most * COSTS[name][1]
    return limits


def what_leads(board: pd.DataFrame, axes: Mapping[str, bool], noun: str, noise: float = 0.0) -> str:
    """Names the runs that no other run beats on all axes, if they are few; ``axes`` are as in ``front``."""
    best = board[front(board, axes, score_noise=noise)]
    known = int(board[[*axes]].notna().all(axis=1).sum())
    if not known:
        return "No finished run has all of these numbers."
    if best.empty or 1 < len(best) == known:
        tie = "they tie within noise, or each costs less"
        return f"None of {known} {noun} is a better trade-off than the others: {tie}."
    names = [str(name) for name in best["run"]]
    which = f": **{plain(', '.join(names))}**" if len(names) <= MOST_NAMED else ""
    are = "is the best trade-off" if len(names) == 1 else "are the best trade-offs"
    return f"{len(names)} of {known} {noun} {are}{which}."


def what_fits(board: pd.DataFrame, metric: str, limits: Mapping[str, float], noun: str) -> str:
    """Describes the best run within the limits and its costs; without such a run, the lowest measured values."""
    scored = board.dropna(subset=[f"validation_{metric}"])
    inside = scored[within_limits(scored, limits)]
    best = best_of(inside, f"validation_{metric}", higher_is_better=METRICS[metric].higher_is_better)
    if best is None:
        lowest = {COSTS[name][0]: scored[name].min() / COSTS[name][1] for name in limits if scored[name].notna().any()}
        least = "; ".join(f"{title[:1].lower()}{title[1:]} from {cost:,.1f}" for title, cost in lowest.items())
        return f"**No run is within these limits.** The lowest measured values: {least or 'nothing'}."
    memory, seconds, size = (
        None if pd.isna(best[name]) else float(best[name])
        for name in ("run_growth_memory_bytes", "train_seconds", "adapter_bytes")
    )
    costs = [
        f"{megabytes(memory)} over the loaded model",
        "an unknown training time" if seconds is None else f"{seconds:,.1f} s of training",
        "no adapter" if size is None else f"an adapter of {megabytes(size)}",
    ]
    which, score = plain(str(best["run"])), METRICS[metric].text(best[f"validation_{metric}"])
    leads = f"**{which}** has the best validation {METRICS[metric].written}, **{score}**, with {', '.join(costs)}"
    return f"Within these limits {leads}. {len(inside)} of {len(scored)} {noun} fit."
