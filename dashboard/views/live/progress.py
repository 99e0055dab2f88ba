"""The progress of a sweep: the bar, the time left, the table of its runs, and buttons for all of them."""

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from dashboard import queries
from dashboard.components import browser_part
from dashboard.components.unreadable import attempt
from dashboard.formatting import STATUS, duration, megabytes, plain, silence, status_of
from dashboard.queries import Latest, Look
from dashboard.table_columns import digits_behind, rounded
from dashboard.views.live.actions import WISH_ICONS, again_all, to_the_form
from tabtune_core.analysis.curves import Progress
from tabtune_core.analysis.runtime_estimate import kind_of
from tabtune_core.events import StopRequest
from tabtune_core.execution.executor import LOCAL
from tabtune_core.metrics import LOSS_UNITS, METRICS
from tabtune_core.settings import TRAINED
from tabtune_core.settings.sweep import RUNGS, race_of, trained_share
from tabtune_core.store.run_row import ENDED, RANKED, Run, Sweep
from tabtune_core.wording import counted, few

_component = browser_part("end_notification", "<button type='button' class='lab-notify' aria-pressed='false'></button>")


def end_notification(sweep: str, text: str, *, going: bool) -> None:
    """Draws a button for a browser notification, sent when this tab sees the sweep end; nothing leaves the machine."""
    _component(data={"sweep": sweep, "text": text, "going": going}, key="end_notification", width="content")


FAILED = ("failed", "interrupted")
MOST_NAMED = 4
"""Most runs that are named for one reason."""


def share_done(run: Run, far: Progress) -> float:
    """Returns the share of a run's training steps that is done, 0 to 1."""
    if run.status in RANKED:
        return 1.0
    return min(far.done_steps / far.total_steps, 1.0) if far.total_steps else 0.0


def in_words(counts: Mapping[str, int]) -> str:
    """Returns for example ``3 finished, 1 failed``."""
    return ", ".join(f"{number} {status}" for status, number in counts.items())


def tab_title(runs: list[Run]) -> None:
    """Sets the title of the browser tab: how many runs have ended; at the end, how many failed or were interrupted."""
    ended, failed = sum(run.status in ENDED for run in runs), [run.status for run in runs if run.status in FAILED]
    done = in_words(Counter(failed)) or "done"
    st.set_page_config(page_title=f"{done if ended == len(runs) else f'{ended}/{len(runs)}'} · LoRA Lab")


def ending(runs: list[Run], sweep: Sweep) -> str:
    """Says how a sweep ended, for a notification."""
    return f"{sweep.name or 'The sweep'} has ended: {in_words(Counter(run.status for run in runs))}."


def failures(runs: list[Run], named: dict[str, str]) -> None:
    """Says why runs failed or were interrupted, each reason once, with buttons to repeat or change them."""
    failed = [run for run in runs if run.status in FAILED and run.retried_as is None]
    if not failed:
        return
    reasons: dict[str, list[str]] = {}
    for run in failed:
        reasons.setdefault(run.error or STATUS[run.status], []).append(named[run.id])
    ends = Counter("were interrupted" if run.status == "interrupted" else "failed" for run in failed)
    lines = [f"**{in_words(ends).replace(' ', f' of {len(runs)} runs ', 1)}.**"]
    lines += [f"{plain(few(names, MOST_NAMED))}: {plain(reason)}" for reason, names in reasons.items()]
    st.error("  \n".join(lines), icon=":material/error:")
    key = runs[0].sweep
    with st.container(horizontal=True):
        mend = "Opens New run with the settings of these runs."
        if st.button("Change the settings", key=f"mend_{key}", type="primary", icon=":material/tune:", help=mend):
            to_the_form(failed)
        label = f"Run {len(failed)} again" if len(failed) > 1 else "Run again"
        help, icon = "Queues them again in this sweep, with the same settings.", ":material/replay:"
        st.button(label, on_click=again_all, args=(failed,), key=f"again_all_{key}", icon=icon, help=help)


def steps_shown(runs: list[Run], latest: dict[str, Latest]) -> int:
    """Returns the number of steps on an axis: those that the longest run will take, or took if all have ended."""
    trained = [run for run in runs if run.settings.strategy in TRAINED]
    done = max((latest[run.id].progress.done_steps for run in trained), default=0)
    if done and all(run.status in ENDED for run in runs):
        return done
    return max((latest[run.id].progress.total_steps or run.settings.train.steps or 0 for run in trained), default=0)


