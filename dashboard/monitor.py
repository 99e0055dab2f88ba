"""The parts of the Live page: how far a sweep is, its table, its charts, and what can be asked of a run."""

import pandas as pd
import streamlit as st

from dashboard import reading
from dashboard.charts import CHARTS
from dashboard.charts.memory import METERS, meters_read, speaking_meter
from dashboard.live_plotly import show
from dashboard.words import LOSS_UNITS, STATUS, WAY_OUT, duration, megabytes, plain, silence
from dashboard.worker_watch import Trouble
from tabtune_core.errors import StoreError
from tabtune_core.events import Note, RunPlanned
from tabtune_core.metrics import METRICS, Task, metrics_of
from tabtune_core.runs.series import Progress, progress
from tabtune_core.runs.store import ENDED, RANKED, RETRYABLE, Run

FIRST: dict[Task, str] = {"classification": "accuracy", "regression": "rmse"}
SECOND: dict[Task, str] = {"classification": "log_loss", "regression": "r2"}
"""The scores that a person looks at first; the second can be changed."""


def worker_trouble(trouble: Trouble | None) -> None:
    """Says that runs wait for a worker that does not stay up."""
    if trouble is None:
        return
    times = "once" if trouble.starts == 1 else f"{trouble.starts} times"
    st.error(
        f"The worker, which carries out the runs, was started {times} and is not there. Its log is {plain(str(trouble.log))};"
        f" it ends {'so:' if trouble.last_lines else 'without a word.'}"
    )
    if trouble.last_lines:
        st.code(trouble.last_lines, language=None, wrap_lines=True)
    st.button("Start the worker again", on_click=reading.keep_worker, icon=":material/replay:")


def share_done(run: Run, far: Progress) -> float:
    """How much of a run is behind it, 0 to 1, by its training steps."""
    if run.status in RANKED:
        return 1.0
    return min(far.done_steps / far.total_steps, 1.0) if far.total_steps else 0.0


def overall(runs: list[Run], named: dict[str, str], far: dict[str, Progress]) -> None:
    """One bar and one sentence for the whole sweep."""
    ended = sum(run.status in ENDED for run in runs)
    share = sum(1.0 if run.status in ENDED else share_done(run, far[run.id]) for run in runs) / len(runs)
    sentence = f"{ended} of {len(runs)} runs have ended."
    for run in runs:
        if run.status == "running":
            here = far[run.id]
            steps = f", step {here.done_steps} of {here.total_steps}" if here.total_steps else ""
            left = f", about {duration(here.eta_seconds)} of training left" if here.eta_seconds is not None else ""
            wish = {"stop": " It stops after this step.", "cancel": " It is being cancelled."}.get(run.wish or "", "")
            quiet = f" There is {silence(run)}." if silence(run) else ""
            sentence += f" {named[run.id]}: {here.phase or 'starting'}{steps}{left}.{quiet}{wish}"
    st.progress(share, sentence)


def last_by_run(frame: pd.DataFrame, column: str) -> dict[str, float]:
    """The latest number of each run."""
    known = frame.dropna(subset=[column]) if column in frame else frame.iloc[:0]
    return {} if known.empty else known.groupby("run", observed=True)[column].last().to_dict()


def best_by_run(scores: pd.DataFrame, metric: str) -> dict[str, float]:
    """The best validation score of each run."""
    shown = scores[scores["split"] == "validation"]
    if metric not in shown:
        return {}
    by_run = shown.dropna(subset=[metric]).groupby("run", observed=True)[metric]
    return (by_run.max() if METRICS[metric].higher_is_better else by_run.min()).to_dict()


def runs_table(runs: list[Run], named: dict[str, str], far: dict[str, Progress], frames: dict[str, pd.DataFrame], metric: str) -> None:
    """One line a run, up to the second."""
    loss, best = last_by_run(frames["steps"], "loss"), best_by_run(frames["scores"], metric)
    held = last_by_run(frames["memory"], "resident_bytes") | last_by_run(frames["memory"], "torch_allocated_bytes")
    label, loss_title = METRICS[metric].label, f"Loss ({LOSS_UNITS[METRICS[metric].task]})"
    digits = METRICS[metric].decimals(max(best.values(), key=abs, default=0.0))
    rows = [
        {
            "Run": named[run.id],
            "Status": ", ".join(filter(None, (STATUS[run.status], silence(run)))),
            "Phase": far[run.id].phase or "",
            "Progress": round(100 * share_done(run, far[run.id])),
            "Steps": f"{far[run.id].done_steps} / {far[run.id].total_steps}" if far[run.id].total_steps else "",
            "Time left": duration(far[run.id].eta_seconds) if run.status == "running" and far[run.id].eta_seconds is not None else "",
            loss_title: loss.get(named[run.id]),
            f"Best validation {label}": best.get(named[run.id]),
            "Memory now": megabytes(held.get(named[run.id])) if run.status == "running" else "",
        }
        for run in runs
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height="content" if len(rows) < 13 else 480,
        placeholder="",
        column_config={
            "Run": st.column_config.TextColumn(pinned=True),
            "Progress": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%d%%", width="small"),
            loss_title: number(format="%.4f"),
            f"Best validation {label}": number(format=f"%.{digits}f", help=f"{METRICS[metric].unit}. {METRICS[metric].help}"),
            "Time left": st.column_config.TextColumn(help="Of training, if it does not stop early. Known from the fifth step on."),
            "Memory now": st.column_config.TextColumn(help="What torch uses of the GPU; on the CPU, the process's resident memory."),
        },
    )


