"""The guide's table of full fine-tuning against LoRA, with numbers as text."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.formatting import duration, megabytes
from tabtune_core.analysis.full_vs_lora import TIE, UNKNOWN
from tabtune_core.analysis.gains import amount
from tabtune_core.analysis.intervals import PLUS_MINUS, half_width
from tabtune_core.metrics import METRICS

NOT_RUN = "N/A"
GUIDE = "PEFT & LoRA guide says"
WRITTEN: dict[str, Callable[[float], str]] = {
    "growth_memory_bytes": megabytes,
    "stored_bytes": megabytes,
    "train_seconds": duration,
    "step_seconds": lambda seconds: NOT_RUN if pd.isna(seconds) else f"{1000 * seconds:,.1f} ms",
    "trainable_percent": lambda share: NOT_RUN if pd.isna(share) else f"{share:.2f} %",
}
WINNERS = {"": NOT_RUN, TIE: "neither: no clear difference", UNKNOWN: "not known: no interval"}


def words(compared: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Returns every number as text with its unit, N/A without such a run.

    The smallest LoRA that is as good has a column if it differs.
    """
    name, small_name = compared[["lora_name", "small_lora_name"]].iloc[0]
    best = f"Best LoRA ({name})" if name else "Best LoRA"

    def scored(value: float, apart: Sequence[float]) -> str:
        return NOT_RUN if pd.isna(value) else METRICS[metric].text(value, *apart)

    rows = []
    for row in compared.to_dict("records"):
        apart = [row[name] - row["lora"] for name in ("zero_shot", "full", "small_lora")]
        write = WRITTEN.get(row["column"], partial(scored, apart=apart))
        rows.append(
            {
                "Aspect": row["aspect"],
                "Zero-shot": write(row["zero_shot"]),
                "Full fine-tuning": write(row["full"]),
                best: write(row["lora"]),
                **({f"Smallest as good ({small_name})": write(row["small_lora"])} if small_name != name else {}),
                "Best LoRA against full": _against(row, metric),
                "Better": WINNERS.get(row["winner"], row["winner"]),
                GUIDE: row["guide"],
            }
        )
    return pd.DataFrame(rows)


def _against(row: dict[Hashable, Any], metric: str) -> str:
    """Returns scores as a difference, costs as a ratio."""
    if not pd.isna(less := row["ratio"]):
        return (
            "about the same"
            if 1 / 1.05 < less < 1.05
            else f"{max(less, 1 / less):,.1f} times {'less' if less > 1 else 'more'}"
        )
    if pd.isna(row["difference"]) or row["column"] in WRITTEN:
        return NOT_RUN
    better_by = float(METRICS[metric].ahead(row["lora"], row["full"]))
    return amount(better_by, row[half_width("difference")], METRICS[metric], row["full"], signed=True)


def show(compared: pd.DataFrame, metric: str) -> None:
    """Draws the table and says how it was computed; draws nothing until a run of each side has ended."""
    if compared[["full", "lora"]].isna().all(axis=None):
        return
    st.header(
        "Full fine-tuning against LoRA",
        help='Section 14 of the guide "PEFT & LoRA: Parameter-Efficient Fine-Tuning for Tabular Models", with what '
        "this sweep measured.",
    )
    columns = {"Aspect": st.column_config.TextColumn(pinned=True), "Better": st.column_config.TextColumn(width=190)}
    st.dataframe(words(compared, metric), hide_index=True, column_config=columns)
    st.caption(
        f"Means over the compared seeds; for scores, + is better. {PLUS_MINUS}."
        " A score wins if its difference exceeds ±; memory and time must also differ by more than 5 %. Storage: the "
        "adapter package,"
        " against all weights of the model at 4 bytes each (computed). N/A: no such run in this sweep."
    )
