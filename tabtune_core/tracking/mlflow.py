"""MLflow: an experiment per sweep and a run per run. A local database also needs SQLAlchemy and alembic."""

import logging
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from tabtune_core.tracking import SentRun

MOST_METRICS, MOST_PARAMETERS, LONGEST = 1_000, 100, 6_000
"""Limits of one call, and letters of a parameter (mlflow.org/docs/latest/api_reference/rest-api.html)."""
USUAL = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
STAMP, RUN = "loralab.stamp", "loralab.run"
ENDS = {"cancelled": "KILLED", "failed": "FAILED", "interrupted": "FAILED"}


def open_tracker(where: str, folder: Path) -> "MLflow":
    """``where`` is a tracking URI; by default MLFLOW_TRACKING_URI, or a database in ``folder``."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MLflow would send its makers which functions are called
    for name, value in USUAL.items():
        os.environ.setdefault(name, value)
    import alembic  # noqa: F401 - raises ImportError if it is not installed
    import mlflow  # noqa: F401 - the same

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints the errors that it raises
    return MLflow(where or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.absolute() / 'mlflow.db'}")


class MLflow:
    """A tracking server or database, opened on first use."""

    title = "MLflow"

    def __init__(self, uri: str) -> None:
        local = uri.startswith("sqlite:///")
        self._uri, self.folder = uri, Path(uri.removeprefix("sqlite:///")).absolute().parent if local else None
        self.look = f"mlflow ui --backend-store-uri '{uri}'" if local else uri

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        if self.folder:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (database := self._uri.removeprefix("sqlite:///").partition("?")[0]).startswith((":", "file:")):
                Path(database).open("ab").close()  # if it cannot be, MLflow tries for minutes
        return MlflowClient(self._uri)

    def _experiment(self, run: SentRun) -> str:
        for known in self._client.search_experiments(filter_string=f"tags.`loralab.sweep` = '{run.sweep}'"):
            return str(known.experiment_id)
        where = self.folder and (self.folder / "mlflow-artifacts" / run.sweep).as_uri()  # else in the current folder
        tags = {"loralab.sweep": run.sweep}
        return str(self._client.create_experiment(run.experiment, artifact_location=where, tags=tags))

    def _held(self, run: SentRun) -> list[Any]:
        return list(self._client.search_runs([self._experiment(run)], f"tags.`{RUN}` = '{run.id}'"))

    def stamp(self, run: SentRun) -> str:
        """Reads it from a tag of the run."""
        return next((str(held.data.tags.get(STAMP, "")) for held in self._held(run)), "")

    def send(self, run: SentRun) -> None:
        """Creates the run anew, after deleting what MLflow has of it."""
        from mlflow.entities import Metric, Param

        for held in self._held(run):
            self._client.delete_run(held.info.run_id)
        made = self._client.create_run(self._experiment(run), int(run.started * 1e3), dict(run.tags), run.name)
        own = made.info.run_id
        parameters = [Param(name, str(value)[:LONGEST]) for name, value in run.settings.items()]
        for start in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(own, params=parameters[start : start + MOST_PARAMETERS])
        every = ((row, name, value) for row in run.rows for name, value in row.values.items())
        metrics = [Metric(name, value, int(row.time * 1e3), row.step) for row, name, value in every]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(own, metrics=metrics[start : start + MOST_METRICS])
        self._client.set_terminated(own, ENDS.get(run.status, "FINISHED"), int(run.rows[-1].time * 1e3))
        self._client.set_tag(own, STAMP, run.stamp)