def overall(runs: list[Run], named: dict[str, str], latest: dict[str, Latest]) -> None:
    """Draws one bar and one sentence for the whole sweep."""
    far = {run_id: last.progress for run_id, last in latest.items()}
    ended = sum(run.status in ENDED for run in runs)
    share = sum(1.0 if run.status in ENDED else share_done(run, far[run.id]) for run in runs) / len(runs)
    cancelled = sum(run.status == "cancelled" for run in runs)
    were = f", {cancelled} of them cancelled" if cancelled else ""
    seconds = time_left(runs, far, time.time())
    left = "" if seconds is None or queries.store().searching(runs[0].sweep) else f", about {duration(seconds)} left"
    doing = [_doing(run, named[run.id], far[run.id]) for run in runs if run.status == "running"]
    failed = any(run.status in (*FAILED, "cancelled") for run in runs)
    if failed and ended == len(runs):  # a full bar would look like success
        share = sum(run.status in RANKED for run in runs) / len(runs)
    with st.container(key="failed_bar" if failed else "bar"):
        said = f"{ended} of {len(runs)} runs have ended{were}{left}.{_waits_for(runs)}"
        st.progress(share, " ".join([said, *doing]))


def _doing(run: Run, name: str, far: Progress) -> str:
    """Says how far a running run is, and what it waits for."""
    steps = f"step {far.done_steps} of {far.total_steps}" if far.total_steps else ""
    phase = "" if steps and far.phase == "train" else far.phase or "starting"
    wish = {"stop": " It stops after this step.", "cancel": " It is being cancelled."}.get(run.wish or "", "")
    quiet = f" It has sent {silence(run)}." if silence(run) else ""
    return f"{plain(name)}: {', '.join(filter(None, (phase, steps)))}.{quiet}{wish}"


def _waits_for(runs: list[Run]) -> str:
    """Says how many runs of which other sweeps come before ``runs``; empty unless all of these wait."""
    states = {run.status for run in runs}
    if "running" in states or "queued" not in states:  # asked only then, since Live is drawn again every few seconds
        return ""
    waiting, own = queries.store().runs(status="queued"), {run.id for run in runs}
    place = next((place for place, run in enumerate(waiting) if run.id in own), None)
    if place is None:
        return ""
    sweeps = queries.sweeps()
    before = Counter(run.sweep for run in (*queries.store().runs(status="running"), *waiting[:place]))
    here = ((number, sweeps[sweep]) for sweep, number in before.items() if sweep in sweeps)
    named = [f"{counted(number, 'run')} of {sweep.name or 'another sweep'}" for number, sweep in here]
    return f" Waits for {plain(few(named))}." if named else ""


def _where(run: Run) -> str:
    """Returns the GPU or CPU of a run, and on a cluster its node; empty while it waits."""
    return " of ".join(filter(None, (run.slot, "" if run.executor in ("", LOCAL) else run.node)))


def runs_table(look: Look, named: dict[str, str], latest: dict[str, Latest], metric: str, away: frozenset[str]) -> None:
    """Draws one line per run; ``away`` is as in ``Curves``."""
    runs, meaning = look.runs, METRICS[metric]
    best_title, loss_title = f"Best validation {meaning.written}", f"Loss ({LOSS_UNITS[meaning.task]})"
    scores = pd.Series({run.id: latest[run.id].best for run in runs}, dtype="float64")
    digits = meaning.decimals(scores)
    best = rounded(scores, digits).rename(best_title)
    rows = [
        _line(run, latest[run.id], run.id not in away)
        | {"Run": named[run.id], loss_title: latest[run.id].loss, best_title: best[run.id], "Where": _where(run)}
        for run in runs
    ]
    several = len({_where(run) for run in runs if run.slot}) > 1 or any(run.executor not in ("", LOCAL) for run in runs)
    order = ["Run", "Status", "Phase", "Progress", "Steps", "Time left", loss_title, best_title, "Memory now"]
    frame = pd.DataFrame(rows)[[*order, *(["Where"] if several else [])]]
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    wide = 35 + 7 * int(frame["Status"].str.len().max())  # pixels, so that no status is cut off
    st.dataframe(
        queries.of_look(look, "table", lambda: pa.Table.from_pandas(frame)),
        hide_index=True,
        height="content" if len(rows) < 13 else 480,
        placeholder="",
        column_config={
            "Run": text(pinned=True),
            "Status": text(width=wide),
            "Where": text(help="The GPU or CPU that the run uses; on a cluster, also its node."),
            "Progress": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%d%%", width="small"),
            loss_title: number(format="%.4f"),
            best_title: number(**digits_behind(best, digits), help=f"{meaning.unit}. {meaning.help}"),
            "Time left": text(help="Training time, if it does not stop early. Known from the fifth step."),
            "Memory now": text(help="What the run adds to the loaded model, as on the leaderboard."),
        },
    )


