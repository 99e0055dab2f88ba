"""Ranks many pipelines on the same rows: a sweep over frames instead of a file.

In: train and test rows, and what to fit. Out: one row per entry, with means over its seeds. Scores on validation rows,
taken out of the training rows, decide the ranking; scores on the test rows are only reported. Each fit is a run of a
workspace. Entries with the same seed have the same validation rows and the same context rows for them.
"""

import dataclasses
import hashlib
import time
import weakref
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.analysis.configurations import WHERE, by_configuration
from tabtune_core.analysis.intervals import half_width
from tabtune_core.analysis.runs_table import best_first, leaderboard, of_task
from tabtune_core.api.pipeline import TabularPipeline
from tabtune_core.api.tuning_params import WITHHOLDING
from tabtune_core.data.arrays import read_rows
from tabtune_core.data.values import with_column, words
from tabtune_core.errors import SettingError, TabTuneError
from tabtune_core.files.whole import write_text
from tabtune_core.metrics import SELECTION, Task, metrics_of
from tabtune_core.scratch import scratch_folder
from tabtune_core.settings import RunSettings
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore
from tabtune_core.upstream import DISTRIBUTION

_FACTS = ("place", "name", "strategy", "rank", "alpha", "dropout", "seeds")
_COSTS = ("trainable_percent", "train_seconds", "growth_memory_bytes", "status", "note")


