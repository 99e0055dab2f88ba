"""Which columns matter to an adapter and to its base: how much larger the error is with one column shuffled.

In: a run with an adapter package. Out: plain values for the page. Permutation importance (Breiman 2001, Machine
Learning 45, 5-32) on held-out rows: of two columns that say the same, each may seem not to matter.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.analysis.important_columns import MOST_ROWS, REPEATS
from tabtune_core.data.splits import SplitName
from tabtune_core.data.values import with_column
from tabtune_core.execution.jobs.opened_run import held_out_of, open_run
from tabtune_core.metrics import ROW_MEANS
from tabtune_core.store.jobs import write_progress
from tabtune_core.store.runs import RunStore


def column_importance(home: Path, folder: Path, *, run: str) -> dict[str, Any]:
    """Shuffles each column among the test rows, or the validation rows if there is no test row, and predicts them.

    Returns:
        ``columns``: name and, for ``base`` and ``lora``, ``[mean, half]``: the rise of the error with the half width of
        its 95 % interval over rows; ``metric``: the error, ``log_loss`` or ``mae``; ``part``, ``rows`` and ``seconds``.

    Raises what ``held_out_of`` and ``open_run`` raise.
    """
    started, store = time.monotonic(), RunStore(home, existing=True)
    parts, opened = held_out_of(store, run), open_run(store, run)
    part: SplitName = "test" if "test" in parts else "validation"
    held_out, shown = parts[part], opened.show()
    asked = np.random.default_rng(0).permutation(len(held_out.y_N))[:MOST_ROWS]  # the table may be sorted
    rows_N, y_N = held_out.rows_N[asked], held_out.y_N[asked]
    frame, names = opened.table.iloc[rows_N], shown.context.encoder.columns
    metric = "log_loss" if held_out.classes else "mae"
    errors_of, _ = ROW_MEANS[metric]
    predict = {"base": shown.scorer.keep(opened.base), "lora": shown.scorer.keep(opened.adapted.model)}

    def errors(rows: pd.DataFrame) -> dict[str, NDArray[np.floating]]:
        x_NF = shown.read(rows)
        return {model: errors_of(y_N, ask(x_NF)) for model, ask in predict.items()}

    before, columns = errors(frame), []
    for done, name in enumerate(names):
        write_progress(folder, done, len(names), "columns")
        rng, after = np.random.default_rng(done), []
        for _ in range(REPEATS):
            values = frame[name].iloc[rng.permutation(len(frame))]
            after.append(errors(with_column(frame, name, values.to_list())))
        rise = {model: np.mean([one[model] for one in after], axis=0) - before[model] for model in predict}
        means = {model: [float(of.mean()), 1.96 * float(of.std(ddof=1)) / len(of) ** 0.5] for model, of in rise.items()}
        columns.append({"name": name} | means)
    return {
        "columns": sorted(columns, key=lambda column: -column["lora"][0]),
        "metric": metric,
        "part": part,
        "rows": len(rows_N),
        "seconds": time.monotonic() - started,
    }
