"""Weights & Biases: a group per sweep and a run per run. Without a login all stays in files, until ``wandb sync``."""

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

from tabtune_core.data.findings import shorten
from tabtune_core.errors import SettingError
from tabtune_core.tracking.tracker import SentRun

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
    """``where`` is a project, or ENTITY/PROJECT. Runs are sent if WANDB_MODE is ``online`` or there is a login.

    Raises:
        SettingError: WANDB_MODE is another one, or the address, the key or the login cannot be used.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logging.raiseExceptions = False  # its log is on the same disk as its files, whose own error says what is wrong
    asked = os.environ.get("WANDB_MODE")
    if asked not in (None, "", "online", "offline"):
        raise SettingError(f"WANDB_MODE is {asked!r}. Set it to 'online' or 'offline', or leave it out.")
    try:
        mode = "offline" if asked == "offline" or not wandb.login(prompt=False, verify=False) else "online"
    except (wandb.Error, ValueError) as error:  # ValueError: of pydantic, for a value that is no address
        why = shorten(" ".join(str(error).split()), 160)
        raise SettingError(f"{why} Correct WANDB_BASE_URL, WANDB_API_KEY or the settings of 'wandb login'.") from error
    if asked == "online" != mode:
        raise SettingError("WANDB_MODE is 'online', but there is no login. Run 'wandb login', or set WANDB_API_KEY.")
    entity, _, project = where.rpartition("/")
    return WandB(wandb, Path(os.environ.get("WANDB_DIR") or folder), project or "loralab", entity or None, mode)


class WandB:
    """A project, and the folder of its files on this machine, which also record what was sent."""

    title = "Weights & Biases"

    def __init__(self, wandb: Any, folder: Path, project: str, entity: str | None, mode: str) -> None:
        self._wandb, self._files, self._online = wandb, folder.absolute(), mode == "online"
        self.folder = None if self._online else self._files
        self._place = {"project": project, "entity": entity, "dir": str(self._files), "mode": mode}
        sync = f"wandb login && wandb sync '{self._files / 'wandb'}'/offline-run-*"
        self.look = f"project {project} of your login at Weights & Biases" if self._online else sync

    def _folders(self, run: SentRun) -> list[Path]:
        return [*self._files.glob(f"wandb/*run-*-{run.id}")]

    def stamp(self, run: SentRun) -> str:
        """Reads it from a file in the run's folder."""
        return next((file.read_text() for folder in self._folders(run) if (file := folder / STAMP).exists()), "")

    def send(self, run: SentRun) -> None:
        """Starts a run with the same id; what the server has of it stays, and only later rows are sent."""
        for folder in self._folders(run):
            shutil.rmtree(folder, ignore_errors=True)  # its service may still be writing its log
            while time.strftime("%Y%m%d_%H%M%S") in folder.name:  # the new folder would have the name of this one
                time.sleep(0.05)
        self._files.mkdir(parents=True, exist_ok=True)
        made = self._wandb.init(
            **self._place,
            id=run.id,
            name=run.name,
            group=run.experiment,
            config={**run.settings, **run.tags, "started": run.started},
            resume="allow" if self._online else None,
            reinit="create_new",
            settings=self._wandb.Settings(**OPTIONS),
        )
        made.define_metric("*", step_metric="step")
        for row in run.rows[made.starting_step :]:  # the server has the others
            made.log({**row.values, "step": row.step, "_timestamp": row.time})
        made.summary.update({**run.rows[-1].values, "status": run.status})
        if run.adapter:
            artifact = self._wandb.Artifact(f"adapter-{run.id}", "model")
            artifact.add_file(str(run.adapter))
            made.log_artifact(artifact)
        folder = Path(made.dir).parent
        made.finish(exit_code=ENDS.get(run.status, 0))
        (folder / STAMP).write_text(run.stamp)
