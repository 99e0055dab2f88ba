"""Ranks many pipelines on the same rows: a sweep over frames instead of a file.

In: train and test rows, and what to fit. Out: one row per entry. Scores on validation rows, taken out of the training
rows, decide the ranking; scores on the test rows are only reported. Each fit is a run of a workspace.
"""

import dataclasses
import time
import weakref
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd

from tabtune_core.analysis.runs_table import best_first, leaderboard, of_task
from tabtune_core.api.pipeline import TabularPipeline
from tabtune_core.api.tuning_params import WITHHOLDING
from tabtune_core.errors import SettingError, TabTuneError
from tabtune_core.files.whole import write_text
from tabtune_core.metrics import SELECTION, Task, metrics_of
from tabtune_core.scratch import scratch_folder
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

_FACTS = ["place", "name", "strategy", "rank", "alpha", "dropout", "seed"]
_COSTS = ["trainable_percent", "train_seconds", "growth_memory_bytes", "status", "note"]
_HIDDEN = ["run", "sweep", "dataset", "target", "held_out_set", "gain", "test_gain", "apart", "archived"]
"""Columns of a workspace's board without a meaning here; a gain has no interval without predictions."""


class TabularLeaderboard:
    """Compares models, strategies and ranks on one table.

    Every entry, zero-shot included, is scored twice. For the ranking, a share of ``X_train`` is withheld and predicted
    with the other rows as context. For the test scores, all of ``X_train`` is the context, as after
    ``TabularPipeline.fit``. An entry has one learning rate and one seed; ``loralab sweep`` gives each rank the best of
    several rates, and intervals.
    """

    def __init__(
        self,
        X_train: Any,
        X_test: Any,
        y_train: Any,
        y_test: Any,
        *,
        task: Task = "classification",
        folder: str | Path | None = None,
        validation_share: float = 0.2,
        validation_rows: int = 2000,
    ) -> None:
        """Keeps the rows; nothing runs before ``run``.

        Args:
            X_train: rows for training and validation.
            X_test: rows whose scores are only reported.
            y_train: a class or number for each row of ``X_train``.
            y_test: the same for ``X_test``.
            task: 'classification' or 'regression', of all entries.
            folder: a workspace for the finished fits, without the rows; by default they are forgotten afterwards.
            validation_share: share of the rows of ``X_train`` that is withheld from every entry.
            validation_rows: maximum number of validation rows; if there are more, a stratified sample is scored.
        """
        self._train, self._test, self._task = (X_train, y_train), (X_test, y_test), task
        self._held_out = {"validation_share": validation_share, "validation_rows": validation_rows}
        if folder is None:
            weakref.finalize(self, (stack := ExitStack()).close)
            folder = stack.enter_context(scratch_folder())
        self._store = RunStore(Path(folder))
        self._entries: dict[str, tuple[RunSettings, dict[str, Any]]] = {}
        self._runs: dict[str, Run] = {}
        self._errors: dict[str, str] = {}
        self._rank_by = SELECTION[task]

    def add_model(
        self,
        model_name: str,
        strategy: str = "peft",
        *,
        name: str | None = None,
        tuning_params: dict[str, Any] | None = None,
    ) -> None:
        """Adds an entry.

        Args:
            model_name: as ``TabularPipeline`` takes it.
            strategy: 'peft', 'base-ft' or 'inference'.
            name: of its row; by default the model and the run's label.
            tuning_params: as ``TabularPipeline`` takes them, except those that withhold rows.

        Raises:
            SettingError: a setting is invalid, or another entry has the name.
        """
        for own in WITHHOLDING:
            if own in (tuning_params or {}):
                same = "but all entries are ranked on the same validation rows"
                own_rows = f"'{own}' is in the tuning_params of an entry, {same}"
                raise SettingError(f"{own_rows}. Leave it out, or set it for all: TabularLeaderboard(..., {own}=...).")
        pipeline = TabularPipeline(model_name, strategy, dict(tuning_params or {}), self._task)
        settings = pipeline.settings().changed(**self._held_out)
        name = name or f"{model_name} {settings.label}"
        if name in self._entries:
            raise SettingError(f"There is an entry {name!r} already; give this one another name=.")
        self._entries[name] = settings, pipeline.get_params()

    def run(self, rank_by: str | None = None) -> pd.DataFrame:
        """Runs the entries that have not run yet or have failed, and returns all entries, best validation score first.

        An entry that fails does not stop the others. Its row has no place and gives the reason in ``note``. To see
        whether training helps, compare the test scores with those of an 'inference' entry.

        Args:
            rank_by: a metric of the task; by default log-loss, or RMSE for regression.

        Raises:
            SettingError: the task does not have the metric.
        """
        rank_by, known = rank_by or SELECTION[self._task], metrics_of(self._task)
        if rank_by not in known:
            fitting = f"for {self._task} known are {', '.join(known)}"
            raise SettingError(f"The leaderboard cannot rank by {rank_by!r}; {fitting}.")
        self._rank_by, self._errors = rank_by, {}
        for name, (settings, params) in self._entries.items():
            try:
                if name not in self._runs:
                    self._runs[name] = self._fit(name, settings, params)
            except TabTuneError as refused:
                self._errors[name] = str(refused)
            except (RuntimeError, MemoryError, ValueError, OSError) as broken:  # a GPU's full memory: RuntimeError
                self._errors[name] = f"{type(broken).__name__}: {broken}"
        return self._board()

    def get_ranking(self) -> pd.DataFrame:
        """Returns the ranking in short: the ranking score on validation and test rows, and the costs.

        Raises:
            SettingError: nothing has run.
        """
        return self._board()[[*_FACTS, f"validation_{self._rank_by}", f"test_{self._rank_by}", *_COSTS]]

    def to_html(self, path: str | Path) -> None:
        """Writes one HTML page that needs no network: charts of score against cost, the curves, and the leaderboard."""
        from tabtune_core.analysis.sweep_page import sweep_page

        self._board()
        write_text(Path(path), sweep_page(self._store, next(iter(self._runs.values())).sweep, self._rank_by))

    def _fit(self, name: str, settings: RunSettings, params: dict[str, Any]) -> Run:
        """Fits and tests an entry, and stores the run in the sweep of this leaderboard."""
        pipeline = TabularPipeline(**params)
        pipeline._fit(*self._train, settings, withhold=True)
        started = time.monotonic()
        scores = pipeline.evaluate(*self._test)
        result = dataclasses.replace(pipeline.result, test=scores, predict_seconds=time.monotonic() - started)
        sweep = next((run.sweep for run in self._runs.values()), "")
        return self._store.run(self._store.add_ended(name, settings, pipeline.history[:-1], result, sweep=sweep))

    def _board(self) -> pd.DataFrame:
        if not self._runs and not self._errors:
            raise SettingError("Nothing has run yet: add entries with add_model() and call run().")
        board = of_task(leaderboard(list(self._runs.values()), self._rank_by), self._task).drop(columns=_HIDDEN)
        for name, error in self._errors.items():
            own = self._entries[name][0]
            row = {"name": name, "model": own.model, "strategy": own.strategy, "status": "failed", "note": error}
            board.loc[len(board), list(row)] = list(row.values())
        # entries may differ in anything: unlike in a workspace, none is set apart
        return best_first(board, board[f"validation_{self._rank_by}"], self._rank_by).astype({"place": "Int64"})
