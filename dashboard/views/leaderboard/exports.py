"""The leaderboard as a file, and a sweep as one page to mail or sent to a tracker."""

from functools import partial
from importlib.util import find_spec

import pandas as pd
import streamlit as st

from dashboard import queries
from dashboard.components import download
from dashboard.components.job_status import ask_for, wait_for, why_without_result
from dashboard.formatting import plain
from tabtune_core.analysis.runs_table import of_task
from tabtune_core.analysis.sweep_page import sweep_page, sweep_picture
from tabtune_core.data.spreadsheet import safe_csv
from tabtune_core.metrics import METRICS
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.tracking import TRACKERS

KIND = "track"


def offer(sweep: str, metric: str) -> None:
    """Draws downloads of picture and page, and a menu of trackers, which write where the server's variables say."""
    with st.popover("Download the picture", icon=":material/image:", key="share"):
        for kind, mime in (("png", "image/png"), ("svg", "image/svg+xml")):
            drawn = partial(sweep_picture, queries.store(), sweep, kind, metric)
            download(kind.upper(), drawn, f"sweep-{sweep}.{kind}", mime)
        st.caption("Score against rank with its costs, the verdict, the table's name and the date.")
    download(
        "Download the sweep (HTML)",
        partial(sweep_page, queries.store(), sweep, metric),
        f"sweep-{sweep}.html",
        "text/html",
        help="One page to mail: findings, curves, trade-offs, the leaderboard, and how to run it again. It opens "
        "without a network (5 MB)"
        " and holds no row of the table.",
    )
    with st.popover("Send to a tracker", icon=":material/output:"):
        for name, title in TRACKERS.items():
            there = getattr(find_spec(name), "origin", None) is not None  # a plain folder "wandb" is not a package
            st.button(
                title,
                on_click=ask_for,
                args=(KIND, {"sweep": sweep, "to": name}),
                disabled=not there,
                help=None if there else f"Not installed here. Run: pip install 'tabtune-dashboard[{name}]'",
                key=f"track_{name}",
            )
        st.caption(
            "The server's machine sends the sweep. Without a login or an address there, it writes files on that "
            "machine."
        )


def show(sweep: str | None) -> None:
    """Shows the progress of the sweep's exports, and where they are."""
    newest = queries.newest_jobs(KIND, *({"sweep": sweep, "to": name} for name in TRACKERS)) if sweep else []
    jobs = [job for job in newest if job is not None]
    if going := [job for job in jobs if job.status not in JOB_ENDED]:
        wait_for(going, "Sending the sweep")
    for job in jobs:
        if job.result:
            st.caption(f"{plain(job.result['told'])} To open it:")
            st.code(job.result["look"], language="bash", wrap_lines=True)
        elif job.status in JOB_ENDED:
            why_without_result(job)


def csv(board: pd.DataFrame, metric: str) -> str:
    """Returns every column as CSV, with units in the names; ids of several runs become one text."""
    board = of_task(board, METRICS[metric].task)
    return safe_csv(board.assign(runs=board["runs"].str.join(" ")) if "runs" in board else board)
