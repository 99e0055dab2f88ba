"""Memory by cause as pages show it: the frame behind the picture, and the estimate beside what a run was measured to take."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard.components.plotly_chart import show
from dashboard.formatting import megabytes, plain
from tabtune_core.charts import CHARTS
from tabtune_core.charts.memory import CAUSES
from tabtune_core.store.run_row import Run


def cause_rows(run: str, kind: str, by_cause: Mapping[str, float]) -> list[dict[str, object]]:
    """Rows of a bar of ``memory_breakdown``."""
    return [{"run": run, "kind": kind, "cause": cause, "bytes": by_cause[cause]} for cause in CAUSES]


def growth_of(by_cause: Mapping[str, float]) -> float:
    """Over the loaded model."""
    return by_cause["gradients"] + by_cause["optimizer"] + by_cause["activations"]


def draw(rows: list[dict[str, object]], *, key: str) -> None:
    """The picture with its table."""
    frame = pd.DataFrame(rows, columns=["run", "kind", "cause", "bytes"])
    drawn = CHARTS["memory_breakdown"].draw(frame)
    show(
        drawn,
        key=key,
        label="Memory by cause, one bar per run",
        numbers=frame.pivot_table("bytes", ["run", "kind"], "cause").reset_index(),
    )


def against_measured(run: Run, name: str) -> None:
    """For a run that ended: the estimate for its sizes beside what was measured, where there is either."""
    measured, estimated = (run.result.memory_by_cause_bytes, run.result.estimated_bytes) if run.result else (None, None)
    if not measured or any(set(CAUSES) - found.keys() for found in (measured, estimated) if found):
        return
    box = st.expander("Memory: estimate and measurement", key=f"by_cause_{run.id}", on_change="rerun", icon=":material/memory:")
    if not box.open:
        return
    with box:
        rows = cause_rows(name, "measured", measured)
        what = "Predicting" if run.settings.strategy == "inference" else "Training"
        said = f"{what} took {megabytes(growth_of(measured))} over the loaded model"
        if estimated:
            rows = cause_rows(name, "estimate", estimated) + rows
            said += f"; the architecture alone says {megabytes(growth_of(estimated))} ({growth_of(estimated) / growth_of(measured):.0%})"
        draw(rows, key=f"by_cause_chart_{run.id}")
        st.caption(plain(f"{said}. Weights, adapter, gradients and optimizer were counted; activations are the rest of the measured peak."))
