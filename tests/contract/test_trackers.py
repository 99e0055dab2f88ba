"""Each tracker, with its real package and no network, gets exactly what the store has; its failures affect no run."""

import glob
import json
import math
import socket
import struct
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from made_sweeps import Lab

from tabtune_core.errors import MissingPackageError, SettingError, TabTuneError
from tabtune_core.events import Evaluated, MemorySampled, PhaseDone, Resumed, StepDone
from tabtune_core.store import event_log
from tabtune_core.tracking import TRACKERS, open_tracker
from tabtune_core.tracking.mirror import CURVES, send

BEGAN = 1_700_000_000.0


def add_curves(lab, run_id, steps=range(1, 4)):
    """Appends curves as a run does, each event at a different time."""
    events = []
    for step in steps:
        at = BEGAN + 10 * step
        loss = math.nan if step == 2 else 1 / 3 / step
        events += [
            (at, StepDone(step, loss, 0.5, 1e-3, 0.25 * step)),
            (at + 1, MemorySampled("train", 123_456_789 + step, nvml_device_bytes=None)),
            (at + 2, Evaluated(step, "validation", {"accuracy": 0.5 + step / 7}, True, 0.25 * step)),
        ]
    for at, event in [*events, (BEGAN + 99, PhaseDone("train", 7.5, {"resident": 10**9}, 10**6))]:
        with mock.patch.object(event_log, "time", SimpleNamespace(time=lambda at=at: at)):
            lab.store.append(run_id, event)


def expected(store, run_id):
    """Returns name -> (step, time, value) of each event in the store."""
    found, step = {}, 0
    for one in store.events(run_id):
        match one.event:
            case StepDone() as done:
                step = done.step
                for name in ("loss", "gradient_norm", "learning_rate", "seconds"):
                    found.setdefault(f"train/{name}", []).append((step, one.time, getattr(done, name)))
            case Evaluated(split=split, scores=scores, step=at):
                found.setdefault(f"{split}/accuracy", []).append((at, one.time, scores["accuracy"]))
            case MemorySampled(resident_bytes=resident):
                found.setdefault("memory/resident_bytes", []).append((step, one.time, resident))
            case PhaseDone(seconds=seconds):
                found.setdefault("phase/train/seconds", []).append((step, one.time, seconds))
    return found


def of_mlflow(folder, run_id):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    runs = client.search_runs(
        [e.experiment_id for e in client.search_experiments()], f"tags.`loralab.run` = '{run_id}'"
    )
    return [
        (
            {
                n: [(m.step, m.timestamp / 1e3, m.value) for m in client.get_metric_history(run.info.run_id, n)]
                for n in run.data.metrics
            },
            {**run.data.params, **run.data.tags},
        )
        for run in runs
    ]


