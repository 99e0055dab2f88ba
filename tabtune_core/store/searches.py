"""Searches: sweeps whose next run is chosen from the results so far, until their time is spent.

In: the time that a person gave, and the settings to start from. Out: which searches go on. The runs are in their own
table, so a search that is interrupted goes on from what they say.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tabtune_core.settings import RunSettings
from tabtune_core.store.database import Database

GOES_ON = "ended IS NULL"
"""SQL: a search asks for more runs."""
PAUSED = "It was stopped before its time was spent, and can go on."
"""Why a search asks for no more runs until a person lets it go on."""


@dataclass(frozen=True, slots=True)
class Search:
    """One search, in the sweep of the same id."""

    sweep: str
    seconds: float
    """How long it may take."""
    spent: float
    """Seconds during which its runs ran; the time of a worker that was not there does not count."""
    template: RunSettings
    """The settings to start from, of a LoRA run."""
    last: tuple[RunSettings, ...]
    """Runs that are queued at its end, such as full fine-tuning."""
    sizes: Mapping[str, Any]
    """Fields of ``TrainedOn``: the sizes of the table and the device."""
    ended: str
    """Why it asks for no more runs; empty until then."""

    @property
    def left(self) -> float:
        """Seconds that remain."""
        return self.seconds - self.spent


class SearchLog(Database):
    """The table of searches."""

    def search(self, sweep: str) -> Search | None:
        """Returns the search of a sweep; None if it is an ordinary sweep."""
        searches = self._searches("sweep = ?", sweep)
        return searches[0] if searches else None

    def searches_that_go_on(self) -> list[Search]:
        """Returns the searches that may ask for more runs, oldest first."""
        return self._searches(GOES_ON)

    def searching(self, sweep: str) -> bool:
        """Whether a sweep is a search that may ask for more runs."""
        return bool(self._read(f"SELECT 1 FROM searches WHERE sweep = ? AND {GOES_ON}", (sweep,)))

    def spend(self, sweep: str, seconds: float) -> None:
        """Adds seconds during which runs of the search ran."""
        self._write("UPDATE searches SET spent = spent + ? WHERE sweep = ?", (seconds, sweep))

    def pause_search(self, sweep: str) -> None:
        """A search asks for no more runs; nothing happens to an ordinary sweep or a search that has ended."""
        self._write("UPDATE searches SET ended = ? WHERE sweep = ? AND ended IS NULL", (PAUSED, sweep))

    def resume_search(self, sweep: str) -> None:
        """Lets a search that was paused go on; nothing happens to others."""
        self._write("UPDATE searches SET ended = NULL WHERE sweep = ? AND ended = ?", (sweep, PAUSED))

    def _searches(self, where: str, *values: str) -> list[Search]:
        sql = f"SELECT sweep, seconds, spent, asked, ended FROM searches WHERE {where} ORDER BY rowid"
        rows = self._read(sql, values)
        searches = []
        for sweep, seconds, spent, asked, ended in rows:
            parts = json.loads(asked)
            template, last = RunSettings.from_dict(parts["template"]), tuple(map(RunSettings.from_dict, parts["last"]))
            searches.append(Search(sweep, seconds, spent, template, last, parts["sizes"], ended or ""))
        return searches
