"""Checks before a sweep is queued: finds each reason for which its runs would fail before their first step.

In: runs, and the table that they read. Out: errors that say what to do; empty if the runs can start. The pages, the
command line and the Python API use these checks, and the runs themselves fail for the same reasons. Loads no torch.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from tabtune_core.data.datasets import get_dataset, load_frame
from tabtune_core.data.encoding import check_any_feature
from tabtune_core.data.findings import Column
from tabtune_core.data.merged_classes import with_label
from tabtune_core.data.target_checks import check_label
from tabtune_core.data.task import TableSizes, features_of, kinds_of, plan_split
from tabtune_core.errors import DeviceError, SettingError, TabTuneError
from tabtune_core.gpus import card_memory, check_device, count_cards
from tabtune_core.machine import machine_memory
from tabtune_core.models.catalogue import check_features, check_request, get_card
from tabtune_core.settings import REFERENCES, RunSettings
from tabtune_core.training.memory.estimate import Sizes, with_shown_rows
from tabtune_core.training.memory.fitting import DeviceMemory, cannot_fit, need_of


def what_stops(home: Path, runs: Sequence[RunSettings], *, cluster_cards: int | None = None) -> list[TabTuneError]:
    """Returns everything that stops runs on a table of a workspace, except a lack of memory (``too_large``).

    ``cluster_cards`` is as in ``stopped_by_request``. TableError if the workspace does not hold the table.
    """
    dataset = get_dataset(home, runs[0].dataset)
    of_table = stopped_by_table(load_frame(home, dataset.id), dataset.columns, runs)
    return [*of_table, *stopped_by_request(runs, cluster_cards=cluster_cards)]


def stopped_by_table(frame: pd.DataFrame, columns: Iterable[Column], runs: Sequence[RunSettings]) -> list[TabTuneError]:
    """Checks the target, the feature columns and the split.

    A model's limits do not stop references, which use no model.
    """
    run, columns = runs[0], list(columns)
    card = next((get_card(one.model) for one in runs if one.strategy not in REFERENCES), None)
    limit = None if card is None else card.family.class_limit
    of_label = _collected(lambda: check_label(with_label(frame, run), run.target, max_classes=limit, task=run.task))
    of_columns = _collected(
        lambda: check_any_feature(kinds_of(columns, run), run.target),
        lambda: None if card is None else check_features(card, features_of(columns, run)),
    )
    seeds = {one.seed if run.split_by != "random" else 0: one for one in runs}
    of_split = [] if of_label else _collected(*(lambda one=one: plan_split(frame, one) for one in seeds.values()))
    return [*of_label, *of_columns, *of_split]


def stopped_by_request(runs: Sequence[RunSettings], *, cluster_cards: int | None = None) -> list[TabTuneError]:
    """Checks the model, the adapter and the device, as far as possible without loading anything.

    ``cluster_cards`` is the number of GPUs of the cluster that executes the runs; None if this machine does.
    """
    distinct = {one.strategy if one.strategy != "peft" else one: one for one in runs if one.seed == runs[0].seed}
    return _collected(*(lambda one=one: _check_run(one, cluster_cards) for one in distinct.values()))


def too_large(home: Path, runs: Sequence[RunSettings]) -> SettingError | None:
    """Returns an error if runs exceed, by estimate, the memory of their device."""
    seeded = [run for run in runs if run.strategy not in REFERENCES and run.seed == runs[0].seed]
    first = next((run for run in seeded if run.strategy != "inference"), next(iter(seeded), None))
    if first is None:
        return None
    card, device = get_card(first.model), DeviceMemory.of(first.device, machine_memory(), card_memory())
    if device.all_bytes is None:
        return None
    table = TableSizes.of(load_frame(home, first.dataset), get_dataset(home, first.dataset).columns, first)
    memory = round(device.all_bytes)
    shown = with_shown_rows(first, features=table.features, memory_bytes=memory, on_gpu=device.on_gpu)
    sizes = Sizes.plan(shown, table.split, features=table.features, classes=table.classes)
    why = cannot_fit(need_of(seeded, card, sizes, on_gpu=device.on_gpu), device, shown)
    return SettingError(why) if why else None


def on_unequal_gpus(home: Path, runs: Sequence[RunSettings]) -> list[RunSettings]:
    """Returns a sweep's runs with the context rows of the smallest GPU that 'auto' may choose, if others take more.

    Otherwise runs would predict with different context rows, depending on the GPU that each of them gets.
    """
    sizes = [memory[1] for memory in card_memory() if memory]
    first = next((run for run in runs if run.strategy not in REFERENCES), None)
    if first is None or first.device != "auto" or len(set(sizes)) < 2:
        return list(runs)
    dataset = get_dataset(home, first.dataset)
    features = features_of(dataset.columns, first)
    least, most = (
        with_shown_rows(first, features=features, memory_bytes=size, on_gpu=True).train.predict_context_rows or 0
        for size in (min(sizes), max(sizes))
    )
    if least == most or dataset.rows <= least:
        return list(runs)
    return [run.changed(predict_context_rows=least) for run in runs]


def _check_run(run: RunSettings, cluster_cards: int | None) -> None:
    check_request(run)
    if run.strategy in REFERENCES:
        return
    if cluster_cards is None:
        check_device(run.device)
    gpus = count_cards() if cluster_cards is None else cluster_cards
    if run.train.amp != "off" and (run.device == "cpu" or (run.device == "auto" and not gpus)):
        needs = f"train.amp is {run.train.amp!r}, which needs a CUDA GPU, and these runs would use the CPU"
        raise DeviceError(f"{needs}. Set it to 'off'.")


def _collected(*checks: Callable[[], object]) -> list[TabTuneError]:
    """Returns the errors that the checks raise, each message once."""
    errors: dict[str, TabTuneError] = {}
    for check in checks:
        try:
            check()
        except TabTuneError as error:
            errors.setdefault(str(error), error)
    return list(errors.values())
