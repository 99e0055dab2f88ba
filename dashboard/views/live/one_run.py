"""One run: its problems and their remedies, its buttons, its notes and its log."""

from typing import Any

import streamlit as st

from dashboard import queries
from dashboard.components.unreadable import queue
from dashboard.formatting import WAY_OUT, plain, status_of
from dashboard.url_state import asked_for, keep
from dashboard.views.live.actions import again, to_the_form, wish_button
from tabtune_core.analysis.run_diagnostics import GUIDE, troubles
from tabtune_core.events import Note, PhaseStarted, RunFailed, RunPlanned
from tabtune_core.execution.executor import LOCAL
from tabtune_core.settings import REFERENCES
from tabtune_core.store.run_row import ENDED, RETRYABLE, Run
from tabtune_core.wording import counted

FOLLOW = "follow"
"""In place of a run's id: the run in progress."""


def pick_run(runs: list[Run], named: dict[str, str], sweep: str) -> Run:
    """Returns the run that is named, else the one in progress, one that failed, or the first; raises StoreError.

    Only a person's choice is put into the box: the browser would send back a choice made by code as a person's.
    """
    key, options = f"one_run_{sweep}", [FOLLOW, *named]
    asked = asked_for("run", key)
    if asked in named or st.session_state.get(key) not in options:
        st.session_state[key] = asked if asked in named else FOLLOW
    # the index is passed too, because the browser shows it before its first answer
    place = options.index(st.session_state[key])
    words = {FOLLOW: "The current run"} | named
    look: dict[str, Any] = {"label_visibility": "collapsed", "persist_state": "session"}
    chosen = st.selectbox("Run", options, place, format_func=words.__getitem__, key=key, **look)
    keep("run", None if chosen == FOLLOW else chosen)
    current = [*(run for run in runs if run.status == "running"), *(run for run in runs if run.error), *runs][0]
    return queries.store().run(current.id if chosen == FOLLOW else chosen)


def one_run(run: Run, name: str) -> None:
    """Draws everything about one run."""
    plan = queries.store().last_event(run.id, RunPlanned)
    notes = [stored.event for stored in queries.store().events(run.id, ["Note"]) if isinstance(stored.event, Note)]
    about = [_plan_in_words(run, plan)] if plan else []
    about += [plain(note.text) for note in notes if plan and note.severity != "warning"]
    st.markdown(f"**{plain(name)}** · {status_of(run)}", help="\n\n".join(about) or None)
    buttons(run)
    trouble(run, name, plan)
    if run.note:
        st.caption(f":material/sticky_note_2: {plain(run.note)}")
    if run.retried_as:
        st.caption("This run was queued again; the new run is in the same sweep.")
    for note in notes:
        if note.severity == "warning":
            st.caption(f":material/warning: {plain(note.text)}")
    log = st.expander("Log (last 200 lines)", key=f"log_{run.id}", on_change="rerun", icon=":material/article:")
    if log.open:
        text = queries.log_tail(run.id) or "This run has written no log yet."
        log.code(text, language=None, wrap_lines=True, height=320)


def _plan_in_words(run: Run, plan: RunPlanned) -> str:
    """Says where a run computes, with how many rows, and what it trains."""
    by = f", by {plain(run.executor)}" if run.executor not in ("", LOCAL) else ""
    where = f"{plain(plan.device)}{f' of {plain(run.node)}' if run.node else ''}{by}"
    rows = f"{plan.train_rows:,} training, {plan.validation_rows:,} validation and {plan.test_rows:,} test rows"
    if run.settings.strategy in REFERENCES:
        return f"On {where}, with scikit-learn: {rows}."
    trained = f"{plan.trainable_parameters:,} of {plan.total_parameters:,} parameters are trained"
    context = f"{plan.context_rows:,} context rows at prediction"
    if plan.train_context_rows is not None:
        context = f"{plan.train_context_rows:,} context and {plan.query_rows:,} query rows a step, {context}"
    return f"On {where}: {counted(plan.steps, 'step')}, {rows}, {context}; {trained}."


def buttons(run: Run) -> None:
    """Draws the buttons of a run."""
    with st.container(horizontal=True):
        if run.status == "running" and run.wish is None:
            stopped = "Ends after the current step; the best checkpoint so far becomes the result."
            wish_button("Stop and keep the best", [run.id], "stop", key=run.id, help=stopped)
        if run.status not in ENDED and run.wish != "cancel":
            wish_button("Cancel and discard", [run.id], "cancel", key=run.id, help="Ends at once; nothing is kept.")
        if may_retry(run):
            help, icon = "Queues the same settings again.", ":material/replay:"
            st.button("Run again", on_click=again, args=(run,), key=f"again_{run.id}", icon=icon, help=help)
        if run.status == "interrupted" and run.retried_as is None:
            means = "The run has no saved state, so it starts again from the beginning."
            if queries.store().has_last_state(run.id):
                means = "Continues from its last saved state, with the scores and curves of a run without interruption."
            args, key, icon = (queries.store().resume, run.id), f"resume_{run.id}", ":material/play_circle:"
            st.button("Resume", key, means, on_click=queue, args=args, type="primary", icon=icon)
        form = "Opens New run with the settings of this run."
        if st.button("Change and queue", key=f"form_{run.id}", icon=":material/tune:", help=form):
            to_the_form([run])


def may_retry(run: Run) -> bool:
    """Returns True if the run may be queued again."""
    return run.status in RETRYABLE and run.retried_as is None


def trouble(run: Run, name: str, plan: RunPlanned | None) -> None:
    """Shows what is wrong with a run, what helps, and a button for a fix that can be tried at once."""
    failed = queries.store().last_event(run.id, RunFailed) if run.status in ("failed", "interrupted") else None
    entered = queries.store().last_event(run.id, PhaseStarted)
    found = troubles(run, plan, failed.kind if failed else "", entered.phase if entered else None)
    if run.error and not any(seen.kind == "memory" for seen in found):
        st.error(f"{plain(name)}: {plain(run.error)}")
    for seen in found:
        row = GUIDE[seen.kind]
        text = f"**{row.symptom}.** {plain(seen.seen)}  \n{row.first}; then {row.then}."
        st.warning(text, icon=":material/build:")
        if seen.fix:
            args, key, icon = (run, seen.fix.settings, seen.fix.name), f"fix_{seen.kind}_{run.id}", ":material/replay:"
            may = may_retry(run)
            st.button(seen.fix.label, key, on_click=again, args=args, type="primary", icon=icon, disabled=not may)
    if run.status in WAY_OUT and not found and not (run.status == "interrupted" and run.error):
        st.info(WAY_OUT[run.status])
