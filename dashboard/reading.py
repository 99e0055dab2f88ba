"""Cached reads of the workspace: the only file with st.cache_*.

What has ended never changes and is read once; what runs is read at most once a second, however many tabs look on.
"""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from dashboard.charts import CHARTS
from dashboard.charts.settled import Settled, settle
from dashboard.devices import card_memory, card_names, machine_memory
from dashboard.experience import experience
from dashboard.pace import Pace, pace_of
from dashboard.words import labels, moment
from dashboard.worker_watch import Trouble, WorkerWatch, tail
from tabtune_core import adapters_store
from tabtune_core.adapters_store import StoredAdapter
from tabtune_core.data.datasets import Dataset, add_dataset, delete_dataset, folder_of, get_dataset, list_datasets, load_frame, preview
from tabtune_core.data.encoding import count_features, label_texts
from tabtune_core.data.findings import Finding, ReadingChoices
from tabtune_core.data.leaks import may_leak
from tabtune_core.data.new_rows import LIMIT_ROWS, NewRows, read_new_rows
from tabtune_core.data.table import Table
from tabtune_core.data.target import Proposal, Way, check_label, propose_target, ways_of, with_label
from tabtune_core.events import RunPlanned
from tabtune_core.lora.package_zip import read_facts
from tabtune_core.metrics import METRICS, Task
from tabtune_core.runs import series
from tabtune_core.runs.configurations import by_configuration
from tabtune_core.runs.full_or_lora import full_or_lora
from tabtune_core.runs.job_queue import Job
from tabtune_core.runs.predictions import Predictions, read_predictions
from tabtune_core.runs.ranking import leaderboard
from tabtune_core.runs.recommend import Recommendation, recommend
from tabtune_core.runs.series import Progress
from tabtune_core.runs.store import ENDED, Run, RunStore, Sweep, default_home

FRAMES: dict[str, Callable[[RunStore, list[str]], pd.DataFrame]] = {
    "steps": series.step_frame,
    "scores": series.score_frame,
    "memory": series.memory_frame,
    "phases": series.phase_frame,
}


HeldOutPart = Literal["validation", "test"]
TASKS: dict[Way, Task] = {"classes": "classification", "halves": "classification", "numbers": "regression"}
READING_SHARE = 20
"""A run that goes on is read again after so many times the time that reading took."""
BARS = 30
"""Of a histogram, at most."""
LATEST_RUNS = 40
"""Of a model, from which times are taken."""
LIMIT_BYTES = 1_000_000 * int(os.environ.get("TABTUNE_UPLOAD_LIMIT_MB", "1000"))
"""The largest table that a page takes, also once it is unpacked."""


def home() -> Path:
    """The workspace."""
    return default_home()


@st.cache_resource
def _store(folder: str) -> RunStore:
    return RunStore(Path(folder))


def store() -> RunStore:
    """The run store of the workspace; one a process, safe from every tab."""
    return _store(str(home()))


def sweeps() -> dict[str, Sweep]:
    """By id, newest first."""
    return {sweep.id: sweep for sweep in store().sweeps()}


def active(runs: list[Run]) -> bool:
    """Whether something is still to come."""
    return any(run.status not in ENDED for run in runs)


@st.cache_resource(max_entries=1024, show_spinner=False)
def _still_frame(folder: str, kind: str, run_id: str, status: str) -> pd.DataFrame:
    return FRAMES[kind](_store(folder), [run_id])


@st.cache_resource(max_entries=256, show_spinner=False)
def _pace(folder: str, kind: str, run_id: str) -> list[float]:
    """CPU seconds that the last read of a run took, to be written into."""
    return [0.0]


@st.cache_resource(ttl=60, max_entries=64, show_spinner=False)
def _moving_frame(folder: str, kind: str, run_id: str, turn: tuple[int, int]) -> pd.DataFrame:
    began = time.thread_time()
    found = FRAMES[kind](_store(folder), [run_id])
    _pace(folder, kind, run_id)[0] = time.thread_time() - began
    return found


def _frame_of(kind: str, run: Run) -> pd.DataFrame:
    """The rows of one run; only what runs can have new ones. Shared by all tabs and never written to."""
    folder = str(home())
    if run.status == "running":
        # once a second, or less often: a run of very many steps shall not keep the server busy with reading
        every = max(1, int(READING_SHARE * _pace(folder, kind, run.id)[0]))
        return _moving_frame(folder, kind, run.id, (every, int(time.time() / every)))
    return _still_frame(folder, kind, run.id, run.status)


