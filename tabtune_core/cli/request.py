"""What ``sweep`` and ``train`` are asked for: the table, the column to predict and how, checked before anything starts."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabtune_core.analysis.runtime_estimate import TrainedOn
from tabtune_core.cli.arguments import answer_flags, given_reading
from tabtune_core.cli.reading_line import telling
from tabtune_core.cli.terminal import say
from tabtune_core.data.findings import Question, ReadingChoices
from tabtune_core.errors import LabelError, SettingError, TableError
from tabtune_core.files.damaged import read_text, refused_as
from tabtune_core.gpus import card_memory, count_cards
from tabtune_core.machine import machine_memory
from tabtune_core.models.catalogue import check_features, get_card
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.settings.serialization import MOST_LETTERS, read_toml
from tabtune_core.settings.validation import require
from tabtune_core.store.runs import RunStore
from tabtune_core.training.memory.disk_space import disk_need, no_room
from tabtune_core.training.memory.estimate import Sizes
from tabtune_core.training.memory.fitting import DeviceMemory, cannot_fit, need_of
from tabtune_core.training.memory.prediction_context import with_shown_rows

if TYPE_CHECKING:
    from tabtune_core.data.datasets import Dataset
    from tabtune_core.data.splits import SplitSizes

INSIST = "--even-if-it-does-not-fit"


def dataset_of(store: RunStore, asked: argparse.Namespace) -> "Dataset":
    """The table that DATA names: a file is read, a table of the workspace is taken as it was read."""
    from tabtune_core.data.datasets import ID, add_dataset, folder_of, get_dataset

    path, choices = asked.data, given_reading(asked)
    if path.exists():
        with telling() as tell:
            dataset = add_dataset(store.home, path, path.name, choices, tell=tell)
        for finding in dataset.findings:
            say(f"{finding.severity}: {finding.message}")
        for question in dataset.questions:
            _say_question(question)
        return dataset
    if not ID.fullmatch(str(path)):
        raise TableError(
            f"There is no file {str(path)!r}. Give the path of a CSV or Parquet file, or the id of a table in the workspace {store.home}."
        )
    dataset = get_dataset(store.home, str(path))
    if choices != ReadingChoices():
        source = folder_of(store.home, dataset.id) / "source"
        raise TableError(f"The table {dataset.name!r} is taken as it was read. To read its file in another way, give that: {source}")
    return dataset


def _say_question(question: Question) -> None:
    say(f"question: {question.message} On the command line: {answer_flags(question)}.")


def read_settings_file(path: Path | None, cls: type) -> dict[str, Any]:
    """The settings of a TOML file, of the class ``cls``; none without one.

    Raises:
        SettingError: it cannot be read, or is no such file.
    """
    if path is None:
        return {}
    called = f"The settings file {str(path)!r}"
    with refused_as(SettingError, f"{called} cannot be read as TOML"):
        text = read_text(path, most_bytes=4 * MOST_LETTERS)
    return read_toml(text, cls, called)


def settle_target(store: RunStore, dataset: "Dataset", run: dict[str, Any]) -> None:
    """Refuses a request without a target and names the likely one; where nothing is said, asks how to split and says the task."""
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.split_question import split_question
    from tabtune_core.data.table import Table
    from tabtune_core.data.target import propose_target, ways_of

    frame = load_frame(store.home, dataset.id)
    target = run.get("target")
    require(isinstance(target, str | None), f"target is {target!r}; it must be text.")
    if not target:
        likely = propose_target(Table(frame, dataset.columns, dataset.findings, dataset.questions, dataset.reading), dataset.name)
        hint = f" Likely: {likely.reason}" if likely.column or likely.near else f" {likely.reason}"
        raise LabelError(f"Name the column to predict with --target.{hint} The table has {', '.join(map(str, frame.columns))}.")

    question = None if "split_by" in run else split_question(dataset.columns, dataset.rows, target)
    if question is not None:
        _say_question(question)
    if "task" in run or run.get("split_at_median") or target not in frame:  # what is absent is said with the target
        return
    ways = ways_of(frame[target])
    run["task"] = "regression" if ways[0] == "numbers" else "classification"
    if ways[0] == "numbers":
        why = "holds numbers on a scale; --task classification or --split-at-median for classes"
    elif "numbers" in ways:
        why = f"holds {frame[target].nunique()} different numbers, each a class; --task regression to predict them as numbers"
    else:
        why = "holds classes"
    say(f"{run['task']}: {target!r} {why}")


def check_target(store: RunStore, dataset: "Dataset", settings: Sequence[RunSettings]) -> tuple[TrainedOn, "SplitSizes"]:
    """Refuses what cannot be predicted, or split, as asked, and says what to know; returns what would be trained on, and the split."""
    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.encoding import count_features
    from tabtune_core.data.pair_leakage import pairs_that_give
    from tabtune_core.data.target import check_label, with_label
    from tabtune_core.data.task import check_split, kinds_of, plan_split

    first, needs_model = settings[0], any(one.strategy not in REFERENCES for one in settings)
    whole, kinds = load_frame(store.home, first.dataset), kinds_of(dataset.columns, first)
    frame = with_label(whole, first.target, at_median=first.split_at_median)
    card = get_card(first.model)
    found = check_label(frame, first.target, max_classes=card.family.class_limit if needs_model else None, task=first.task)
    if needs_model:
        check_features(card, count_features(kinds, first.target))
    splits = (finding for one in {run.seed: run for run in settings}.values() for finding in check_split(whole, one))
    for finding in dict.fromkeys((*found, *pairs_that_give(whole, kinds, first.target), *splits)):
        say(f"{finding.severity}: {finding.message}")
    on_gpu = first.device.startswith("cuda") or (first.device == "auto" and count_cards() > 0)
    classes = 0 if first.task == "regression" else frame[first.target].nunique()
    features = count_features(kinds, first.target)
    split = plan_split(whole, first)
    return TrainedOn.plan(split, features=features, classes=classes, on_gpu=on_gpu), split


def check_room(home: Path, settings: Sequence[RunSettings], split: "SplitSizes", trained_on: TrainedOn) -> None:
    """Refuses runs that cannot fit the memory of their device, or the disk of their workspace.

    Raises:
        SettingError: with what they need, what there is and what to lower.
    """
    need = disk_need(settings, get_card(settings[0].model), split, classes=trained_on.classes)
    if told := _lacks_memory(settings, split, trained_on) or no_room(need, home):
        raise SettingError(f"{told} Nothing was started; {INSIST} starts it all the same.")


def _lacks_memory(settings: Sequence[RunSettings], split: "SplitSizes", trained_on: TrainedOn) -> str | None:
    runs = [run for run in settings if run.strategy not in REFERENCES and run.seed == settings[0].seed]
    if not runs:
        return None
    card, first = get_card(runs[0].model), next((run for run in runs if run.strategy != "inference"), runs[0])
    features, classes = trained_on.features, trained_on.classes
    device = DeviceMemory.of(first.device, machine_memory(), card_memory())
    if device.all_bytes is None:
        return None
    first = with_shown_rows(first, features=features, memory_bytes=round(device.all_bytes), on_gpu=device.on_gpu)
    need = need_of(runs, card, Sizes.plan(first, split, features=features, classes=classes), on_gpu=device.on_gpu)
    return cannot_fit(need, device, first)