class TabularLeaderboard:
    """Compares models, strategies and ranks on one table.

    Every entry, zero-shot included, is scored twice. For the ranking, a share of ``X_train`` is withheld and predicted
    with the other rows as context. For the test scores, all of ``X_train`` is the context, as after
    ``TabularPipeline.fit``. Both have at most ``predict_context_rows`` rows. An entry has one learning rate, its own or
    the model's default; ``loralab sweep`` gives each rank the best of several.
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
            folder: a workspace for the finished fits, without the rows; a later leaderboard on the same rows reuses
                those whose weights come from the catalogue. By default they are forgotten with the leaderboard.
            validation_share: share of the rows of ``X_train`` that is withheld from every entry.
            validation_rows: maximum number of validation rows; if there are more, a stratified sample is scored.
        """
        self._train, self._test = (X_train, y_train), (X_test, y_test)
        self._task, self._share, self._most = task, validation_share, validation_rows
        if folder is None:
            weakref.finalize(self, (stack := ExitStack()).close)
            folder = stack.enter_context(scratch_folder())
        self._store = RunStore(Path(folder))
        self._entries: dict[str, tuple[RunSettings, dict[str, Any]]] = {}
        self._runs: dict[tuple[str, int], Run] = {}
        self._errors: dict[str, str] = {}
        self._rank_by, self._repeats = "", 1

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
                raise SettingError(
                    f"'{own}' is in the tuning_params of an entry, but all entries are ranked on the same validation "
                    f"rows. Leave it out, or set it for all: TabularLeaderboard(..., {own}=...)."
                )
        params: dict[str, Any] = {
            "model_name": model_name,
            "tuning_strategy": strategy,
            "tuning_params": dict(tuning_params or {}),
            "task": self._task,
        }
        held_out = {"validation_share": self._share, "validation_rows": self._most}
        settings = TabularPipeline(**params).settings().changed(**held_out)
        name = name or f"{model_name} {settings.label}"
        if name in self._entries:
            raise SettingError(f"There is an entry {name!r} already; give this one another name=.")
        self._entries[name] = settings, params

    def run(self, rank_by: str | None = None, *, repeats: int = 1) -> pd.DataFrame:
        """Runs the entries that have not run yet or have failed, and returns all entries, best validation score first.

        An entry that fails does not stop the others. Its row has no place and gives the reason in ``note``. ``gain`` is
        over zero-shot on the validation rows, by which the checkpoint is chosen, so it is optimistic: to see whether
        training helps, compare the test scores with those of an 'inference' entry.

        Args:
            rank_by: a metric of the task; by default log-loss, or RMSE for regression.
            repeats: number of seeds: the one in an entry's ``tuning_params`` and the following ones. A column
                ``..._half_width`` is half the width of Student's 95 % interval of the mean over the seeds.

        Raises:
            SettingError: the task does not have the metric, or ``repeats`` is less than 1.
        """
        rank_by, known = rank_by or SELECTION[self._task], metrics_of(self._task)
        if rank_by not in known:
            raise SettingError(
                f"The leaderboard cannot rank by {rank_by!r}; for {self._task} known are {', '.join(known)}."
            )
        if not isinstance(repeats, int) or repeats < 1:
            raise SettingError(
                f"repeats is {repeats!r}; it must be a whole number of at least 1; 3 show how noisy the scores are."
            )
        self._rank_by, self._repeats, self._errors = rank_by, repeats, {}
        data = hash_of(*self._train, *self._test)
        for name, (settings, params) in self._entries.items():
            try:
                for seed in range(settings.seed, settings.seed + repeats):
                    if (name, seed) not in self._runs:
                        own = dataclasses.replace(settings, seed=seed, dataset=data)
                        self._runs[name, seed] = self._kept(own) or self._fit(name, own, params)
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
        scores = [f"validation_{self._rank_by}", f"test_{self._rank_by}", "gain"]
        return self._board()[[*_FACTS, *(name for one in scores for name in (one, half_width(one))), *_COSTS]]

    def to_csv(self, path: str | Path) -> None:
        """Writes the leaderboard as CSV; text that a spreadsheet would read as a formula gets a ``'`` in front."""
        from tabtune_core.data.spreadsheet import safe_csv

        write_text(Path(path), safe_csv(self._board()))

    def to_json(self, path: str | Path) -> None:
        """Writes the leaderboard as JSON, one object per row."""
        from tabtune_core.data.spreadsheet import exact_json

        write_text(Path(path), exact_json(self._board()))

    def to_html(self, path: str | Path) -> None:
        """Writes one HTML page that needs no network: charts of score against cost, the curves, and the leaderboard."""
        from tabtune_core.analysis.sweep_page import sweep_page

        self._board()
        write_text(Path(path), sweep_page(self._store, next(iter(self._runs.values())).sweep, self._rank_by))

    def _kept(self, settings: RunSettings) -> Run | None:
        """Returns a finished fit of the folder; weights that are named by a path may have changed, so they fit anew."""
        known = self._store.runs() if settings.checkpoint is None else []
        return next((run for run in known if run.settings == settings and run.result), None)

    def _fit(self, name: str, settings: RunSettings, params: dict[str, Any]) -> Run:
        """Fits and tests an entry under one seed, and stores the run in the sweep of these rows."""
        pipeline = TabularPipeline(**{**params, "tuning_params": {**params["tuning_params"], "seed": settings.seed}})
        pipeline._fit(*self._train, settings, withhold=True)
        started = time.monotonic()
        scores = pipeline.evaluate(*self._test)
        result = dataclasses.replace(pipeline.result, test=scores, predict_seconds=time.monotonic() - started)
        sweep = next((run.sweep for run in self._store.runs() if run.settings.dataset == settings.dataset), "")
        return self._store.run(self._store.add_ended(name, settings, pipeline.history[:-1], result, sweep=sweep))

    def _board(self) -> pd.DataFrame:
        wanted = {
            (name, seed)
            for name, (settings, _) in self._entries.items()
            for seed in range(settings.seed, settings.seed + self._repeats)
        }
        runs = {run.id: (name, run) for (name, seed), run in self._runs.items() if (name, seed) in wanted}
        runs = {own: (name, run) for own, (name, run) in runs.items() if name not in self._errors}
        if not runs and not self._errors:
            raise SettingError("Nothing has run yet: add entries with add_model() and call run().")
        each = of_task(leaderboard([run for _, run in runs.values()], self._rank_by), self._task)
        # an entry is a configuration, and nobody chose these entries to be alike
        each = each.assign(variant=[runs[own][0] for own in each["run"]], apart="")
        board = by_configuration(each, self._rank_by)
        board = board.assign(name=board["variant"]).drop(columns=[*WHERE, "variant", "runs", "apart", "archived"])
        failed = [
            {"name": name, "model": own.model, "strategy": own.strategy, "status": "failed", "note": self._errors[name]}
            for name, (own, _) in self._entries.items()
            if name in self._errors
        ]
        numbers = {name: kind for name, kind in board.dtypes.items() if not failed or name not in failed[0]}
        board = pd.concat([board, pd.DataFrame(failed, columns=board.columns).astype(numbers)])
        return best_first(board, board["place"].astype("float64"), "rmse").astype({"place": "Int64"})


def hash_of(*rows: Any) -> str:
    """Returns the SHA-256 of frames, arrays and labels (content, column names and types) and this package's version."""
    digest = hashlib.sha256(version(DISTRIBUTION).encode())
    for part in rows:
        frame = read_rows(part if np.ndim(part) == 2 else pd.DataFrame({"y": np.asarray(part)}))
        digest.update(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
        for name in (name for name in frame.columns if frame[name].dtype.kind == "O"):  # lists have no hash
            frame = with_column(frame, str(name), words(frame[name]))
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()