def frame(kind: str, runs: list[Run], among: list[Run] | None = None) -> pd.DataFrame:
    """A frame for charts, with the runs named as the page names them ``among`` others."""
    parts = [_frame_of(kind, run) for run in runs]
    told = [part for part in parts if len(part)]
    found = pd.concat(told, ignore_index=True) if told else parts[0] if parts else FRAMES[kind](store(), [])
    named = labels(among or runs)
    return found.assign(run=pd.Categorical(found["run"].map(named), categories=list(named.values())))


def _stamp(sweep: str | None) -> str:
    """Another one when a run comes, goes, or changes its state, name or note."""
    return hashlib.sha256(repr(store().marks(sweep)).encode()).hexdigest()


@st.cache_resource(max_entries=32, show_spinner=False)
def _listed(folder: str, sweep: str | None, stamp: str) -> list[Run]:
    return _store(folder).runs(sweep)


def listed(sweep: str | None) -> list[Run]:
    """The runs of one sweep or all, read anew when one changes its state, name or note; heartbeats and wishes in them may be old."""
    return _listed(str(home()), sweep, _stamp(sweep))


@st.cache_resource(max_entries=128, show_spinner=False)
def _settled(folder: str, chart: str, kind: str, stamp: str, options: str, _draw: Callable[[], Settled | None]) -> Settled | None:
    return _draw()


def settled(chart: str, kind: str, runs: list[Run], among: list[Run], **options: Any) -> Settled | None:
    """What a chart draws of runs that have ended, drawn once; None when that is nothing."""
    if not runs:
        return None
    stamp = _mark(runs) + repr(labels(among))
    return _settled(str(home()), chart, kind, stamp, repr(options), lambda: settle(CHARTS[chart].draw(frame(kind, runs, among), **options)))


@st.cache_resource(max_entries=256, show_spinner=False)
def _reach(folder: str, kind: str, column: str, stamp: str, _runs: list[Run]) -> float:
    return max((float(_frame_of(kind, run)[column].max()) for run in _runs), default=float("nan"))


def reach(kind: str, column: str, runs: list[Run]) -> float:
    """The largest value of a column over runs that have ended; NaN when there is none."""
    return _reach(str(home()), kind, column, _mark(runs), runs)


@dataclass(frozen=True, slots=True)
class Latest:
    """Where a run stands; None is not known, or not yet."""

    progress: Progress
    loss: float | None
    best: float | None
    """The best validation score, on the metric that was asked for."""
    held_bytes: float | None
    """On the meter that speaks for the device."""


@st.cache_resource(max_entries=64, show_spinner=False)
def _still_latest(folder: str, stamp: str, metric: str, _runs: list[Run]) -> dict[str, Latest]:
    return {run.id: _latest(run, metric) for run in _runs}


def _latest(run: Run, metric: str) -> Latest:
    looks, samples = _frame_of("scores", run), _frame_of("memory", run)
    validation = looks.loc[looks["split"] == "validation", metric].dropna() if metric in looks else pd.Series(dtype=float)
    held = samples["torch_allocated_bytes"].dropna()
    held = held if len(held) else samples["resident_bytes"].dropna()
    return Latest(
        series.progress(store(), run),
        _last(_frame_of("steps", run)["loss"].dropna()),
        None if validation.empty else float(validation.max() if METRICS[metric].higher_is_better else validation.min()),
        _last(held),
    )


def _last(known: pd.Series) -> float | None:
    return None if known.empty else float(known.iloc[-1])


def latest(runs: list[Run], metric: str) -> dict[str, Latest]:
    """How far each run is and its last figures, by id."""
    ended = [run for run in runs if run.status in ENDED]
    return _still_latest(str(home()), _mark(ended), metric, ended) | {
        run.id: _latest(run, metric) for run in runs if run.status not in ENDED
    }


@st.cache_data(max_entries=32, show_spinner=False)
def _ranked(folder: str, sweep: str | None, rank_by: str, stamp: str) -> pd.DataFrame:
    runs = [run for run in _listed(folder, sweep, stamp) if run.settings.task == METRICS[rank_by].task]
    return leaderboard(runs, rank_by).assign(name=lambda board: board["run"].map(labels(runs)))


def ranked(sweep: str | None, rank_by: str, *, archived: bool = False) -> pd.DataFrame:
    """The leaderboard of one sweep, or of all runs of the score's task; archived runs are in it where they are asked for, without place."""
    board = _ranked(str(home()), sweep, rank_by, _stamp(sweep))
    return board if archived else board[~board["archived"]].reset_index(drop=True)


def selection_metric(sweep: str) -> str:
    """The validation score that chose the best states of a sweep; it ranks unless a person asks for another."""
    return listed(sweep)[0].settings.selection_metric


