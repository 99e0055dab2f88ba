"""What more rank, memory or time buys: trade-offs, the curve over ranks, and settings side by side."""

import pandas as pd
import streamlit as st

from dashboard import reading
from dashboard.charts import CHARTS
from dashboard.charts.pareto import COSTS
from dashboard.choice import go, pick
from dashboard.live_plotly import show
from dashboard.words import labels, sweep_title
from tabtune_core.errors import StoreError
from tabtune_core.metrics import METRICS, metrics_of
from tabtune_core.runs.recommend import with_noise
from tabtune_core.runs.store import RANKED, Run


def flat(run: Run) -> dict[str, str]:
    """Settings with dots in their names, as they were used."""
    found = {}
    for name, value in run.settings.to_dict().items():
        found |= {f"{name}.{inner}": str(v) for inner, v in value.items()} if isinstance(value, dict) else {name: str(value)}
    found["train.learning_rate"] = f"{run.settings.learning_rate:g}"
    found["lora.alpha"] = f"{run.settings.lora.effective_alpha:g}"
    unused = {"peft": (), "base-ft": ("lora.",), "inference": ("lora.", "train.")}[run.settings.strategy]
    return {name: value for name, value in found.items() if not name.startswith(unused)}


def settings_table(runs: list[Run], *, differences_only: bool) -> pd.DataFrame:
    """One row a setting, one column a run."""
    named = labels(runs)
    side_by_side = pd.DataFrame({named[run.id]: flat(run) for run in runs})
    if differences_only:  # a setting that a run has no use for is no difference
        side_by_side = side_by_side[side_by_side.nunique(axis=1) > 1]
    return side_by_side.fillna("N/A").rename_axis("Setting").reset_index()


st.title("Compare")
sweeps = reading.sweeps()
if not sweeps:
    st.info("Nothing to compare yet. Start a sweep over some ranks; its runs then appear here.", icon=":material/compare_arrows:")
    if st.button("Start a run", type="primary"):
        go("views/new_run.py")
    st.stop()

where, by, cost_of = st.columns([2, 1, 1])
with where:
    sweep = pick("Sweep", list(sweeps), name="sweep", default=next(iter(sweeps)), format_func=lambda name: sweep_title(sweeps[name]))
with by:
    usual = reading.selection_metric(sweep)
    metrics = metrics_of(METRICS[usual].task)
    metric = pick("Score", metrics, name="metric", default=usual, format_func=lambda name: METRICS[name].label)
with cost_of:
    cost = pick("Cost", list(COSTS), name="cost", default="growth_memory_bytes", format_func=lambda name: COSTS[name][0])
try:
    runs = reading.store().runs(sweep)
except StoreError as error:
    st.error(str(error))
    st.stop()
if not any(run.status in RANKED for run in runs):
    st.info("No run of this sweep has a result yet. Watch it on the Live page.", icon=":material/hourglass_top:")
    if st.button("Go to Live", type="primary"):
        go("views/live.py", sweep=sweep)
    st.stop()

named = labels(runs)
ranked = with_noise(reading.ranked(sweep, metric), reading.recommended(sweep, metric).configurations)
ranked = ranked.assign(run=pd.Categorical(ranked["run"].map(named), categories=list(named.values())))
left, right = st.columns(2)
with left:
    st.subheader("Score against cost", help=CHARTS["pareto"].help)
    used = ["run", cost, f"validation_{metric}"]
    show(CHARTS["pareto"].draw(ranked, cost=cost, metric=metric), key="pareto", label="Score against cost", numbers=ranked[used])
with right:
    st.subheader("Score against rank", help=CHARTS["rank_curve"].help)
    used = ["run", "strategy", "rank", "seed", f"validation_{metric}", f"test_{metric}", "standard_error_to_best_lora"]
    show(CHARTS["rank_curve"].draw(ranked, metric=metric), key="rank_curve", label="Score against rank", numbers=ranked[used])
if ranked["standard_error_to_best_lora"].notna().any():
    st.caption("Bars at a rank: one standard error of its difference to the best rank. A bar that reaches the level of the best is a tie.")
elif METRICS[metric].task == "regression":
    st.caption("How much of a difference is noise is not known here; repeat with several seeds.")
else:
    st.caption("Differences below about one over the square root of the number of validation rows are noise; repeat with several seeds.")

st.subheader("Settings side by side")
chosen = st.multiselect("Runs", list(named), default=list(named)[:4], format_func=lambda name: named[name], key=f"compared_{sweep}")
only = st.toggle("Differences only", True, key="differences_only", persist_state="session")
st.dataframe(settings_table([run for run in runs if run.id in chosen], differences_only=only), hide_index=True)
