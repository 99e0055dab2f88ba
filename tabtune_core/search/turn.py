"""A search in the worker's turn: counts its time, and asks for its next run when there is a place for one.

In: searches that go on. Out: their next run in the queue, or their end. A workspace has one worker, so two programs
that follow one search never ask twice.
"""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace

from tabtune_core.errors import TabTuneError
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_row import ENDED, Run
from tabtune_core.store.runs import RunStore
from tabtune_core.store.searches import Search

MOST_FAILURES = 3
"""Runs that fail one after the other before a search ends."""
LONGEST_TURN = 60.0
"""Seconds that one turn counts at most: a machine that slept did not search."""

_log = logging.getLogger(__name__)


class Searching:
    """The searches of a workspace, turn by turn."""

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self._looked = time.monotonic()

    def look(self, going: Collection[str], is_free: Callable[[Run], bool], *, here: bool) -> None:
        """Counts the time of searches whose runs are ``going``, and asks for the next run where one ``is_free``.

        ``here``: runs use this machine, so its memory limits them.
        """
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, LONGEST_TURN), now
        for search in self.store.searches_that_go_on():
            runs = self.store.runs(search.sweep)
            if any(run.id in going for run in runs):
                self.store.spend(search.sweep, passed)
            ended = [run for run in runs if run.status in ENDED]
            if ended and not any(run.status == "queued" for run in runs) and is_free(_probe(ended[0], search)):
                ask(self.store, search, runs, here=here)


def _probe(run: Run, search: Search) -> Run:
    """Returns a run that asks for what the next one will need; its row has ended, so nothing can become of it."""
    return replace(run, settings=search.template)


def ask(store: RunStore, search: Search, runs: list[Run], *, here: bool = True) -> None:
    """Queues the next run of a search, or ends it."""
    from tabtune_core.analysis.launch_checks import stopped_by_request, too_large
    from tabtune_core.analysis.runtime_estimate import TrainedOn, known_paces
    from tabtune_core.search.budget import Clock, in_words
    from tabtune_core.search.proposer import propose
    from tabtune_core.search.space import space_of

    trained_on = TrainedOn(**search.sizes)
    clock = Clock(known_paces(store, search.template.model), trained_on, _overhead(runs))
    left = search.left - clock.of_all(search.last)

    def refused(run: RunSettings) -> str | None:
        if (seconds := clock.seconds_of(run)) is not None and seconds > left:
            return (
                f"Its time is spent: {in_words(max(left, 0))} remain, and another run takes about {in_words(seconds)}."
            )
        stops = stopped_by_request([run]) if here else []
        return str(stops[0]) if stops else str(found) if here and (found := too_large(store.home, [run])) else None

    try:
        tried = [run for run in runs if run.rung >= 0 and run.status in ENDED]
        if left <= 0:
            store.end_search(search.sweep, f"Its {in_words(search.seconds)} are spent.")
        elif len(tried) >= MOST_FAILURES and all(
            one.status in ("failed", "interrupted") for one in tried[-MOST_FAILURES:]
        ):
            store.end_search(search.sweep, f"{MOST_FAILURES} runs failed one after the other: {tried[-1].error}")
        else:
            chosen, why = propose(store, space_of(search), refused)
            if chosen is None:
                store.end_search(search.sweep, why)
            elif store.searching(search.sweep):  # else paused meanwhile
                store.add_try(search.sweep, chosen)
    except TabTuneError as error:  # for example, the table was deleted
        _log.warning("Search %s ends: %s", search.sweep, error)
        store.end_search(search.sweep, str(error))


def _overhead(runs: list[Run]) -> float:
    """Returns the seconds of the zero-shot run, which loads and predicts as every run does; 0 if it is not known."""
    shots = [run for run in runs if run.settings.strategy == "inference" and run.status == "finished"]
    return max(0.0, (shots[0].ended or 0.0) - (shots[0].started or 0.0)) if shots else 0.0