def _mark(runs: list[Run]) -> str:
    """The runs and their states as one text, which is quick to look up."""
    return " ".join(f"{run.id} {run.status}" for run in runs)


@st.cache_data(max_entries=32, show_spinner="Resampling the validation rows")
def _recommended(folder: str, sweep: str, rank_by: str, stamp: str) -> Recommendation:
    return recommend(_store(folder), _ranked(folder, sweep, rank_by, stamp), rank_by)


def recommended(sweep: str, rank_by: str) -> Recommendation:
    """What one sweep says about rank; worked out anew when one of its runs changes its state."""
    return _recommended(str(home()), sweep, rank_by, _stamp(sweep))


@st.cache_data(max_entries=32, show_spinner=False)
def _configurations(folder: str, sweep: str | None, rank_by: str, stamp: str) -> pd.DataFrame:
    found = None if sweep is None else _recommended(folder, sweep, rank_by, stamp).configurations
    return by_configuration(_ranked(folder, sweep, rank_by, stamp), rank_by, found)


def configurations(sweep: str | None, rank_by: str) -> pd.DataFrame:
    """The leaderboard with one row a configuration, archived ones among them."""
    return _configurations(str(home()), sweep, rank_by, _stamp(sweep))


@st.cache_data(max_entries=32, show_spinner=False)
def _full_or_lora(folder: str, sweep: str, rank_by: str, stamp: str) -> pd.DataFrame:
    found = _recommended(folder, sweep, rank_by, stamp).configurations
    return full_or_lora(_ranked(folder, sweep, rank_by, stamp), found, rank_by)


def against_full(sweep: str, rank_by: str) -> pd.DataFrame:
    """Full fine-tuning against LoRA as measured in one sweep."""
    return _full_or_lora(str(home()), sweep, rank_by, _stamp(sweep))


@st.cache_data(max_entries=16, show_spinner=False)
def _curves(folder: str, sweep: str | None, metric: str, stamp: str, moment: int) -> dict[str, list[float]]:
    return series.sparklines(_store(folder), [run.id for run in _listed(folder, sweep, stamp)], metric)


def curves(sweep: str | None, metric: str) -> dict[str, list[float]]:
    """Run id -> its validation score over the looks; at most ten seconds old where something still runs."""
    runs = listed(sweep)
    now = int(time.time() / 10) if any(run.status == "running" for run in runs) else 0
    return _curves(str(home()), sweep, metric, _stamp(sweep), now)


@st.cache_data(max_entries=64, show_spinner=False)
def _predictions(folder: str, run_id: str, part: HeldOutPart) -> Predictions | None:
    return read_predictions(_store(folder), run_id, part)


def predictions(run: Run, part: HeldOutPart) -> Predictions | None:
    """What a run with a result predicted for its held-out rows; None where that is not on disk."""
    return _predictions(str(home()), run.id, part)


def rank_curves() -> dict[str, Job]:
    """The newest job about the rank that a run really used, by the run's id."""
    return {job.arguments["run"]: job for job in reversed(store().jobs("rank_curve"))}


@st.cache_data(ttl=60, show_spinner=False)
def cards() -> list[str]:
    """Names of the NVIDIA cards of this machine."""
    return card_names()


@st.cache_data(ttl=5, show_spinner=False)
def memory_of_devices() -> tuple[tuple[int, int], list[tuple[int, int] | None]]:
    """Free and total bytes: of the machine, and of each NVIDIA card (None where the driver does not tell)."""
    return machine_memory(), card_memory()


@st.cache_data(max_entries=16, show_spinner=False)
def _experience(folder: str, table: str, target: str, model: str, metric: str, stamp: str) -> dict[str, str]:
    named = get_dataset(Path(folder), table).name
    return experience(_runs_on(_store(folder), table, target, model), metric, named)


def experienced(table: str, target: str, model: str, metric: str) -> dict[str, str]:
    """What each knob did in the runs of this workspace on one table, by knob; see dashboard.experience."""
    return _experience(str(home()), table, target, model, metric, _stamp(None))


@st.cache_data(max_entries=16, show_spinner=False)
def _paces(folder: str, run_ids: tuple[str, ...]) -> list[Pace]:
    store = _store(folder)
    plans = {run_id: store.last(run_id, "RunPlanned") for run_id in run_ids}
    found = [pace_of(store.run(run_id), told.event) for run_id, told in plans.items() if told and isinstance(told.event, RunPlanned)]
    return [pace for pace in found if pace]


