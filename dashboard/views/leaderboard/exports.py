"""A sweep leaves the leaderboard: as one page to mail, or for a tracker that is installed where the pages run."""

from functools import partial
from importlib.util import find_spec

import streamlit as st

from dashboard import queries
from dashboard.components.job_status import ask_for, wait_for, why_without_result
from dashboard.formatting import plain
from tabtune_core.analysis.sweep_page import sweep_page
from tabtune_core.store.jobs import JOB_ENDED, Job
from tabtune_core.tracking import TRACKERS


def offer(sweep: str, metric: str) -> None:
    """The page, and a menu of trackers. They write where the variables of the server say, or to its workspace: no address is asked for."""
    st.download_button(
        "Download the sweep (HTML)",
        partial(sweep_page, queries.store(), sweep, metric),
        f"sweep-{sweep}.html",
        "text/html",
        on_click="ignore",
        icon=":material/download:",
        help="One page to mail: findings, curves, trade-offs, the leaderboard, and how to run it again. It opens without a network (5 MB)"
        " and holds no row of the table.",
    )
    with st.popover("Send to a tracker", icon=":material/output:"):
        for name, title in TRACKERS.items():
            there = getattr(find_spec(name), "origin", None) is not None  # a folder "wandb" of files is no package
            st.button(
                title,
                on_click=ask_for,
                args=("track", {"sweep": sweep, "to": name}, _asked(sweep, name)),
                disabled=not there,
                help=None if there else f"Not installed here. Run: pip install 'tabtune-dashboard[{name}]'",
                key=f"track_{name}",
            )
        st.caption("It is sent from the machine of these pages; without a login or an address there, to files on it.")


def _asked(sweep: str, name: str) -> Job | None:
    """The latest export of a sweep to a tracker."""
    return next((job for job in queries.store().jobs("track") if job.arguments == {"sweep": sweep, "to": name}), None)


def show(sweep: str | None) -> None:
    """How far the exports of the sweep are, and where they went."""
    jobs = [job for name in TRACKERS if sweep and (job := _asked(sweep, name))]
    if going := [job for job in jobs if job.status not in JOB_ENDED]:
        wait_for(going, "Sending the sweep")
    for job in jobs:
        if job.status == "finished" and job.result:
            st.caption(f"{plain(job.result['told'])} To look at it:")
            st.code(job.result["look"], language="bash", wrap_lines=True)
        elif job.status in JOB_ENDED:
            why_without_result(job)
