"""Tables of the workspace, and the findings about them."""

import dataclasses
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from dashboard.formatting import moment, no_two_alike
from dashboard.queries.workspace import home, listed, of_workspace, store
from tabtune_core.analysis.launch_checks import stopped_by_table
from tabtune_core.data.datasets import Dataset, add_sample, get_dataset, list_datasets, load_frame, preview
from tabtune_core.data.findings import Finding, Question, ReadingChoices
from tabtune_core.data.leakage import may_leak
from tabtune_core.data.merged_classes import with_label
from tabtune_core.data.reading_process import ReadingProcess
from tabtune_core.data.split_question import AT_RANDOM, last_settings, split_question, written
from tabtune_core.data.splits import SplitSizes
from tabtune_core.data.table import Table
from tabtune_core.data.target import Proposal, Way, propose_target, ways_of
from tabtune_core.data.target_checks import check_label, far_of
from tabtune_core.data.task import plan_split
from tabtune_core.data.values import words
from tabtune_core.errors import StoreError
from tabtune_core.metrics import Task
from tabtune_core.settings import REFERENCES, LoraSettings, RunSettings, Strategy, SweepSettings, TrainSettings
from tabtune_core.store import uploaded_adapters

TASKS: dict[Way, Task] = {"classes": "classification", "halves": "classification", "numbers": "regression"}
BARS = 30
"""Most bars of a histogram."""


def upload_limit() -> int:
    """Returns the largest size in bytes of an uploaded table, also after it is unpacked."""
    return 1_000_000 * int(st.get_option("server.maxUploadSize"))


class _Tables(dict[str, Dataset]):
    """Tables by id. One that was deleted meanwhile raises TableError, which the page shows."""

    def __missing__(self, table: str) -> Dataset:
        return get_dataset(home(), table)


def tables() -> dict[str, Dataset]:
    """Returns the tables by id, newest first."""
    return _Tables((dataset.id, dataset) for dataset in list_datasets(home()))


def table_titles(datasets: Iterable[Dataset]) -> dict[str, str]:
    """Returns id -> title of a table in a list."""
    sizes = {one.id: f"{one.rows:,} rows, {len(one.columns)} columns · {moment(one.created)}" for one in datasets}
    return no_two_alike({one.id: f"{one.name} · {sizes[one.id]}" for one in datasets})


@st.cache_resource(max_entries=2, show_spinner="Opening the table")
def _whole(folder: str, table: str) -> pd.DataFrame:
    """Returns a table that all tabs share. Callers must not modify it."""
    return load_frame(Path(folder), table)


@of_workspace(entries=8)
def first_rows(folder: str, table: str) -> pd.DataFrame:
    """Returns the first 100 rows of a table."""
    return preview(Path(folder), table)


def rows_of(table: str, rows: NDArray[np.integer]) -> pd.DataFrame:
    """Returns rows of a table by their numbers; raises TableError if the workspace does not hold it."""
    return _whole(str(home()), table).iloc[rows]


@of_workspace(entries=32)
def _proposal(folder: str, table: str) -> Proposal:
    dataset = get_dataset(Path(folder), table)
    whole = Table(_whole(folder, table), dataset.columns, dataset.findings, dataset.questions, dataset.reading)
    return propose_target(whole, dataset.name, dataset.target)


def proposal(table: str) -> Proposal:
    """Returns the column that the table's last run predicts, or the most likely one, or several to choose from."""
    last = last_settings((run.settings for run in listed(None)), table)
    as_before = "the last run on this table predicts it."
    return _proposal(table) if last is None else Proposal(last.target, last.task, as_before)


@of_workspace(entries=64)
def split_asked(folder: str, table: str, target: str) -> Question | None:
    """Returns a question if a table may need a split other than at random."""
    return split_question(_whole(folder, table), get_dataset(Path(folder), table).columns, target)


def last_split(table: str, target: str) -> str:
    """Returns the split of the table's last run, as an answer; AT_RANDOM without a run."""
    last = last_settings((run.settings for run in listed(None)), table, target)
    return AT_RANDOM if last is None else written(last.split_by, last.split_column)


@of_workspace(entries=64)
def ways(folder: str, table: str, column: str) -> tuple[Way, ...]:
    """Returns the ways to predict a column, the most likely first."""
    return ways_of(_whole(folder, table)[column])


def _label_frame(folder: str, table: str, column: str, way: Way, rare: int = 0) -> pd.DataFrame:
    grouped = rare if way == "classes" else 0
    run = RunSettings(dataset=table, target=column, split_at_median=way == "halves", group_rare_classes=grouped)
    return with_label(_whole(folder, table), run)


@of_workspace(entries=64)
def class_counts(folder: str, table: str, column: str, way: Way, rare: int = 0) -> pd.DataFrame:
    """Returns label and rows of each class, largest first; classes with fewer than ``rare`` rows are merged."""
    counts = _label_frame(folder, table, column, way, rare)[column].value_counts()
    return pd.DataFrame({"label": words(pd.Series(counts.index)), "rows": counts.to_numpy()})


