"""Weights & Biases: a group per sweep and a run per run.

Without a login all stays in files, until ``wandb sync`` sends them.
"""

import logging
import math
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabtune_core.data.findings import shorten
from tabtune_core.errors import SettingError
from tabtune_core.tracking.tracker import AboutRun, Ending, Row

STAMP = "loralab-stamp"
ENDS = {"cancelled": 1, "failed": 1, "interrupted": 1}


def open_tracker(where: str, folder: Path) -> "WandB":
    """``where`` is a project, or ENTITY/PROJECT. Runs are sent if WANDB_MODE is ``online``, or if it is not set and
    there is a login.

    Raises:
        SettingError: WANDB_MODE is another one, or the address, the key or the login cannot be used.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    logging.raiseExceptions = (
        False  # its log is on the same disk as its files: if the disk is full, the error itself says so
    )

    asked = os.environ.get("WANDB_MODE")
    if asked not in (None, "", "online", "offline"):
        raise SettingError(f"WANDB_MODE is {asked!r}. Set it to 'online' or 'offline', or leave it out.")
    try:
        mode = "offline" if asked == "offline" or not wandb.login(prompt=False, verify=False) else "online"
    except (wandb.Error, ValueError) as error:  # ValueError: of pydantic, for a value that is no address
        said = shorten(" ".join(str(error).split()), 160)
        raise SettingError(f"{said} Correct WANDB_BASE_URL, WANDB_API_KEY or the settings of 'wandb login'.") from error
    if asked == "online" != mode:
        raise SettingError("WANDB_MODE is 'online', but there is no login. Run 'wandb login', or set WANDB_API_KEY.")
    entity, _, project = where.rpartition("/")
    return WandB(wandb, Path(os.environ.get("WANDB_DIR") or folder), project or "loralab", entity or None, mode)


class WandB:
    """A project, and the folder of its files on this machine, which also record what was sent."""

    title = "Weights & Biases"

    def __init__(self, wandb: Any, folder: Path, project: str, entity: str | None, mode: str) -> None:
        self._wandb, self._files, self._mode = wandb, folder.absolute(), mode
        self._begun: dict[str, Any] = {}
        self.folder = self._files if mode == "offline" else None
        self._place = {"project": project, "entity": entity, "dir": str(self._files), "mode": mode}
        files = f"'{self._files / 'wandb'}'/offline-run-*"
        self.look = (
            f"wandb login && wandb sync {files}"
            if mode == "offline"
            else f"project {project} of your login at Weights & Biases"
        )

    def _folders(self, run: AboutRun) -> list[Path]:
        return [*self._files.glob(f"wandb/*run-*-{run.id}")]

    def stamp(self, run: AboutRun) -> str:
        """Reads it from a file in the run's folder."""
        return next((file.read_text() for folder in self._folders(run) if (file := folder / STAMP).exists()), "")

    def begin(self, run: AboutRun) -> "_Run":
        """Starts a run with the same id; deletes files that were not sent yet.

        What the server has stays, and only later rows are sent.
        """
        if earlier := self._begun.pop(run.id, None):
            earlier.finish(exit_code=1)  # of an interrupted run; does nothing if it has ended
        for folder in self._folders(run):
            shutil.rmtree(folder, ignore_errors=True)  # its service may still be writing its log
            while (
                time.strftime("%Y%m%d_%H%M%S") in folder.name
            ):  # the new run's folder would have the same name, and lose rows
                time.sleep(0.05)
        self._files.mkdir(parents=True, exist_ok=True)
        quiet = {
            "silent": True,
            "console": "off",
            "x_disable_stats": True,
            "x_disable_meta": True,
            "x_save_requirements": False,
        }
        own = {"disable_git": True, "disable_code": True, "x_disable_machine_info": True}
        made = self._wandb.init(
            **self._place,
            id=run.id,
            name=run.name,
            group=run.experiment,
            config={**run.settings, **run.tags, "started": run.started},
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",
            settings=self._wandb.Settings(**quiet, **own),
        )
        self._begun[run.id] = made
        made.define_metric("*", step_metric="step")
        return _Run(self._wandb, made)


class _Run:
    def __init__(self, wandb: Any, run: Any) -> None:
        self._wandb, self._run = wandb, run
        self._held, self._last = run.starting_step, run.summary.get("_timestamp", math.inf)
        """How many rows the server has, and the time of the last; after an interruption those include rows that were
        withdrawn.
        """

    def log(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._held -= 1
            if self._held < 0 or row.time > self._last:
                self._run.log({**row.values, "step": row.step, "_timestamp": row.time})

    def end(self, ending: Ending) -> None:
        self.log([ending.results])
        self._run.summary.update({**ending.results.values, "status": ending.status})
        if ending.adapter:
            artifact = self._wandb.Artifact(f"adapter-{self._run.id}", "model")
            artifact.add_file(str(ending.adapter))
            self._run.log_artifact(artifact)
        folder = Path(self._run.dir).parent
        self._run.finish(exit_code=ENDS.get(ending.status, 0))
        (folder / STAMP).write_text(ending.stamp)
