"""Ranks many pipelines on the same rows.

In: train and test rows, and what to fit. Out: one row per entry, with means over its seeds. Scores on validation rows,
taken out of the training rows, decide the ranking; scores on the test rows are only reported. Entries with the same
seed have the same validation rows and the same context rows when these are predicted.
"""

import dataclasses
import io
import time
from pathlib import Path
from typing import Any

import pandas as pd

from tabtune_core.analysis.intervals import half_width
from tabtune_core.api.leaderboard_rows import PARTS, Fit, hash_of, keep_fit, kept_fit, known_by, rows_of, seeds_of
from tabtune_core.api.pipeline import TabularPipeline
from tabtune_core.api.tuning_params import WITHHOLDING
from tabtune_core.errors import SettingError, TabTuneError
from tabtune_core.files.whole import write_text
from tabtune_core.metrics import SELECTION, Task, metrics_of
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore

_SHORT = (
    "place",
    "name",
    "strategy",
    "rank",
    "alpha",
    "dropout",
    "seeds",
    "trainable_percent",
    "train_seconds",
    "growth_memory_bytes",
)


class TabularLeaderboard:
    """Compares models, strategies and ranks on one table.

    Every entry, zero-shot included, is scored twice. For the ranking, a share of ``X_train`` is withheld and predicted
    with the other rows as context. For the test scores, all of ``X_train`` is the context, as after
    ``TabularPipeline.fit``. Both have at most ``predict_context_rows`` rows.
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
            folder: a workspace that keeps the events, scores and costs of finished fits, but no rows. A later
            leaderboard on the same rows
                reuses them, even if the first was killed.
            validation_share: share of the rows of ``X_train`` that is withheld from every entry.
            validation_rows: maximum number of validation rows; if there are more, a stratified sample is scored.
        """
        self._train, self._test = (X_train, y_train), (X_test, y_test)
        self._task, self._share, self._most = task, validation_share, validation_rows
        self._store = None if folder is None else RunStore(Path(folder))
        self._entries: dict[str, tuple[RunSettings, dict[str, Any]]] = {}
        self._fits: dict[tuple[str, int], Fit] = {}
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
            tuning_params: as ``TabularPipeline`` takes them, except those that withhold rows, which the leaderboard
            sets for all entries.

        Raises:
            SettingError: a setting is invalid, or another entry has the name.
        """
        for own in WITHHOLDING:
            if own in (tuning_params or {}):
                raise SettingError(
                    f"'{own}' is in the tuning_params of an entry, but all entries are ranked on the same validation "
                    "rows. "
                    f"Leave it out, or set it for all: TabularLeaderboard(..., {own}=...)."
                )
        params: dict[str, Any] = {
            "model_name": model_name,
            "tuning_strategy": strategy,
            "tuning_params": dict(tuning_params or {}),
            "task": self._task,
        }
        settings = (
            TabularPipeline(**params).settings().changed(validation_share=self._share, validation_rows=self._most)
        )
        name = name or f"{model_name} {settings.label}"
        if name in self._entries:
            raise SettingError(f"There is an entry {name!r} already; give this one another name=.")
        self._entries[name] = settings, params

    def run(self, rank_by: str | None = None, *, repeats: int = 1) -> pd.DataFrame:
        """Runs the entries that have not run yet or have failed, and returns all entries, best validation score first.

        An entry that fails does not stop the others. Its row has no place and gives the reason in ``error``.

        Args:
            rank_by: a metric of the task; by default log-loss, or RMSE for regression.
            repeats: number of seeds: the one in an entry's ``tuning_params`` and the following ones. A column
            ``..._half_width`` is half
                the width of Student's 95 % interval of the mean over the seeds; it leaves out the noise of the test
                rows, which all share.

        ``gain`` is over zero-shot on the validation rows, by which the checkpoint is chosen, so it is optimistic: to
        see whether training helps, compare the test scores with those of an 'inference' entry.

        Raises:
            SettingError: the task does not have the metric, or ``repeats`` is less than 1.
        """
        rank_by = rank_by or SELECTION[self._task]
        known = metrics_of(self._task)
        if rank_by not in known:
            raise SettingError(
                f"The leaderboard cannot rank by {rank_by!r}; for {self._task} known are {', '.join(known)}."
            )
        if not isinstance(repeats, int) or repeats < 1:
            raise SettingError(
                f"repeats is {repeats!r}; it must be a whole number of at least 1; 3 show how noisy the scores are."
            )
        self._rank_by, self._repeats = rank_by, repeats
        data = hash_of(*self._train, *self._test) if self._store else ""
        for name, (settings, params) in self._entries.items():
            for seeded in seeds_of(settings, repeats):
                fit = self._fits.get((name, seeded.seed))
                if fit is None or fit.error:
                    fit = self._fits[name, seeded.seed] = self._fit(name, seeded, params, data)
                if fit.error:
                    break  # what stops one seed stops the others
        return self._board()

    def get_ranking(self) -> pd.DataFrame:
        """Returns the ranking in short: the ranking score on validation and test rows, and the costs.

        Raises:
            SettingError: nothing has run.
        """
        scores = [f"{part}_{self._rank_by}" for part in PARTS]
        return self._board()[
            [*_SHORT, *(name for score in (*scores, "gain") for name in (score, half_width(score))), "note", "error"]
        ]

    def to_csv(self, path: str | Path) -> None:
        """Writes the leaderboard as CSV.

        Text that a spreadsheet would read as a formula, such as ``=x``, gets a ``'`` in front.
        """
        from tabtune_core.data.spreadsheet import safe_csv

        write_text(Path(path), safe_csv(self._board()))

    def to_json(self, path: str | Path) -> None:
        """Writes the leaderboard as JSON, one object per row."""
        from tabtune_core.data.spreadsheet import exact_json

        write_text(Path(path), exact_json(self._board()))

    def to_html(self, path: str | Path) -> None:
        """Writes one HTML page that needs no network: charts of score against cost, and the leaderboard."""
        from tabtune_core.analysis.html_report import page

        write_text(Path(path), page(self._board(), self._rank_by))

    def _fit(self, name: str, settings: RunSettings, params: dict[str, Any], data: str) -> Fit:
        """Returns a fit that the folder holds, or else runs it."""
        if self._store is None:
            return self._train_and_test(settings, params)
        known = known_by(settings, data)
        if kept := kept_fit(self._store, known):
            return kept
        fit = self._train_and_test(settings, params)
        if fit.result is not None:
            keep_fit(self._store, name, known, fit)
        return fit

    def _train_and_test(self, settings: RunSettings, params: dict[str, Any]) -> Fit:
        pipeline = TabularPipeline(**{**params, "tuning_params": {**params["tuning_params"], "seed": settings.seed}})
        try:
            pipeline._fit(*self._train, settings, withhold=True)
            started = time.monotonic()
            scores = pipeline.evaluate(*self._test)
            seconds = time.monotonic() - started
            adapter = io.BytesIO()
            if pipeline.adapters:
                pipeline.save_adapter(adapter)
            result = dataclasses.replace(
                pipeline.result, test=scores, predict_seconds=seconds, adapter_bytes=len(adapter.getvalue()) or None
            )
        except TabTuneError as refused:
            return Fit(settings, None, error=str(refused))
        except (RuntimeError, MemoryError, ValueError, OSError) as broken:  # out of memory on a GPU is a RuntimeError
            return Fit(settings, None, error=f"{type(broken).__name__}: {broken}")
        return Fit(settings, result, pipeline.history[:-1])

    def _board(self) -> pd.DataFrame:
        fits = {
            name: [
                self._fits[name, seeded.seed]
                for seeded in seeds_of(settings, self._repeats)
                if (name, seeded.seed) in self._fits
            ]
            for name, (settings, _) in self._entries.items()
        }
        if not any(fits.values()):
            raise SettingError("Nothing has run yet: add entries with add_model() and call run().")
        return rows_of({name: entry_fits for name, entry_fits in fits.items() if entry_fits}, self._rank_by)
