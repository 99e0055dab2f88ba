"""Trackio: a project per sweep and a run per run, in its local SQLite files."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabtune_core.errors import SettingError
from tabtune_core.tracking.tracker import SentRun

STAMP = "loralab.stamp"


def open_tracker(where: str, folder: Path) -> "Trackio":
    """``where`` is a folder; by default TRACKIO_DIR or Trackio's own folder, which ``trackio show`` reads."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    if where:
        os.environ["TRACKIO_DIR"] = str(Path(where).absolute())
    from trackio.sqlite_storage import SQLiteStorage
    from trackio.utils import TRACKIO_DIR

    if where and Path(where).absolute() != Path(TRACKIO_DIR):
        raise SettingError(
            f"In this process Trackio already writes to {TRACKIO_DIR}, not to {where!r}. Start another process."
        )
    return Trackio(SQLiteStorage, Path(TRACKIO_DIR))


class Trackio:
    """A folder of databases, written as Trackio's own importers do: ``trackio.log`` cannot set the time of a row."""

    title = "Trackio"

    def __init__(self, storage: Any, folder: Path) -> None:
        self._storage, self.folder = storage, folder
        self.look = f"TRACKIO_DIR='{folder}' trackio show"

    def stamp(self, run: SentRun) -> str:
        """Reads it from the settings of the run."""
        held = self._storage.get_run_config(_project(run), run.name, run_id=run.id) or {}
        return str(held.get(STAMP, ""))

    def send(self, run: SentRun) -> None:
        """Deletes the rows of the run and writes them anew."""
        from trackio import Artifact

        project, of_run = _project(run), {"run_name": run.name, "run_id": run.id}
        self._storage.delete_run(project, run.name, run_id=run.id)
        if run.adapter:
            artifact = Artifact(f"adapter-{run.id}", "model")
            artifact.add_file(run.adapter)
            made = {"name": artifact.name, "type": "model", "description": None, "metadata": None, "aliases": None}
            manifest = artifact._build_manifest(project)
            self._storage.commit_artifact_version(project, **made, manifest=manifest, **of_run)
        self._storage.bulk_log(
            project,
            run.name,
            [dict(row.values) for row in run.rows],
            steps=[row.step for row in run.rows],
            timestamps=[datetime.fromtimestamp(row.time, UTC).isoformat() for row in run.rows],
            config={**run.settings, **run.tags, "status": run.status, STAMP: run.stamp},
            log_ids=[f"loralab-{row.key}" for row in run.rows],
            run_id=run.id,
        )


def _project(run: SentRun) -> str:
    """Returns the project's name, made of characters that its file name keeps."""
    return re.sub("[^A-Za-z0-9]+", "-", run.experiment).strip("-")
