"""How much training changed each layer of the chosen runs, as far as it was worked out."""

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.charts import CHARTS
from dashboard.components.job_status import wait_for
from dashboard.components.plotly_chart import show
from dashboard.formatting import plain
from dashboard.views.compare.compared import Compared
from dashboard.views.compare.one_run_rank import DOING, button
from tabtune_core.analysis.singular_values import layer_frame
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_row import Run
from tabtune_core.wording import counted


def update_sizes(compared: Compared, runs: list[Run]) -> None:
    """One mark a layer and run; what is missing can be asked for."""
    st.caption(CHARTS["layer_updates"].help)
    lora = [run for run in runs if run.settings.strategy == "peft"]
    if not lora:
        st.info("Choose a LoRA run above: the other strategies have no low-rank update.", icon=":material/info:")
        return
    jobs = queries.rank_curves()
    known = {run.id: job.result for run in lora if (job := jobs.get(run.id)) is not None and job.result is not None}
    going = [job for run in lora if (job := jobs.get(run.id)) is not None and job.status not in JOB_ENDED]
    for run in lora:
        job = jobs.get(run.id)
        if job is not None and job.error:
            st.error(f"{plain(compared.named[run.id])}: {plain(job.error)}")
    missing = [run.id for run in lora if run.id not in known and run.id not in {job.arguments["run"] for job in going}]
    if going:
        wait_for(going, DOING)
    elif missing:
        st.markdown(f"Not computed yet for {plain(', '.join(compared.named[run_id] for run_id in missing))}.")
        button(missing, f"Compute it for {counted(len(missing), 'run')}", key="work_out_sizes")
    if known:
        sizes = pd.concat([layer_frame(result["layers"]).assign(run=run_id) for run_id, result in known.items()], ignore_index=True)
        sizes = compared.as_run(sizes)
        show(CHARTS["layer_updates"].draw(sizes), key="layer_updates", label=CHARTS["layer_updates"].help, numbers=sizes)
