"""What a rank costs in parameters, from the shapes in the catalogue; nothing is loaded."""

import pandas as pd

from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard


def price_ranks(card: ModelCard, task: Task, ranks: tuple[int, ...], *, alpha: float | None, targets: tuple[str, ...] = ()) -> pd.DataFrame:
    """One row a rank: the adapter's parameters, their share of all, their ratio to the adapted weights, and alpha / rank."""
    shapes = card.adapted_shapes(task, targets)
    weights = sum(out * width for out, width in shapes.values())
    rows = []
    for rank in ranks:
        adapter = card.adapter_parameters(task, rank, targets)
        rows.append(
            {
                "Rank": rank,
                "Adapter parameters": adapter,
                "Share of the model (%)": 100 * adapter / (card.weights_for(task).total_parameters + adapter),
                "Against a full update (%)": 100 * adapter / weights if weights else float("nan"),
                "Alpha": 2.0 * rank if alpha is None else alpha,
                "Alpha / rank": 2.0 if alpha is None else alpha / rank,
                "Capped layers": sum(rank > min(shape) for shape in shapes.values()),
            }
        )
    return pd.DataFrame(rows)
