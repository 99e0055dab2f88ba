"""The run store, the only meeting point of pages, command line, worker and runs.

In: settings of runs; notes and deletions by people. Out: rows in the queue, until they are deleted.
"""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabtune_core.errors import StoreError
from tabtune_core.events import Event, RunFinished
from tabtune_core.models.catalogue import with_usual_rate
from tabtune_core.settings import RunSettings
from tabtune_core.settings.labels import distinct_labels
from tabtune_core.settings.sweep import race_of
from tabtune_core.store.database import is_folder_name, new_id
from tabtune_core.store.jobs import uses
from tabtune_core.store.run_life import RunLife
from tabtune_core.store.run_row import ENDED, RETRYABLE, Run, read_run


def default_home() -> Path:
    """Returns TABTUNE_HOME or ``~/.tabtune``; raises StoreError without the variable and a home folder."""
    try:
        return Path(os.environ.get("TABTUNE_HOME", "").strip() or Path.home() / ".tabtune")
    except RuntimeError as error:
        nowhere = "This user has no home folder for the workspace"
        raise StoreError(f"{nowhere}. Name a folder with --home or TABTUNE_HOME.") from error


class RunStore(RunLife):
    """The runs and jobs of one workspace; methods raise StoreError if it has nothing with the id."""

    def add_sweep(self, runs: Sequence[RunSettings], name: str = "", *, halving: bool = False) -> tuple[str, list[str]]:
        """Queues the runs, in this order, behind all others. Returns the sweep's id and theirs.

        A run without a learning rate is stored with its model's default. With ``halving``, runs that differ only in
        their learning rate pause at rungs, and only the better ones go on.
        """
        runs = [*map(with_usual_rate, runs)]
        rivals = Counter(map(race_of, runs))
        with self._together():
            sweep = self._add_sweep(name)
            ids = [
                self._queue(sweep, label, settings, rung=0 if halving and rivals[race_of(settings)] > 1 else -1)
                for label, settings in zip(distinct_labels(runs), runs, strict=True)
            ]
        return sweep, ids

    def add_search(
        self,
        runs: Sequence[RunSettings],
        template: RunSettings,
        *,
        seconds: float,
        last: Sequence[RunSettings] = (),
        sizes: Mapping[str, Any],
        name: str = "",
    ) -> tuple[str, list[str]]:
        """Queues the ``runs`` and the first run of a search, the ``template``. Returns the sweep's id and theirs.

        The worker asks for further runs. ``sizes`` are the fields of ``TrainedOn``.
        """
        template = with_usual_rate(template)
        with self._together():
            sweep = self._add_sweep(name)
            ends = [with_usual_rate(run).to_dict() for run in last]
            asked = json.dumps({"template": template.to_dict(), "last": ends, "sizes": dict(sizes)})
            self._write("INSERT INTO searches (sweep, seconds, asked) VALUES (?, ?, ?)", (sweep, seconds, asked))
            ids = [self._queue(sweep, run.label, run) for run in runs]
            return sweep, [*ids, self.add_try(sweep, template)]

    def add_try(self, sweep: str, settings: RunSettings) -> str:
        """Queues the next run of a search; it pauses at the rungs. Returns its id."""
        [tries] = self._read("SELECT COUNT(*) AS number FROM runs WHERE sweep = ? AND rung >= 0", (sweep,))
        return self._queue(sweep, f"{settings.label}, try {tries['number'] + 1}", settings, rung=0)

    def end_search(self, sweep: str, why: str) -> None:
        """Ends a search, and queues the runs for its end; nothing happens if it has ended."""
        search = self.search(sweep)
        with self._together():
            if search and self._write("UPDATE searches SET ended = ? WHERE sweep = ? AND ended IS NULL", (why, sweep)):
                for run in search.last:
                    self._queue(sweep, run.label, run)

    def add_ended(
        self, name: str, settings: RunSettings, events: Sequence[Event], result: RunFinished, *, sweep: str = ""
    ) -> str:
        """Adds a run that was carried out elsewhere, with its events, to ``sweep`` or a new one; returns its id."""
        with self._together():
            sweep = sweep or self._add_sweep("")
            run_id = self._queue(sweep, name, settings)
            for event in events:
                self.append(run_id, event)
            self.finish(run_id, result.outcome, result=result)
        return run_id

    def _add_sweep(self, name: str) -> str:
        sweep = new_id()
        self._write("INSERT INTO sweeps (id, name, created) VALUES (?, ?, ?)", (sweep, name, time.time()))
        return sweep

    def _queue(self, sweep: str, name: str, settings: RunSettings, *, rung: int = -1) -> str:
        run_id = new_id()
        self._write(
            "INSERT INTO runs (id, sweep, name, status, settings, created, rung, position)"
            " SELECT ?, ?, ?, 'queued', ?, ?, ?, COALESCE(MAX(position), 0) + 1 FROM runs",
            (run_id, sweep, name, json.dumps(settings.to_dict()), time.time(), rung),
        )
        return run_id

    def retry(self, run_id: str, settings: RunSettings | None = None) -> str:
        """Queues a run that failed, diverged or was ended early again in its sweep; returns the new run's id."""
        with self._together():
            old = self.run(run_id)
            if old.retried_as is not None:
                raise StoreError(f"Run {run_id!r} was already queued again as {old.retried_as!r}; use that one.")
            if old.status not in RETRYABLE:
                known = ", ".join(sorted(RETRYABLE))
                raise StoreError(f"Run {run_id!r} is {old.status}; only {known} runs can be retried.")
            same = settings is None or race_of(settings) == race_of(old.settings)
            rung = min(old.rung, 0) if same else -1  # it races again
            new = self._queue(old.sweep, old.name, settings or old.settings, rung=rung)
            self._write("UPDATE runs SET retried_as = ? WHERE id = ?", (new, run_id))
        return new

    def duplicate(self, run_id: str, settings: RunSettings, name: str | None = None) -> str:
        """Queues a run with other settings in the sweep of a run, behind all others. Returns the new run's id."""
        with self._together():
            return self._queue(self.run(run_id).sweep, name or settings.label, settings)

    def move_to_front(self, run_id: str) -> None:
        """Makes a queued run the first of the queue."""
        sql = "UPDATE runs SET position = (SELECT MIN(position) FROM runs) - 1 WHERE id = ? AND status = 'queued'"
        if not self._write(sql, (run_id,)):
            raise StoreError(f"Run {run_id!r} is {self.run(run_id).status}; only a queued run can be moved.")

    def rename(self, run_id: str, name: str) -> None:
        """Renames a run; its settings still say what it did."""
        self._write("UPDATE runs SET name = ? WHERE id = ?", (name, self.run(run_id).id))

    def annotate(self, run_id: str, note: str) -> None:
        """Stores a person's note about a run."""
        self._write("UPDATE runs SET note = ? WHERE id = ?", (note, self.run(run_id).id))

    def archive(self, run_id: str, archived: bool = True) -> None:
        """Archives a run, or takes it out of the archive; nothing is deleted."""
        self._write("UPDATE runs SET archived = ? WHERE id = ?", (archived, self.run(run_id).id))

    def delete(self, run_id: str) -> None:
        """Deletes a run that has ended or cannot be read, with its events, its folder and the jobs about it.

        With its last run, a sweep is deleted too; with the last run of a table, the arrays that runs share.
        """
        row = self._row("run", run_id)
        run = read_run(row)
        if isinstance(run, Run) and run.status not in ENDED:
            raise StoreError(f"Run {run_id!r} is {run.status}; cancel it before deleting it.")
        self.refuse_while_used(f"run {run_id!r}", run_id)
        for job in self.jobs():
            if run_id in uses(job.arguments):
                self.delete_job(job.id)
        if is_folder_name(run_id):  # the folder first: after a crash, the row can be deleted again
            shutil.rmtree(self.home / "runs" / run_id, ignore_errors=True)
        with self._together():
            self._write("DELETE FROM runs WHERE id = ?", (run_id,))
            self._write("UPDATE runs SET retried_as = NULL WHERE retried_as = ?", (run_id,))
            unused = "NOT EXISTS (SELECT 1 FROM runs WHERE sweep = sweeps.id)"
            self._write(f"DELETE FROM sweeps WHERE id = ? AND {unused}", (row["sweep"],))
        if isinstance(run, Run) and all(other.settings.dataset != run.settings.dataset for other in self.runs()):
            for file in (self.home / "shared").glob("*.npz"):  # a later run that needs one makes it again
                file.unlink(missing_ok=True)
        self.settle()
