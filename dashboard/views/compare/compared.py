"""What the parts of the Compare page share: one sweep, its runs under one name each, and their numbers."""

from dataclasses import dataclass

import pandas as pd

from dashboard import queries
from dashboard.queries.curves import Legend, legend_of
from tabtune_core.metrics import METRICS, Task
from tabtune_core.store.run_row import RANKED, Run


@dataclass(frozen=True, slots=True)
class Compared:
    """A sweep as the page shows it."""

    sweep: str
    metric: str
    """The score that a person chose."""
    runs: list[Run]
    """All that are not archived, in the order of the queue."""
    legend: Legend
    """What they are called and how they look."""
    board: pd.DataFrame
    """The leaderboard by that score, with ``run`` as the name and ``id``."""

    @classmethod
    def of(cls, sweep: str, metric: str) -> "Compared":
        """Reads the store.

        Raises:
            StoreError: the sweep no longer exists.
        """
        every = queries.listed(sweep)
        runs = [run for run in every if not run.archived]
        legend = legend_of(runs, every)
        board = queries.ranked(sweep, metric)
        board = board[board["run"].isin(legend.labels)].reset_index(drop=True)
        return cls(sweep, metric, runs, legend, legend.name(board.assign(id=board["run"])))

    @property
    def named(self) -> dict[str, str]:
        """What a run is called here, by id."""
        return self.legend.labels

    @property
    def task(self) -> Task:
        """Of the score."""
        return METRICS[self.metric].task

    @property
    def done(self) -> list[Run]:
        """The runs with a result."""
        return [run for run in self.runs if run.status in RANKED]

    def as_run(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with its column ``run`` (ids) as names, so that a run looks the same in every chart."""
        return self.legend.name(frame)
