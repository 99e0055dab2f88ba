"""Data that the tabs of the Compare page share: one sweep, its runs with distinct names, and their numbers."""

from dataclasses import dataclass

import pandas as pd

from dashboard import queries
from dashboard.queries.curves import Legend, legend_of
from tabtune_core.metrics import METRICS, Task
from tabtune_core.store.run_row import RANKED, Run

NO_LORA = "No LoRA run of this sweep has a result yet."


@dataclass(frozen=True, slots=True)
class Compared:
    """A sweep as the page shows it."""

    sweep: str
    metric: str
    """The score that a person chose."""
    runs: list[Run]
    """All runs that are not archived, in queue order."""
    legend: Legend
    """Their names and styles."""
    board: pd.DataFrame
    """The leaderboard by that score; ``run`` is the name, ``id`` the run's id."""

    @classmethod
    def of(cls, sweep: str, metric: str) -> "Compared":
        """Reads the store; raises StoreError if the sweep is gone."""
        every = queries.listed(sweep)
        runs = [run for run in every if not run.archived]
        legend = legend_of(runs, every)
        board = queries.ranked(sweep, metric)
        board = board[board["run"].isin(legend.labels)].reset_index(drop=True)
        return cls(sweep, metric, runs, legend, legend.name(board.assign(id=board["run"])))

    @property
    def task(self) -> Task:
        """The task of the score."""
        return METRICS[self.metric].task

    @property
    def done(self) -> list[Run]:
        """The runs with a result."""
        return [run for run in self.runs if run.status in RANKED]

    @property
    def lora(self) -> list[Run]:
        """Those of them that trained LoRA, best first."""
        place = {run_id: place for place, run_id in enumerate(self.board["id"])}
        lora = [run for run in self.done if run.settings.strategy == "peft"]
        return sorted(lora, key=lambda run: place.get(run.id, len(place)))
