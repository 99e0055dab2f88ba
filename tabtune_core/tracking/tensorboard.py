"""TensorBoard: a folder per sweep, with a folder per run, which holds its event file and its adapter."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tabtune_core.tracking.tracker import AboutRun, Ending, Row

STAMP = "loralab-stamp"
ENDS = {"failed": "STATUS_FAILURE", "interrupted": "STATUS_FAILURE"}


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

    def _of(self, run: AboutRun) -> Path:
        known = next(self.folder.glob(f"*/*{run.id}"), None)  # under an earlier name
        return known or self.folder / _plain(run.experiment) / f"{_plain(run.name)}-{run.id}"

    def stamp(self, run: AboutRun) -> str:
        """Reads it from a file beside the events."""
        file = self._of(run) / STAMP
        return file.read_text() if file.exists() else ""

    def begin(self, run: AboutRun) -> "_Events":
        """Starts with an empty folder."""
        if self._of(run).exists():
            shutil.rmtree(self._of(run))
        return _Events(self._of(run), run)


class _Events:
    def __init__(self, folder: Path, run: AboutRun) -> None:
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True)
        self._folder, self._file = folder, (folder / f"events.out.tfevents.{int(run.started)}.loralab").open("wb")
        self._writer = RecordWriter(self._file)  # TensorBoard's EventFileWriter writes in a thread and loses its errors
        self._write(run.started, file_version="brain.Event:2")
        told = {**run.settings, **run.tags}
        self._write(run.started, summary=summary_v2.hparams_pb(told, trial_id=run.id, start_time_secs=run.started))

    def _write(self, time: float, **what: object) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time, **what).SerializeToString())

    def log(self, rows: Sequence[Row]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        for row in rows:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
            self._write(row.time, summary=Summary(value=values), step=row.step)
        self._file.flush()

    def end(self, ending: Ending) -> None:
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2

        self.log([ending.results])
        status = api_pb2.Status.Value(ENDS.get(ending.status, "STATUS_SUCCESS"))
        over = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=ending.results.time)
        data = plugin_data_pb2.HParamsPluginData(session_end_info=over)
        self._write(ending.results.time, summary=summary_v2._summary_pb(metadata.SESSION_END_INFO_TAG, data))
        self._file.close()
        if ending.adapter:
            shutil.copy(ending.adapter, self._folder / "adapter.zip")
        (self._folder / STAMP).write_text(ending.stamp)


def _plain(name: str) -> str:
    """Turns a name into the name of a folder.

    >>> _plain("data.csv: TabICL / LoRA r=8")
    'data.csv-TabICL-LoRA-r=8'
    """
    return re.sub(r"[^\w.=+-]+", "-", name).strip("-.")[:80]