def paces(model: str) -> list[Pace]:
    """How fast the latest finished trainings of a model were."""
    finished = [run for run in store().runs() if run.settings.model == model and run.status == "finished" and run.result]
    latest = sorted((run for run in finished if run.settings.strategy != "inference"), key=lambda run: run.ended or 0)[-LATEST_RUNS:]
    return _paces(str(home()), tuple(run.id for run in latest))


def _runs_on(store: RunStore, table: str, target: str, model: str) -> list[Run]:
    asked = (table, target, model)
    return [run for run in store.runs() if (run.settings.dataset, run.settings.target, run.settings.model) == asked]


def log_tail(run_id: str, lines: int = 200) -> str:
    """The end of a run's log; empty when there is none."""
    return tail(store().run_dir(run_id) / "log.txt", lines)


@st.cache_resource
def _watch(folder: str) -> WorkerWatch:
    return WorkerWatch(Path(folder))


def keep_worker() -> None:
    """Starts the worker of the workspace if none runs."""
    _watch(str(home())).start()


def look_after_worker() -> Trouble | None:
    """The same for a page that asks every second; says when a worker does not stay up."""
    return _watch(str(home())).look()


def tables() -> dict[str, Dataset]:
    """By id, newest first."""
    return {dataset.id: dataset for dataset in list_datasets(home())}


def table_title(dataset: Dataset) -> str:
    """What a list calls a table."""
    return f"{dataset.name} · {dataset.rows:,} rows, {len(dataset.columns)} columns · {moment(dataset.created)}"


@st.cache_resource(max_entries=2, show_spinner="Opening the table")
def _whole(folder: str, table: str) -> pd.DataFrame:
    """Shared by all tabs and never written to."""
    return load_frame(Path(folder), table)


@st.cache_data(max_entries=8, show_spinner=False)
def _first_rows(folder: str, table: str) -> pd.DataFrame:
    return preview(Path(folder), table)


def rows_of(table: str, rows: NDArray[np.integer]) -> pd.DataFrame:
    """Some rows of a table by their numbers.

    Raises:
        TableError: for a table that the workspace does not hold.
    """
    return _whole(str(home()), table).iloc[rows]


def first_rows(table: str) -> pd.DataFrame:
    """The first 100 rows of a table."""
    return _first_rows(str(home()), table)


@st.cache_data(max_entries=32, show_spinner=False)
def _proposal(folder: str, table: str) -> Proposal:
    dataset = get_dataset(Path(folder), table)
    return propose_target(Table(_whole(folder, table), dataset.columns, dataset.findings, dataset.questions, dataset.reading))


def proposal(table: str) -> Proposal:
    """The column that is probably the one to predict."""
    return _proposal(str(home()), table)


@st.cache_data(max_entries=64, show_spinner=False)
def _ways(folder: str, table: str, column: str) -> tuple[Way, ...]:
    return ways_of(_whole(folder, table)[column])


def ways(table: str, column: str) -> tuple[Way, ...]:
    """How a column can be predicted, the likely way first."""
    return _ways(str(home()), table, column)


def features(table: str, target: str) -> int:
    """How many features a model gets beside the target."""
    return count_features({column.name: column.kind for column in tables()[table].columns}, target)


def _label_frame(folder: str, table: str, column: str, way: Way) -> pd.DataFrame:
    return with_label(_whole(folder, table), column, at_median=way == "halves")


@st.cache_data(max_entries=64, show_spinner=False)
def _class_counts(folder: str, table: str, column: str, way: Way) -> pd.DataFrame:
    counts = _label_frame(folder, table, column, way)[column].value_counts()
    return pd.DataFrame({"label": label_texts(pd.Series(counts.index)), "rows": counts.to_numpy()})


def class_counts(table: str, column: str, way: Way) -> pd.DataFrame:
    """Rows of each class, largest first: label, rows."""
    return _class_counts(str(home()), table, column, way)


@st.cache_data(max_entries=64, show_spinner=False)
def _histogram(folder: str, table: str, column: str) -> tuple[pd.DataFrame, float, float]:
    values = _whole(folder, table)[column].dropna().to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return pd.DataFrame({"low": [], "high": [], "rows": []}), np.nan, np.nan
    rows, edges = np.histogram(values, min(len(np.histogram_bin_edges(values, "rice")) - 1, BARS))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "rows": rows}), float(values.mean()), float(values.std())


def histogram(table: str, column: str) -> tuple[pd.DataFrame, float, float]:
    """Rows of each stretch of a column's numbers (low, high, rows), their mean and their standard deviation."""
    return _histogram(str(home()), table, column)