def charts(runs: list[Run], named: dict[str, str], frames: dict[str, pd.DataFrame], *, key: str) -> None:
    """The curves of all runs of the sweep. They keep their zoom while points arrive."""
    steps, scores, samples, phases = frames["steps"], frames["scores"], frames["memory"], frames["phases"]
    task = runs[0].settings.task
    first, others = FIRST[task], metrics_of(task)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        x = st.segmented_control(
            "Curves over",
            ["step", "seconds"],
            default="step",
            required=True,
            key="live_x",
            persist_state="session",
            format_func={"step": "Steps", "seconds": "Seconds"}.__getitem__,
        )
        metric = st.selectbox(
            "Second score",
            others,
            others.index(SECOND[task]),
            key=f"live_metric_{task}",
            format_func=lambda name: METRICS[name].label,
            width=220,
            help=f"The first is {METRICS[first].label}; the sweep's own score decides which state is kept.",
            persist_state="session",
        )
        log = st.toggle("Logarithmic", key="live_log", help="Vertical axes of loss, score and memory.", persist_state="session")

    left, right = st.columns(2)
    with left:
        score_heading(first)
        drawn = CHARTS["score"].draw(scores, metric=first, x=x)
        show(drawn, key=f"{first}_{key}", label=f"Validation {METRICS[first].label} of each run", numbers=scores)
    with right:
        score_heading(metric)
        drawn = CHARTS["score"].draw(scores, metric=metric, x=x, log=log)
        show(drawn, key=f"score_{key}", label=f"Validation {METRICS[metric].label} of each run", numbers=scores)
    left, right = st.columns(2)
    with left:
        heading("Training loss", "loss")
        drawn = CHARTS["loss"].draw(steps, unit=LOSS_UNITS[task], x=x, log=log)
        show(drawn, key=f"loss_{key}", label="Training loss of each run", numbers=steps)
    with right:
        memory_chart(runs, named, samples, phases, log=log, key=key)
    more = st.tabs(["Time of a step", "Memory by phase", "Gradient norm", "Learning rate"], key=f"more_{key}", on_change="rerun")
    drawn = [
        lambda: CHARTS["seconds"].draw(steps, cumulative=st.toggle("Add up", key="live_cumulative")),
        lambda: CHARTS["phase_peaks"].draw(phases),
        lambda: CHARTS["gradient_norm"].draw(steps, x=x, log=log),
        lambda: CHARTS["learning_rate"].draw(steps, x=x),
    ]
    for tab, draw, name in zip(more, drawn, ("seconds", "phase_peaks", "gradient_norm", "learning_rate"), strict=True):
        if tab.open:
            with tab:
                st.caption(CHARTS[name].help)
                show(draw(), key=f"{name}_{key}", label=CHARTS[name].help, numbers=phases if name == "phase_peaks" else steps)


def heading(text: str, chart: str) -> None:
    """The title above a chart, with what one reads off it."""
    st.markdown(f"**{text}**", help=CHARTS[chart].help)


def score_heading(metric: str) -> None:
    """The title above a chart of a score."""
    st.markdown(f"**{METRICS[metric].label}**", help=f"{METRICS[metric].help} {CHARTS['score'].help}")


def memory_chart(runs: list[Run], named: dict[str, str], samples: pd.DataFrame, phases: pd.DataFrame, *, log: bool, key: str) -> None:
    """Memory on a meter that this machine has, with the phases of one run shaded."""
    meters, usual = meters_read(samples) or ["resident_bytes"], speaking_meter(samples)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        heading("Memory", "memory")
        if len(meters) > 1:
            meter = st.selectbox(
                "Meter", meters, meters.index(usual), key=f"live_meter_{usual}", format_func=METERS.__getitem__,
                label_visibility="collapsed", width=260,
            )  # fmt: skip
        else:
            meter = meters[0]
            st.caption("GPU memory: N/A (no NVIDIA meter was read)")
    begun = [run for run in runs if run.started is not None]
    shaded = next((run for run in begun if run.status == "running"), begun[-1] if begun else None)
    one = phases[phases["run"] == named[shaded.id]] if shaded else None
    show(CHARTS["memory"].draw(samples, meter=meter, phases=one, log=log), key=f"memory_{key}", label="Memory of each run", numbers=samples)
    if shaded:
        st.caption(f"Shaded: the phases of {named[shaded.id]}.")
        card_caption(samples[samples["run"] == named[shaded.id]], named[shaded.id])


