"""TensorBoard: a folder per sweep, with a folder per run, which holds its event file."""

import re
import shutil
from pathlib import Path

from tabtune_core.tracking import SentRun

STAMP = "loralab-stamp"


def open_tracker(where: str, folder: Path) -> "TensorBoard":
    """``where`` is a folder."""
    import tensorboard.summary.writer.record_writer  # noqa: F401 - raises ImportError if it is not installed

    return TensorBoard(Path(where) if where else folder / "tensorboard")


class TensorBoard:
    """A folder of event files."""

    title = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.look = f"tensorboard --logdir '{self.folder}'"

    def _of(self, run: SentRun) -> Path:
        known = next(self.folder.glob(f"*/*{run.id}"), None)  # under an earlier name
        return known or self.folder / _plain(run.experiment) / f"{_plain(run.name)}-{run.id}"

    def stamp(self, run: SentRun) -> str:
        """Reads it from a file beside the events."""
        file = self._of(run) / STAMP
        return file.read_text() if file.exists() else ""

    def send(self, run: SentRun) -> None:
        """Writes the folder of the run anew."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder = self._of(run)
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        settings = {**run.settings, **run.tags, "status": run.status}
        summary = summary_v2.hparams_pb(settings, trial_id=run.id, start_time_secs=run.started)
        with (folder / f"events.out.tfevents.{int(run.started)}.loralab").open("wb") as file:
            writer = RecordWriter(file)  # TensorBoard's EventFileWriter writes in a thread and loses its errors
            events = [Event(wall_time=run.started, file_version="brain.Event:2")]
            events.append(Event(wall_time=run.started, summary=summary))
            for row in run.rows:
                values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
                events.append(Event(wall_time=row.time, summary=Summary(value=values), step=row.step))
            for event in events:
                writer.write(event.SerializeToString())
        (folder / STAMP).write_text(run.stamp)


def _plain(name: str) -> str:
    """Turns a name into the name of a folder.

    >>> _plain("data.csv: TabICL / LoRA r=8")
    'data.csv-TabICL-LoRA-r=8'
    """
    return re.sub(r"[^\w.=+-]+", "-", name).strip("-.")[:80]
