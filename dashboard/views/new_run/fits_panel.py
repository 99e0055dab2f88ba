"""What fits this machine or a GPU of another size: the most context rows, the largest rank, what each lever buys."""

import dataclasses

import pandas as pd
import streamlit as st

from dashboard import queries
from tabtune_core.data.target import Way
from tabtune_core.data.task import features_of
from tabtune_core.settings import SweepSettings
from tabtune_core.training.memory.fitting import DeviceMemory
from tabtune_core.training.memory.what_fits import CHECKED, what_fits

GIGABYTE, MOST_GIGABYTES = 1e9, 10_000
_HELP = (
    "Needed is what tensors hold at the peak of training, at the context rows and the rank in the form. Used is what "
    "the process takes then at most. The most rows are at that rank, the largest rank at those rows."
)


def fits_panel(sweep: SweepSettings, way: Way) -> None:
    """Draws the lines of ``what_fits`` for the highest rank of the form, once the panel is open."""
    panel = st.expander("What fits", icon=":material/fit_screen:", key="what_fits", on_change="rerun")
    if not panel.open or not sweep.ranks:
        return
    device = DeviceMemory.of(sweep.run.device, *queries.memory_of_devices())
    with panel:
        here = f"{device.all_bytes / GIGABYTE:.0f} GB, {device.name}" if device.all_bytes else "not known"
        asked = st.number_input("Memory of a GPU (GB)", value=None, placeholder=f"this machine: {here}")
        if asked is not None and not 1 <= asked <= MOST_GIGABYTES:
            st.error(f"The memory of a GPU is {asked:g} GB; write a number from 1 to {MOST_GIGABYTES:,}.")
            return
        size, on_gpu = (asked * GIGABYTE, True) if asked else (device.all_bytes, device.on_gpu)
        if size is None:
            st.caption("The memory of this device is not known; enter it.")
            return
        run = sweep.run.with_strategy("peft").changed(rank=max(sweep.ranks), seed=sweep.seeds[0])
        group = run.group_rare_classes
        classes = 0 if way == "numbers" else len(queries.class_counts(run.dataset, run.target, way, group))
        sizes = {"features": features_of(queries.tables()[run.dataset].columns, run), "classes": classes}
        fits = what_fits(run, queries.split_sizes(run), **sizes, memory_bytes=size, on_gpu=on_gpu)
        lines = pd.DataFrame(map(dataclasses.asdict, fits.lines))
        lines[["needed_bytes", "used_bytes"]] /= GIGABYTE
        names = ("With", "Needed (GB)", "Used at most (GB)", "Most context rows", "Largest rank")
        config = {name: st.column_config.NumberColumn(format="%.2f") for name in names[1:3]}
        st.dataframe(lines.set_axis(names, axis=1).fillna(0), hide_index=True, column_config=config)
        st.caption(f"The table allows {fits.most_rows:,} context rows; 0: nothing fits.", help=_HELP)
        st.caption(CHECKED)