def card_caption(samples: pd.DataFrame, name: str) -> None:
    """How busy, hungry and warm the card was at the last look, where the driver says so."""
    units = {"utilisation_percent": "{:.0f} % busy", "power_watts": "{:.0f} W", "temperature_celsius": "{:.0f} °C"}
    last = {column: last_by_run(samples, column).get(name) for column in units}
    told = [units[column].format(value) for column, value in last.items() if value is not None]
    if told:
        st.caption(f"GPU at the last look at {name}: {', '.join(told)}.")


def ask(run_ids: list[str], wish: str) -> None:
    """Asks runs to stop or cancel."""
    for run_id in run_ids:
        reading.store().ask(run_id, wish)  # type: ignore[arg-type]


def again(run_id: str) -> None:
    """Queues a run once more."""
    try:
        reading.store().retry(run_id)
    except StoreError as error:
        st.toast(str(error))
        return
    reading.keep_worker()


def sweep_buttons(runs: list[Run], key: str) -> None:
    """Stop or cancel all that is still to come."""
    going = [run.id for run in runs if run.status not in ENDED]
    with st.container(horizontal=True):
        st.button(
            "Stop all, keep the best",
            on_click=ask,
            args=(going, "stop"),
            disabled=not going,
            key=f"stop_all_{key}",
            icon=":material/stop_circle:",
            help="What is running ends after its current step and keeps its best state; what waits is cancelled.",
        )
        st.button(
            "Cancel all",
            on_click=ask,
            args=(going, "cancel"),
            disabled=not going,
            key=f"cancel_all_{key}",
            icon=":material/cancel:",
            help="What is running is discarded; what waits is cancelled.",
        )


def one_run(run: Run, name: str) -> None:
    """What can be asked of one run, what it said, and its log."""
    with st.container(horizontal=True):
        running = run.status == "running"
        st.button(
            "Stop and keep the best",
            on_click=ask,
            args=([run.id], "stop"),
            disabled=not running or run.wish is not None,
            key=f"stop_{run.id}",
            icon=":material/stop_circle:",
            help="Ends after the current step; the best state so far becomes the result.",
        )
        st.button(
            "Cancel and discard",
            on_click=ask,
            args=([run.id], "cancel"),
            disabled=run.status in ENDED or run.wish == "cancel",
            key=f"cancel_{run.id}",
            icon=":material/cancel:",
            help="Ends at once; nothing is kept.",
        )
        st.button(
            "Run again",
            on_click=again,
            args=(run.id,),
            disabled=run.status not in RETRYABLE or run.retried_as is not None,
            key=f"again_{run.id}",
            icon=":material/replay:",
            help="Queues the same settings once more. For runs that failed, diverged, were cut off or cancelled.",
        )
    if run.error:
        st.error(f"{name}: {plain(run.error)}")
    if run.status in WAY_OUT and not (run.status == "interrupted" and run.error):
        (st.warning if run.status == "diverged" else st.info)(WAY_OUT[run.status])
    if run.retried_as:
        st.caption("This run was queued again; the new run is in the same sweep.")
    if run.result and run.result.best_step == 0 and run.settings.strategy != "inference":
        st.warning("No gain over zero-shot: no trained state did better on the validation rows, so the pretrained model is given back.")
    for stored in reading.store().events(run.id, ["Note"]):
        if isinstance(stored.event, Note):
            st.caption(f"{':material/warning:' if stored.event.severity == 'warning' else ':material/info:'} {plain(stored.event.text)}")
    planned = reading.store().last(run.id, "RunPlanned")
    if planned and isinstance(planned.event, RunPlanned):
        plan = planned.event
        st.caption(
            f"On {plan.device}: {plan.steps:,} steps, {plan.train_rows:,} training, {plan.validation_rows:,} validation and"
            f" {plan.test_rows:,} test rows, {plan.context_rows:,} context and {plan.query_rows:,} query rows a step,"
            f" {plan.features:,} features;"
            f" {plan.trainable_parameters:,} of {plan.total_parameters:,} parameters are trained."
        )
    log = st.expander("Log (last 200 lines)", key=f"log_{run.id}", on_change="rerun", icon=":material/article:")
    if log.open:
        log.code(reading.log_tail(run.id) or "This run has written no log yet.", language=None, wrap_lines=True, height=320)


def far_along(runs: list[Run]) -> dict[str, Progress]:
    """Progress of every run."""
    return {run.id: progress(reading.store(), run) for run in runs}