def of_tensorboard(folder, run_id):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    found = []
    for path in folder.glob(f"tensorboard/*/*{run_id}"):
        read = EventAccumulator(str(path), {"scalars": 0}).Reload()
        raw = read.PluginTagToContent("hparams")["_hparams_/session_start_info"]
        start = plugin_data_pb2.HParamsPluginData.FromString(raw).session_start_info
        settings = {name: value.string_value or value.number_value for name, value in start.hparams.items()}
        scalars = {tag: [(s.step, s.wall_time, s.value) for s in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
        found.append((scalars, settings))
    return found


def of_wandb(folder, run_id):
    """Reads the file that ``wandb sync`` sends: blocks of 32 kB that hold records, whole or in parts."""
    from wandb.proto import wandb_internal_pb2 as proto

    found = []
    for file in glob.glob(f"{folder}/wandb/offline-run-*-{run_id}/*.wandb"):
        data, at, part, scalars, settings = Path(file).read_bytes(), 7, b"", {}, {}
        while at < len(data):
            if (left := 32_768 - at % 32_768) < 7:
                at += left
                continue
            _, size, kind = struct.unpack("<IHB", data[at : at + 7])
            part, at = part + data[at + 7 : at + 7 + size], at + 7 + size
            if kind not in (1, 4):
                continue
            record, part = proto.Record.FromString(part), b""
            settings |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for name in row.keys() - {"step", "_timestamp", "_runtime", "_step"}:
                scalars.setdefault(name, []).append((row["step"], row["_timestamp"], row[name]))
        found.append((scalars, settings))
    return found


READ = {"mlflow": of_mlflow, "tensorboard": of_tensorboard, "wandb": of_wandb}


@pytest.fixture
def alone(monkeypatch):
    """Blocks other machines, and hides this machine's log-ins and addresses."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    connect = socket.socket.connect

    def local(self, address):
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"), f"asks {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)


@pytest.fixture
def lab(tmp_path):
    """A run with curves, and a failed run whose message quotes a cell of the table."""
    lab = Lab(tmp_path / "home").add((8, [0.75], range(15)), ("inference", [0.5], range(10)))
    lab.lora, lab.failed = lab.store.add_sweep([lab.settings(8, 0), lab.settings(4, 0)], "my, table: LoRA")[1]
    lab.sweep = lab.store.run(lab.lora).sweep
    for run_id in (lab.lora, lab.failed):
        lab.store.claim(1, None, run_id)
    add_curves(lab, lab.lora)
    lab.end(lab.lora, lab.settings(8, 0), 0.25, [range(15)], metric="log_loss")
    lab.store.finish(lab.failed, "failed", error="The cell 'secret 17' is not a number.")
    return lab


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_has_exactly_what_the_store_has(name, lab, alone):
    folder = lab.store.home / "trackers"
    for new in (2, 0):  # existing data are not sent again
        told = send(lab.store, lab.sweep, open_tracker(name, lab.store.home))
        assert told.endswith(f"{new} runs of it new or changed.")
    ((curves, settings),) = READ[name](folder, lab.lora)
    for key, told in expected(lab.store, lab.lora).items():
        held = [tuple(math.nan if value == "NaN" else value for value in row) for row in curves[key]]
        assert sorted(held, key=lambda row: row[1]) == [pytest.approx(row, 1e-6, 1e-3, True) for row in told], key
    ((_, ended, gain),) = curves["result/test_gain"]
    assert gain == pytest.approx(0.25) and ended == pytest.approx(lab.store.run(lab.lora).ended, abs=0.1)
    assert all(0 < curves[f"result/{of}_half_width"][0][2] < 1 for of in ("test_gain", "validation_log_loss"))
    assert (str(settings["lora.rank"]).removesuffix(".0"), settings["loralab.sweep"]) == ("8", lab.sweep)
    everything = b"".join(file.read_bytes() for file in [*folder.rglob("*")] if file.is_file())
    assert b"secret 17" not in everything

    lab.store.rename(lab.lora, "another name")  # a change by a person replaces what was sent
    assert "1 run of it new" in send(lab.store, lab.sweep, open_tracker(name, lab.store.home))
    for _ in range(300):  # W&B's service may still be writing the file
        ((again, _),) = READ[name](folder, lab.lora)
        if again.keys() == curves.keys():
            break
        time.sleep(0.1)
    assert {key: len(rows) for key, rows in again.items()} == {key: len(rows) for key, rows in curves.items()}


class Listed:
    title, look, folder = "Listed", "nowhere", None

    def __init__(self):
        self.runs, self.sent, self.broken = {}, [], None

    def stamp(self, run):
        return self.runs[run.id].stamp if run.id in self.runs else ""

    def send(self, run):
        if self.broken:
            raise self.broken
        self.runs[run.id] = run
        self.sent.append(run)


def test_a_run_is_sent_when_it_has_ended_and_again_when_it_was_resumed(lab):
    tracker, (run_id,) = Listed(), lab.store.add_sweep([lab.settings(2, 0)])[1]
    sweep = lab.store.run(run_id).sweep
    lab.store.claim(1, None, run_id)
    add_curves(lab, run_id, range(1, 3))
    assert "0 runs of it new or changed. Not ended yet: 1 run;" in send(lab.store, sweep, tracker)
    lab.store.finish(run_id, "interrupted", error="Its process is gone.")
    send(lab.store, sweep, tracker)
    lab.store.resume(run_id)
    lab.store.claim(1, None, run_id)
    lab.store.append(run_id, Resumed(1))
    add_curves(lab, run_id, range(2, 4))
    lab.end(run_id, lab.settings(2, 0), 0.75)
    send(lab.store, sweep, tracker)
    assert [run.status for run in tracker.sent] == ["interrupted", "finished"]
    assert len(tracker.runs[run_id].rows) == len(lab.store.events(run_id, CURVES)) + 1


def test_what_a_tracker_did_not_accept_is_sent_later(lab):
    tracker = Listed()
    for broken in (ConnectionError("server\ngone"), OSError(28, "No space left on device")):
        tracker.broken = broken
        with pytest.raises(TabTuneError, match="Listed did not accept the sweep, which the workspace still has"):
            send(lab.store, lab.sweep, tracker)
    tracker.broken = None
    assert "; 2 runs of it new" in send(lab.store, lab.sweep, tracker)


def test_a_missing_tracker_is_refused_with_instructions(tmp_path, monkeypatch):
    with pytest.raises(SettingError, match="Did you mean 'mlflow'"):
        open_tracker("mlfow", tmp_path)
    for name in TRACKERS:
        for module in (name, "tensorboard.summary.writer.record_writer"):
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingPackageError, match=rf"pip install 'tabtune-dashboard\[{name}\]'"):
            open_tracker(name, tmp_path)
