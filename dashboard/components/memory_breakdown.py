"""Memory by cause: the frame behind the chart, and a run's estimate beside its measurement."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard.components.plotly_chart import show
from dashboard.formatting import megabytes, plain
from tabtune_core.charts.memory import CAUSES
from tabtune_core.store.run_row import Run


def cause_rows(run: str, kind: str, by_cause: Mapping[str, float]) -> list[dict[str, object]]:
    """Returns the rows of one bar of ``memory_breakdown``."""
    return [{"run": run, "kind": kind, "cause": cause, "bytes": by_cause[cause]} for cause in CAUSES]


def growth_of(by_cause: Mapping[str, float]) -> float:
    """Returns the bytes over the loaded model."""
    return by_cause["gradients"] + by_cause["optimizer"] + by_cause["activations"]


def draw(rows: list[dict[str, object]], *, key: str) -> None:
    """Draws the chart with its table."""
    frame = pd.DataFrame(rows, columns=["run", "kind", "cause", "bytes"])
    numbers = frame.pivot_table("bytes", ["run", "kind"], "cause").reset_index()
    show("memory_breakdown", frame, key=key, label="Memory by cause, one bar per run", numbers=numbers)


def against_measured(run: Run, name: str) -> None:
    """For a run that ended, draw the measured memory and, if there is one, the estimate for its sizes."""
    measured, estimated = (run.result.memory_by_cause_bytes, run.result.estimated_bytes) if run.result else (None, None)
    if not measured or any(set(CAUSES) - found.keys() for found in (measured, estimated) if found):
        return
    box = st.expander(
        "Memory: estimate and measurement", key=f"by_cause_{run.id}", on_change="rerun", icon=":material/memory:"
    )
    if not box.open:
        return
    with box:
        rows = cause_rows(name, "measured", measured)
        what = "Predicting" if run.settings.strategy == "inference" else "Training"
        said = f"{what} took {megabytes(growth_of(measured))} over the loaded model"
        if estimated:
            rows = cause_rows(name, "estimate", estimated) + rows
            of_it = f" ({growth_of(estimated) / growth_of(measured):.0%})" if growth_of(measured) else ""
            said += f"; the estimate from the architecture alone is {megabytes(growth_of(estimated))}{of_it}"
        draw(rows, key=f"by_cause_chart_{run.id}")
        st.caption(
            plain(
                f"{said}. Weights, adapter, gradients and optimizer were counted; activations are the rest of the "
                "measured peak."
            )
        )