@of_workspace(entries=64)
def histogram(folder: str, table: str, column: str) -> tuple[pd.DataFrame, float, float]:
    """Returns a histogram of a column's numbers (low, high, rows), their mean and their standard deviation."""
    values = _whole(folder, table)[column].dropna().to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return pd.DataFrame({"low": [], "high": [], "rows": []}), np.nan, np.nan
    rows, edges = np.histogram(values, min(len(np.histogram_bin_edges(values, "rice")) - 1, BARS))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "rows": rows}), float(values.mean()), float(values.std())


@of_workspace(entries=64)
def label_findings(folder: str, table: str, column: str, way: Way, rare: int) -> tuple[Finding, ...]:
    """Returns findings about a column as the target; raises LabelError if it cannot be predicted as asked."""
    return check_label(_label_frame(folder, table, column, way, rare), column, max_classes=None, task=TASKS[way])


@of_workspace(entries=256, spinner="Splitting the rows")
def _plan(folder: str, run: RunSettings) -> tuple[SplitSizes, tuple[Finding, ...]]:
    return plan_split(_whole(folder, run.dataset), run)


def split_sizes(run: RunSettings) -> SplitSizes:
    """Returns the number of rows in each split of the run's table."""
    return _plan(_of_rows(run))[0]


def _of_rows(run: RunSettings, strategy: Strategy = "inference") -> RunSettings:
    """Returns the run with only the settings that matter to its rows, so that runs share what is known about them."""
    sizes = {name: getattr(run.train, name) for name in ("selection_metric", "validation_rows", "test_rows")}
    run = dataclasses.replace(run.with_strategy(strategy), device="auto", checkpoint=None)
    return dataclasses.replace(run, train=TrainSettings(**sizes), lora=LoraSettings())


@of_workspace(entries=64)
def far_values(folder: str, table: str, column: str) -> list[str]:
    """Returns the distinct numbers of a target that are far from the others, as a file may write them."""
    numbers = _whole(folder, table)[column].dropna().to_numpy(dtype=np.float64)
    return [f"{value:.15g}" for value in np.unique(numbers[far_of(numbers)])]


@of_workspace(entries=64, spinner="Checking for target leakage")
def suspects(folder: str, table: str, column: str, way: Way) -> tuple[Finding, ...]:
    """Returns findings about columns that by themselves predict ``column`` almost without error."""
    kinds = {column.name: column.kind for column in get_dataset(Path(folder), table).columns}
    return may_leak(_label_frame(folder, table, column, way), kinds, column, TASKS[way])


def split_findings(sweep: SweepSettings) -> list[Finding]:
    """Returns findings about the splits of a sweep under each seed; raises TabTuneError for an impossible one."""
    if sweep.run.split_by == "random":
        return []
    run = _of_rows(sweep.run)
    findings = (finding for seed in sweep.seeds for finding in _plan(dataclasses.replace(run, seed=seed))[1])
    return list(dict.fromkeys(findings))


@of_workspace(entries=256, spinner="Checking the table")
def _table_stops(folder: str, runs: list[RunSettings]) -> list[str]:
    columns = get_dataset(Path(folder), runs[0].dataset).columns
    return [str(error) for error in stopped_by_table(_whole(folder, runs[0].dataset), columns, runs)]


def table_stops(run: RunSettings, seeds: Sequence[int] = (0,)) -> list[str]:
    """Returns the reasons in a table (target, columns, split) why runs on it could not start."""
    row_settings = _of_rows(run, "linear" if run.strategy in REFERENCES else "inference")
    return _table_stops([dataclasses.replace(row_settings, seed=seed) for seed in seeds])


def start_reading(source: Path | bytes | str, name: str, choices: ReadingChoices) -> ReadingProcess:
    """Starts a process that reads a file, or downloads one from an address, into a table."""
    return ReadingProcess(store().home, source, name, choices, limit_bytes=upload_limit())


def keep_sample(name: str) -> Dataset:
    """Adds one of the samples as a table."""
    return add_sample(store().home, name)


def delete_table(identity: str) -> None:
    """Deletes a table and its file; raises StoreError if a run or job uses it, TableError if there is none."""
    uploaded_adapters.delete_table(store(), identity)


def forget_reading(old: str, new: str) -> None:
    """Deletes the table ``old``, which ``new`` replaces, unless a run used it."""
    if new != old and not any(run.settings.dataset == old for run in store().runs()):
        with suppress(StoreError):  # a prediction is using its rows
            uploaded_adapters.delete_table(store(), old)


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """The range of a column's numbers."""

    low: float
    high: float
    whole: bool
    """True if all are whole numbers, or all are equal."""


@of_workspace(entries=16)
def ranges(folder: str, table: str) -> dict[str, Span]:
    """Returns the range of each numeric column that has values."""
    frame, spans = _whole(folder, table), {}
    numbers = [one.name for one in get_dataset(Path(folder), table).columns if one.kind == "number"]
    for name in numbers:
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        values = values[np.isfinite(values)]
        if len(values):
            low, high = float(values.min()), float(values.max())
            spans[name] = Span(low, high, low == high or bool((values == np.floor(values)).all()))
    return spans


@of_workspace(entries=64)
def values(folder: str, table: str, column: str, *, most: int = 300) -> list[str] | None:
    """Returns the distinct texts of a column, sorted, or None if there are more than ``most``."""
    values = _whole(folder, table)[column].dropna().astype(str).drop_duplicates()
    return None if len(values) > most else sorted(values)