@st.cache_data(max_entries=64, show_spinner=False)
def _label_findings(folder: str, table: str, column: str, way: Way, max_classes: int | None) -> tuple[Finding, ...]:
    return check_label(_label_frame(folder, table, column, way), column, max_classes=max_classes, task=TASKS[way])


def label_findings(table: str, column: str, way: Way, *, max_classes: int | None) -> tuple[Finding, ...]:
    """What to know about a column before it is predicted.

    Raises:
        LabelError: when it cannot be predicted as asked.
    """
    return _label_findings(str(home()), table, column, way, max_classes)


@st.cache_data(max_entries=64, show_spinner="Looking for columns that give it away")
def _suspects(folder: str, table: str, column: str, way: Way) -> tuple[Finding, ...]:
    kinds = {column.name: column.kind for column in get_dataset(Path(folder), table).columns}
    return may_leak(_label_frame(folder, table, column, way), kinds, column, TASKS[way])


def suspects(table: str, column: str, way: Way) -> tuple[Finding, ...]:
    """Columns that alone predict another nearly without error."""
    return _suspects(str(home()), table, column, way)


def add(data: bytes, name: str, choices: ReadingChoices = ReadingChoices()) -> Dataset:  # noqa: B008 (frozen)
    """Keeps an uploaded file as a table.

    Raises:
        TableError: when it cannot be read as one; a LayoutError when other choices may do.
    """
    return add_dataset(home(), data, name, choices, limit_bytes=LIMIT_BYTES)


def read_again(dataset: Dataset, choices: ReadingChoices) -> Dataset:
    """The same file read in another way; the old reading goes unless a run used it.

    Raises:
        TableError: when it cannot be read that way.
    """
    new = add_dataset(home(), folder_of(home(), dataset.id) / "source", dataset.name, choices, limit_bytes=LIMIT_BYTES)
    if new.id != dataset.id and not any(run.settings.dataset == dataset.id for run in store().runs()):
        delete_dataset(home(), dataset.id)
    return new


@st.cache_data(max_entries=64, show_spinner=False)
def _facts(path: str, changed: int) -> dict[str, Any]:
    return read_facts(Path(path))


def facts(run: Run) -> dict[str, Any]:
    """What the adapter package of a run says of itself.

    Raises:
        AdapterError: there is none, or it cannot be read.
    """
    path = store().run_dir(run.id) / "adapter.zip"
    return _facts(str(path), path.stat().st_mtime_ns if path.exists() else 0)


@st.cache_data(max_entries=4, show_spinner=False)
def _uploads(folder: str, stamp: tuple[tuple[str, int], ...]) -> dict[str, StoredAdapter]:
    return {adapter.id: adapter for adapter in adapters_store.list_adapters(Path(folder))}


def uploads() -> dict[str, StoredAdapter]:
    """Adapters that were made elsewhere, by id, newest first."""
    found = sorted((about.parent.name, about.stat().st_mtime_ns) for about in (home() / "adapters").glob("*/about.json"))
    return _uploads(str(home()), tuple(found))


@st.cache_data(max_entries=64, show_spinner=False)
def _values(folder: str, table: str, column: str, most: int) -> list[str] | None:
    found = _whole(folder, table)[column].dropna().astype(str).drop_duplicates()
    return None if len(found) > most else sorted(found)


def values(table: str, column: str, *, most: int = 300) -> list[str] | None:
    """The different words of a column, None where there are too many to choose from."""
    return _values(str(home()), table, column, most)


@st.cache_data(max_entries=64, show_spinner=False)
def _test_rows(path: str, changed: int) -> list[int]:
    saved = pd.read_parquet(path, columns=["split", "row"])
    return [int(row) for row in saved.loc[saved["split"] == "test", "row"]]


def test_rows(run: Run) -> list[int]:
    """Numbers of the rows that a run only tested on; none where they were not kept."""
    path = store().run_dir(run.id) / "predictions.parquet"
    return _test_rows(str(path), path.stat().st_mtime_ns) if path.exists() else []


@st.cache_data(max_entries=2, show_spinner="Reading the rows")
def _new_rows(data: bytes, about: dict[str, Any]) -> NewRows:
    return read_new_rows(data, about, limit_rows=LIMIT_ROWS)


def new_rows(data: bytes, facts: dict[str, Any]) -> NewRows:
    """A file of rows to predict, read as the table of an adapter was.

    Raises:
        TableError: it cannot be read, or lacks a column.
    """
    about = {name: facts[name] for name in ("reading", "kinds", "features")} | {"settings": {"target": facts["settings"]["target"]}}
    return _new_rows(data, about)
