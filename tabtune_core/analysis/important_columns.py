"""Which columns a model uses, from the job that shuffles them: in words, as a frame, and how long the job takes.

Loads no torch.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tabtune_core.events import RunPlanned
from tabtune_core.store.run_row import Run
from tabtune_core.wording import counted

REPEATS = 3
"""How often each column is shuffled; the adapter and its base see the same orders."""
MOST_ROWS = 500
"""Most test rows that are predicted, drawn at random."""
MODELS = ("lora", "base")
MOST_NAMED = 3


def seconds_of(run: Run, planned: RunPlanned | None) -> float:
    """Returns about how long the job takes, from the time of the run's own predictions; 0 if that is not known."""
    if run.result is None or planned is None:
        return 0.0
    one = run.result.predict_seconds * min(1.0, MOST_ROWS / max(planned.test_rows, 1))
    return len(MODELS) * (1 + REPEATS * planned.features) * one


def importance_frame(result: Mapping[str, Any]) -> pd.DataFrame:
    """One row per column, the most important first: name; lora, base (rise of the error); lora_half, base_half."""
    names = ["name", *(f"{model}{end}" for model in MODELS for end in ("", "_half"))]
    rows = [[one["name"], *(number for model in MODELS for number in one[model])] for one in result["columns"]]
    return pd.DataFrame(rows, columns=names)


def in_words(columns: pd.DataFrame) -> str:
    """Names the columns that matter beyond noise, and says how many do not.

    >>> in_words(pd.DataFrame({"name": ["age", "id"], "lora": [0.2, 0.01], "lora_half": [0.1, 0.02]}))
    'age matters most. 1 of 2 columns is within noise.'
    """
    matter = columns[columns["lora"] > columns["lora_half"]]
    if matter.empty:
        return "No column matters beyond noise on these rows."
    first, unsure = list(matter["name"].head(MOST_NAMED)), len(columns) - len(matter)
    noise = f" {unsure:,} of {counted(len(columns), 'column')} {'is' if unsure == 1 else 'are'} within noise."
    return f"{', '.join(first)} {'matters' if len(first) == 1 else 'matter'} most.{noise if unsure else ''}"
