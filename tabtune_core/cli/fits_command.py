"""``fits``: what fits a GPU or this machine, printed as a table.

In: the request of a run, and gigabytes. Out: lines of ``what_fits``.
"""

import argparse

from tabtune_core.cli.arguments import given
from tabtune_core.cli.kept_runs import print_as
from tabtune_core.cli.request import check_target, dataset_of, read_settings_file, settle_target
from tabtune_core.cli.terminal import say
from tabtune_core.errors import SettingError
from tabtune_core.gpus import card_memory
from tabtune_core.machine import machine_memory
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.settings.validation import require
from tabtune_core.store.runs import RunStore


def print_fits(asked: argparse.Namespace) -> int:
    """Prints the most context rows, the largest rank, and what each lever buys."""
    import pandas as pd

    from tabtune_core.data.datasets import load_frame
    from tabtune_core.data.task import TableSizes
    from tabtune_core.training.memory.what_fits import CHECKED, what_fits

    store = RunStore(asked.home)
    dataset = dataset_of(store, asked)
    values = {**given(asked, read_settings_file(asked.settings, RunSettings)), "dataset": dataset.id}
    settle_target(store, dataset, values)
    run = RunSettings.from_dict(values)
    if run.strategy not in ("peft", "base-ft"):
        raise SettingError(f"The strategy {run.strategy!r} trains nothing; choose 'peft' or 'base-ft'.")
    check_target(store, dataset, [run.changed(amp="off")])  # the GPU that is asked about may not be in this machine
    table = TableSizes.of(load_frame(store.home, dataset.id), dataset.columns, run)
    name, size, on_gpu = _device(asked.memory, run)
    sizes = {"features": table.features, "classes": table.classes}
    fits = what_fits(run, table.split, **sizes, memory_bytes=size, on_gpu=on_gpu)
    rows = [
        (
            line.settings,
            round(line.needed_bytes / 1e9, 2),
            round(line.used_bytes / 1e9, 2),
            line.context_rows,
            line.rank,
        )
        for line in fits.lines
    ]
    columns = ["settings", "needed_gb", "used_gb_at_most", "most_context_rows", "largest_rank"]
    frame = pd.DataFrame(rows, columns=columns).fillna(0).astype(dict.fromkeys(columns[3:], int))
    print_as(asked.format, frame, frame.to_string(index=False))
    rank = f", rank {run.lora.rank}" if run.strategy == "peft" else ""
    as_set = f"{run.train.context_rows:,} context rows{rank} as set"
    table_allows = f"the table allows {fits.most_rows:,}. Predictions would use {fits.shown_rows:,}. 0: nothing fits."
    say(f"{get_card(run.model).title} on {name} ({size / 1e9:.1f} GB): {as_set}; {table_allows}")
    say(CHECKED)
    return 0


def _device(gigabytes: float | None, run: RunSettings) -> tuple[str, float, bool]:
    """Returns name and bytes of a device with so much memory, or of the run's own, and whether it is a GPU."""
    from tabtune_core.training.memory.fitting import DeviceMemory

    device = DeviceMemory.of(run.device, machine_memory(), card_memory())
    if gigabytes is not None:
        require(1 <= gigabytes <= 10_000, f"--memory is {gigabytes:g}; it must be a size from 1 to 10,000 GB.")
        on_gpu = run.device != "cpu"
        return f"{'a GPU' if on_gpu else 'a CPU'} with {gigabytes:g} GB", gigabytes * 1e9, on_gpu
    if device.all_bytes is None:
        raise SettingError(f"The memory of {device.name} is not known; give it in GB, such as --memory 24.")
    return device.name, device.all_bytes, device.on_gpu
