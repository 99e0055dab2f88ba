"""Weights & Biases: a group per sweep and a run per run, in files on this machine, until ``wandb sync`` sends them."""

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tabtune_core.tracking import SentRun

STAMP = "loralab-stamp"
ENDS = {"cancelled": 1, "failed": 1, "interrupted": 1}
OPTIONS = {
    "silent": True,
    "console": "off",
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
    "disable_git": True,
    "disable_code": True,
    "x_disable_machine_info": True,
}


def open_tracker(where: str, folder: Path) -> "WandB":
    """``where`` is a project, or ENTITY/PROJECT."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logging.raiseExceptions = False  # its log is on the same disk as its files, whose own error says what is wrong
    entity, _, project = where.rpartition("/")
    return WandB(wandb, Path(os.environ.get("WANDB_DIR") or folder), project or "loralab", entity or None)


class WandB:
    """A project, and the folder of its files on this machine, which also record what was written."""

    title = "Weights & Biases"

    def __init__(self, wandb: Any, folder: Path, project: str, entity: str | None) -> None:
        self._wandb, self.folder = wandb, folder.absolute()
        self._place = {"project": project, "entity": entity, "dir": str(self.folder), "mode": "offline"}
        self.look = f"wandb login && wandb sync '{self.folder / 'wandb'}'/offline-run-*"

    def _folders(self, run: SentRun) -> list[Path]:
        return [*self.folder.glob(f"wandb/*run-*-{run.id}")]

    def stamp(self, run: SentRun) -> str:
        """Reads it from a file in the run's folder."""
        return next((file.read_text() for folder in self._folders(run) if (file := folder / STAMP).exists()), "")

    def send(self, run: SentRun) -> None:
        """Writes the files of the run anew."""
        for folder in self._folders(run):
            shutil.rmtree(folder, ignore_errors=True)  # its service may still be writing its log
            while time.strftime("%Y%m%d_%H%M%S") in folder.name:  # the new folder would have the name of this one
                time.sleep(0.05)
        self.folder.mkdir(parents=True, exist_ok=True)
        made = self._wandb.init(
            **self._place,
            id=run.id,
            name=run.name,
            group=run.experiment,
            config={**run.settings, **run.tags, "started": run.started},
            reinit="create_new",
            settings=self._wandb.Settings(**OPTIONS),
        )
        made.define_metric("*", step_metric="step")
        for row in run.rows:
            made.log({**row.values, "step": row.step, "_timestamp": row.time})
        made.summary.update({**run.rows[-1].values, "status": run.status})
        folder = Path(made.dir).parent
        made.finish(exit_code=ENDS.get(run.status, 0))
        (folder / STAMP).write_text(run.stamp)
