"""The tab of Compare about context rows: what more of them bring at prediction, beside what training brings."""

from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components.job_status import ask_for, wait_for, why_without_result
from dashboard.components.plotly_chart import show
from dashboard.formatting import duration, plain
from dashboard.views.compare.compared import Compared
from tabtune_core.analysis.context_rows import curve_frame, in_words, part_of, runs_of_curve
from tabtune_core.charts import CHARTS
from tabtune_core.metrics import METRICS
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_row import Run

KIND = "context_curve"
AXES = {"score": "Score", "seconds": "Seconds", "memory": "Memory"}


def rows_shown(compared: Compared) -> None:
    """Draws the tab."""
    st.header("Context rows and training", help=CHARTS["rows_shown"].help)
    st.caption(
        "More context rows at prediction need no training. The curve scores zero-shot, full fine-tuning and the best LoRA run"
        " of this sweep (by validation) at 64, 128, … and all context rows."
    )
    seeds = sorted({run.settings.seed for run in compared.done})
    seed = seeds[0]
    if len(seeds) > 1:
        seed = st.selectbox("Seed", seeds, key=f"rows_seed_{compared.sweep}")
    runs = runs_of_curve(queries.store(), compared.done, compared.metric, seed)
    if not runs:
        st.info("No run of this seed has finished yet.", icon=":material/hourglass_top:")
        return
    strategies = {run.settings.strategy for run in compared.done if run.settings.seed == seed}
    if "base-ft" in strategies and not any(run.settings.strategy == "base-ft" for run in runs):
        st.caption("Full fine-tuning is missing: its weights were not kept, or its model or split differs. Run it again to add it.")
    job = queries.context_curves().get(tuple(run.id for run in runs))
    if job is not None and job.status not in JOB_ENDED:
        wait_for([job], "Predicting with more and more context rows")
    elif job is None or job.result is None:
        if job is not None:
            why_without_result(job)
        named = ", ".join(compared.named[run.id] for run in runs)
        st.button(
            "Compute",
            key="work_out_rows",
            on_click=_ask,
            args=(runs,),
            icon=":material/table_rows:",
            help=f"Predicts the held-out rows of {plain(named)} and of zero-shot at each number of context rows. Takes seconds to minutes.",
        )
    else:
        _found(compared, job.result)


def _ask(runs: list[Run]) -> None:
    ids = [run.id for run in runs]
    ask_for(KIND, {"runs": ids}, queries.context_curves().get(tuple(ids)))


def _found(compared: Compared, result: dict[str, Any]) -> None:
    curve, meaning = curve_frame(result), METRICS[compared.metric]
    with st.container(border=True):
        st.markdown(plain(in_words(curve, compared.metric)))
        st.caption(
            "± is half the width of a 95 % interval: the noise of the scored rows and the luck of the context rows, of which several sets"
            " were drawn. Other seeds may differ more. A trained state counts only where it beats zero-shot on the validation rows."
        )
    left, right = st.columns(2)
    axis = left.segmented_control("Show", list(AXES), default="score", required=True, key="rows_axis", format_func=AXES.__getitem__)
    parts = [part for part in ("test", "validation") if f"{part}_{compared.metric}" in curve]
    split = right.segmented_control(
        "Rows", parts, default=part_of(curve, compared.metric), required=True, key="rows_split", format_func=str.capitalize
    )
    drawn = CHARTS["rows_shown"].draw(curve, metric=compared.metric, split=split, axis=axis)
    used = ["name", "context_rows", *(f"{part}_{compared.metric}" for part in parts), "predict_seconds", "growth_memory_bytes"]
    show(drawn, key="rows_shown", label=f"{meaning.label} against context rows", numbers=curve[used])
    st.caption(
        f"On {plain(result['device'])}, computed in {duration(result['seconds'])}, of {result['train_rows']:,} training rows. Seconds are"
        f" of the {part_of(curve, compared.metric)} rows' predictions, memory is their peak over the loaded model."
    )
