"""The request of ``sweep`` and ``train``: table, target and how to predict it, checked before anything starts."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from tabtune_core.cli.arguments import answer_flags, given_reading
from tabtune_core.cli.terminal import say
from tabtune_core.data.findings import Question, ReadingChoices, absent, together
from tabtune_core.data.reading.progress import Tell, in_words
from tabtune_core.errors import LabelError, SettingError, TableError
from tabtune_core.execution.worker_flags import cluster_for_new_runs
from tabtune_core.files.damaged import read_text, refused_as
from tabtune_core.files.plain_values import SHA256
from tabtune_core.gpus import count_cards
from tabtune_core.metrics import Task
from tabtune_core.settings import RunSettings
from tabtune_core.settings.serialization import MOST_LETTERS, read_toml
from tabtune_core.settings.validation import require
from tabtune_core.store.runs import RunStore

if TYPE_CHECKING:
    import pandas as pd

    from tabtune_core.analysis.runtime_estimate import TrainedOn
    from tabtune_core.data.datasets import Dataset


def dataset_of(store: RunStore, asked: argparse.Namespace) -> "Dataset":
    """Returns the table that DATA names: reads a file or address, or opens a table of the workspace."""
    from tabtune_core.data.datasets import add_dataset, add_source, folder_of, get_dataset
    from tabtune_core.data.sources import is_address

    choices, path = given_reading(asked), Path(asked.data)
    if (elsewhere := is_address(asked.data)) or path.exists():
        with telling() as tell:
            if elsewhere:
                dataset = add_source(store.home, asked.data, choices, tell=tell)
            else:
                dataset = add_dataset(store.home, path, path.name, choices, tell=tell)
        names = [column.name for column in dataset.columns]
        for name in dict(choices.decimal_commas).keys() - set(names):
            raise TableError(f"--decimal-comma or --thousands-comma: {absent(name, names)}")
        for finding in together(dataset.findings):
            say(f"{finding.severity}: {finding.message}")
        for question in dataset.questions:
            _say_question(question)
        return dataset
    if not SHA256.fullmatch(str(path)):
        raise TableError(
            f"There is no file {str(path)!r}. Give the path of a table, an address (https://, hf://datasets/, "
            f"openml:) or the id of a table in the workspace {store.home}."
        )
    dataset = get_dataset(store.home, str(path))
    if choices != ReadingChoices():
        source = folder_of(store.home, dataset.id) / "source"
        other = f"To read it in another way, give its file: {source}"
        raise TableError(f"The table {dataset.name!r} has been read. {other}")
    return dataset


def file_of(data: str, home: Path, folder: Path) -> Path:
    """Returns the file that DATA names without adding it to the workspace; fetches an address to ``folder``."""
    from tabtune_core.data.datasets import source_of
    from tabtune_core.data.sources import fetch, is_address
    from tabtune_core.data.table import LIMIT_BYTES

    if is_address(data):
        with telling() as tell:
            return fetch(data, folder, limit_bytes=LIMIT_BYTES, tell=tell).path
    path = Path(data)
    return source_of(home, path.name) if SHA256.fullmatch(data) and not path.exists() else path


def _say_question(question: Question) -> None:
    say(f"question: {question.message} On the command line: {answer_flags(question)}.")


def read_settings_file(path: Path | None, cls: type) -> dict[str, Any]:
    """Reads the settings of a TOML file for the class ``cls``, or none; raises SettingError if it holds others."""
    if path is None:
        return {}
    called = f"The settings file {str(path)!r}"
    with refused_as(SettingError, f"{called} cannot be read as TOML"):
        text = read_text(path, most_bytes=4 * MOST_LETTERS)
    return read_toml(text, cls, called)


def settle_target(store: RunStore, dataset: "Dataset", run: dict[str, Any]) -> None:
    """Fills in target, split and task in ``run``, and says what it chose.

    If they are not given, target and split are those of the table's last run. Without such a run, a missing target is
    an error that names the likely one, and a question about the split is printed.
    """
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.split_question import last_settings, split_question
    from tabtune_core.data.table import Table
    from tabtune_core.data.target import propose_target

    frame, target = load_frame(store.home, dataset.id), run.get("target")
    require(isinstance(target, str | None), f"target is {target!r}; it must be text.")
    require(target != "", "target is empty; name the column to predict, or leave --target out.")
    last = last_settings((one.settings for one in store.runs()), dataset.id, target)
    if not target and last:
        target = run["target"] = last.target
        say(f"target: {target!r}, as in the last run on this table; --target for another")
    if not target:
        table = Table(frame, dataset.columns, dataset.findings, dataset.questions, dataset.reading)
        likely = propose_target(table, dataset.name, dataset.target)
        hint = f"Likely: {', '.join(map(repr, likely.near))}." if likely.near else likely.reason
        has = f"The table has {', '.join(map(str, frame.columns))}."
        raise LabelError(f"Name the column to predict with --target. {hint} {has}")

    given = bool({"split_by", "split_column"} & run.keys())
    if not given and last and last.target == target and last.split_by != "random":
        run |= {"split_by": last.split_by, "split_column": last.split_column}
        say(f"{last.split}, as in the last run on this table; --split-by random for a split at random")
    elif not given and (question := split_question(frame, dataset.columns, target)):
        _say_question(question)
    if "task" in run or run.get("split_at_median") or target not in frame:  # an absent target is reported later
        return
    run["task"], why = _task_of(frame[target])
    say(f"{run['task']}: {target!r} {why}")


def _task_of(target: "pd.Series") -> tuple[Task, str]:
    """Returns the task for a column, and what it holds."""
    from tabtune_core.data.target import ways_of

    ways = ways_of(target)
    if ways[0] == "numbers":
        other = "--task classification or --set split_at_median=true for classes"
        return "regression", f"holds numbers on a scale; {other}"
    if "numbers" in ways:
        other = "--task regression to predict them as numbers"
        return "classification", f"holds {target.nunique()} different numbers, each a class; {other}"
    return "classification", "holds classes"


def say_what_may_leak(store: RunStore, dataset: "Dataset", settings: RunSettings) -> None:
    """Warns about columns that alone predict the target nearly without error; takes about a second."""
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.leakage import may_leak
    from tabtune_core.data.merged_classes import with_label
    from tabtune_core.data.task import kinds_of

    frame = with_label(load_frame(store.home, settings.dataset), settings)
    for finding in may_leak(frame, kinds_of(dataset.columns, settings), settings.target, settings.task):
        say(f"{finding.severity}: {finding.message}")


def check_target(store: RunStore, dataset: "Dataset", settings: Sequence[RunSettings]) -> "TrainedOn":
    """Raises an error if the runs could not start, prints findings, and returns the sizes of a training."""
    from tabtune_core.analysis.launch_checks import stopped_by_request, stopped_by_table
    from tabtune_core.analysis.runtime_estimate import TrainedOn
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.merged_classes import with_label
    from tabtune_core.data.target_checks import check_label
    from tabtune_core.data.task import TableSizes, plan_split

    first, cluster = settings[0], cluster_for_new_runs(store.home)
    whole, cluster_cards = load_frame(store.home, first.dataset), len(cluster.cards) if cluster else None
    stops = stopped_by_table(whole, dataset.columns, settings)
    if stops := [*stops, *stopped_by_request(settings, cluster_cards=cluster_cards)]:
        raise type(stops[0])(" ".join(map(str, stops)))
    frame = with_label(whole, first)
    findings = check_label(frame, first.target, max_classes=None, task=first.task)
    splits = (finding for one in {run.seed: run for run in settings}.values() for finding in plan_split(whole, one)[1])
    for finding in dict.fromkeys((*findings, *splits)):
        say(f"{finding.severity}: {finding.message}")
    on_gpu = count_cards() > 0 if first.device == "auto" else first.device != "cpu"
    table = TableSizes.of(whole, dataset.columns, first)
    return TrainedOn.plan(table.split, features=table.features, classes=table.classes, on_gpu=on_gpu)


QUIET_SECONDS = 2.0


@contextmanager
def telling() -> Iterator[Tell]:
    """Yields a function that takes progress, which is shown on stderr after QUIET_SECONDS."""
    form, seconds = "{desc} ({elapsed}, Ctrl-C to cancel)", 0.5 if sys.stderr.isatty() else 10.0
    with tqdm(bar_format=form, delay=QUIET_SECONDS, mininterval=seconds, miniters=1, leave=False) as bar:

        def tell(stage: str, done: int, whole: int) -> None:
            bar.set_description_str(in_words(stage, done, whole), refresh=False)
            bar.update()

        yield tell