def _line(run: Run, last: Latest, here: bool) -> dict[str, Any]:
    """Returns the cells of one run whose columns have the same title in every sweep."""
    far, going = last.progress, run.status == "running"
    state = status_of(run), "resumed" if run.resumptions else "", silence(run)
    return {
        "Status": ", ".join(filter(None, state)),
        "Phase": far.phase or "",
        "Progress": round(100 * share_done(run, far)),
        "Steps": f"{far.done_steps} / {far.total_steps}" if far.total_steps else "",
        "Time left": duration(far.eta_seconds) if going and far.eta_seconds is not None else "",
        "Memory now": megabytes(last.held_bytes) if going and here else "",
    }


def sweep_buttons(sweep: str) -> None:
    """Draws buttons to stop or cancel all runs that have not ended, and a search."""
    stopped = "Runs in progress end after their step and keep their best checkpoint; queued runs are cancelled."
    wishes: dict[str, tuple[StopRequest, str]] = {
        "Stop all, keep the best": ("stop", stopped),
        "Cancel all": ("cancel", "Runs in progress are discarded; queued runs are cancelled."),
    }
    for label, (wish, help) in wishes.items():
        args = queries.store().ask_all, sweep, wish
        st.button(label, f"{wish}_all_{sweep}", help, attempt, args, icon=WISH_ICONS[wish])


def time_left(runs: Sequence[Run], far: Mapping[str, Progress], now: float) -> float | None:
    """Returns the seconds until all runs have ended, as many at once as now; None if not known or none is left.

    A run takes as long as similar ones on the same device, without such a run as others that train as many steps; a
    queued run is expected where the last one began.
    """
    still = [run for run in runs if run.status not in ENDED]
    last = max(runs, key=lambda run: run.started or 0.0)
    known = [left for run in still if (left := _left(run, last, runs, far, now)) is not None]
    if not known or len(known) < len(still):
        return None
    going = sum(run.status == "running" for run in still)
    return max(sum(known) / max(going, 1), *known)  # running beside others does not make a run shorter


def _work(run: Run) -> tuple[Any, ...]:
    """Returns how much a run trains, in a sweep of one table."""
    train = run.settings.train
    work = train.steps, train.epochs, train.time_limit, train.batch_size, train.context_rows
    return run.settings.model, run.settings.strategy in TRAINED, *work


def _machine(run: Run) -> tuple[str, str]:
    """Returns what a run's seconds depend on: the model of its GPU, or the CPU of its node; empty until planned."""
    return run.device, run.node if run.device == "CPU" else ""


def _whole(run: Run, far: Progress) -> float | None:
    """Returns the seconds that a run took or, from its steps so far, will take; None if not known."""
    if run.status in RANKED and run.result is not None and run.ended is not None and run.started is not None:
        return max(run.ended - run.started, run.result.train_wall_seconds)  # one that paused started several times
    if far.eta_seconds is None or far.total_steps is None:
        return None
    return far.eta_seconds * far.total_steps / (far.total_steps - far.done_steps)


def _left(run: Run, last: Run, runs: Sequence[Run], far: Mapping[str, Progress], now: float) -> float | None:
    here = _machine(last if run.status == "queued" else run)
    rivals = sum(other.rung >= 0 and race_of(other.settings) == race_of(run.settings) for other in runs)
    share = trained_share(rivals) if 0 <= run.rung < len(RUNGS) and rivals else 1.0  # most will stop at a rung
    if (eta := far[run.id].eta_seconds) is not None:
        return share * eta
    others = [other for other in runs if _work(other) == _work(run) and _machine(other) == here]
    alike = [other for other in others if kind_of(other.settings) == kind_of(run.settings)]
    for similar in (alike, others if run.settings.strategy in TRAINED else []):
        whole = [seconds for other in similar if (seconds := _whole(other, far[other.id])) is not None]
        if whole:
            passed = max(now - run.started, 0.0) if run.status == "running" and run.started is not None else 0.0
            return share * max(statistics.median(whole) - passed, 0.0)
    return None
