"""Trackio: a project per sweep and a run per run, in its local SQLite files."""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tabtune_core.errors import SettingError
from tabtune_core.tracking.tracker import AboutRun, Ending, Row

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
    """A folder of databases, written as Trackio's own importers do, because ``trackio.log`` cannot set the time of a
    row.
    """

    title = "Trackio"

    def __init__(self, storage: Any, folder: Path) -> None:
        self._storage, self.folder = storage, folder
        self.look = f"TRACKIO_DIR='{folder}' trackio show"

    def stamp(self, run: AboutRun) -> str:
        """Reads it from the settings of the run."""
        held = self._storage.get_run_config(_project(run), run.name, run_id=run.id) or {}
        return str(held.get(STAMP, ""))

    def begin(self, run: AboutRun) -> "_Run":
        """Deletes the rows of the run."""
        self._storage.delete_run(_project(run), run.name, run_id=run.id)
        return _Run(self._storage, run)


class _Run:
    def __init__(self, storage: Any, run: AboutRun) -> None:
        self._storage, self._run = storage, run

    def log(self, rows: Sequence[Row], **more: str) -> None:
        self._storage.bulk_log(
            _project(self._run),
            self._run.name,
            [dict(row.values) for row in rows],
            steps=[row.step for row in rows],
            timestamps=[datetime.fromtimestamp(row.time, UTC).isoformat() for row in rows],
            config={**self._run.settings, **self._run.tags, **more},
            log_ids=[f"loralab-{row.key}" for row in rows],
            run_id=self._run.id,
        )

    def end(self, ending: Ending) -> None:
        from trackio import Artifact

        if ending.adapter:
            artifact = Artifact(f"adapter-{self._run.id}", "model")
            artifact.add_file(ending.adapter)
            made = {"name": artifact.name, "type": "model", "description": None, "metadata": None, "aliases": None}
            manifest, project = artifact._build_manifest(_project(self._run)), _project(self._run)
            self._storage.commit_artifact_version(
                project, **made, manifest=manifest, run_name=self._run.name, run_id=self._run.id
            )
        self.log([ending.results], status=ending.status, **{STAMP: ending.stamp})


def _project(run: AboutRun) -> str:
    """Returns the project's name, made of characters that its file name keeps."""
    return re.sub("[^A-Za-z0-9]+", "-", run.experiment).strip("-")
