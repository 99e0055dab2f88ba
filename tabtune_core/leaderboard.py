"""Many pipelines on the same rows, one ranking.

In: train and test rows, and what to fit. Out: one row an entry. Validation rows, carved out of the training rows, rank; the test
rows are reported. Entries that share a seed share the validation rows.
"""

import dataclasses
import time
from typing import Any

import pandas as pd

from tabtune_core.errors import SettingError, TabTuneError
from tabtune_core.metrics import METRICS
from tabtune_core.pipeline import TabularPipeline
from tabtune_core.runs.ranking import COLUMNS, leaderboard
from tabtune_core.runs.store import Run
from tabtune_core.settings import RunSettings

_NOT_HERE = ("run", "sweep", "adapter_bytes", "adapter_verified")
_SHORT = ("place", "name", "strategy", "rank", "alpha", "dropout", "trainable_percent", "train_seconds", "growth_memory_bytes")


class TabularLeaderboard:
    """Compares models, strategies and ranks on one table."""

    def __init__(self, X_train: Any, X_test: Any, y_train: Any, y_test: Any) -> None:
        """Keeps the rows; nothing runs before ``run``."""
        self._train, self._test = (X_train, y_train), (X_test, y_test)
        self._entries: dict[str, tuple[TabularPipeline, RunSettings]] = {}
        self._runs: dict[str, Run] = {}
        self._rank_by = "accuracy"

    def add_model(
        self, model_name: str, strategy: str = "peft", *, name: str | None = None, tuning_params: dict[str, Any] | None = None
    ) -> None:
        """Adds an entry.

        Args:
            model_name: as ``TabularPipeline`` takes it.
            strategy: 'peft', 'base-ft' or 'inference'.
            name: of its row; the model and what is done with it unless set.
            tuning_params: as ``TabularPipeline`` takes them.

        Raises:
            SettingError: for settings that cannot be, and for a name that another entry has.
        """
        pipeline = TabularPipeline(model_name, strategy, tuning_params)
        settings = pipeline.settings()
        name = name or f"{model_name} {settings.label}"
        if name in self._entries:
            raise SettingError(f"There is an entry {name!r} already; give this one another name=.")
        self._entries[name] = pipeline, settings

    def run(self, rank_by: str = "accuracy") -> pd.DataFrame:
        """Runs the entries that have not run yet; all of them as one frame, best validation score first.

        An entry that fails keeps its row, which says why in ``error``, and stops no other.

        Raises:
            SettingError: for a metric that does not exist.
        """
        if rank_by not in METRICS:
            raise SettingError(f"The leaderboard cannot rank by {rank_by!r}; known are {', '.join(METRICS)}.")
        self._rank_by = rank_by
        for name, (pipeline, settings) in self._entries.items():
            if name not in self._runs:
                self._runs[name] = self._run(name, pipeline, settings)
        return self._board()

    def get_ranking(self) -> pd.DataFrame:
        """The ranking in short: the score that ranks, the same on the test rows, and what they cost.

        Raises:
            SettingError: nothing has run.
        """
        if not self._runs:
            raise SettingError("Nothing has run yet: add entries with add_model() and call run().")
        return self._board()[[*_SHORT, f"validation_{self._rank_by}", f"test_{self._rank_by}", "gain", "note", "error"]]

    def _run(self, name: str, pipeline: TabularPipeline, settings: RunSettings) -> Run:
        result = error = None
        started = time.time()
        try:
            fitted = TabularPipeline(**pipeline.get_params()).fit(*self._train)  # not kept: models of all entries may not fit in memory
            predicting = time.monotonic()
            test = fitted.evaluate(*self._test)
            result = dataclasses.replace(fitted.result, test=test, predict_seconds=time.monotonic() - predicting)
        except TabTuneError as refused:
            error = str(refused)
        except (RuntimeError, MemoryError, ValueError, OSError) as broken:  # out of memory on a card is a RuntimeError
            error = f"{type(broken).__name__}: {broken}"
        return Run(
            id=name, sweep="", name=name, status=result.outcome if result else "failed", settings=settings, created=started,
            started=started, ended=time.time(), heartbeat=None, pid=None, process_started=None, wish=None, error=error, result=result,
            retried_as=None, position=len(self._runs),
        )  # fmt: skip

    def _board(self) -> pd.DataFrame:
        board = leaderboard(list(self._runs.values()), self._rank_by)[[name for name in COLUMNS if name not in _NOT_HERE]]
        failed = board["status"] == "failed"
        return board.assign(error=board["note"].where(failed, ""), note=board["note"].where(~failed, ""))
