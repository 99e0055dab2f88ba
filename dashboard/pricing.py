"""What a rank costs in parameters, from the shapes in the catalogue; nothing is loaded."""

import dataclasses

import pandas as pd

from tabtune_core.metrics import Task
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import LoraSettings


def price_ranks(card: ModelCard, task: Task, ranks: tuple[int, ...], lora: LoraSettings) -> pd.DataFrame:
    """One row a rank: the adapter's parameters, their share of all, their ratio to the adapted weights, and the scaling."""
    shapes = card.adapted_shapes(task, lora.targets)
    weights = sum(out * width for out, width in shapes.values())
    rows = []
    for rank in ranks:
        adapter, at_rank = card.adapter_parameters(task, rank, lora.targets), dataclasses.replace(lora, rank=rank)
        rows.append(
            {
                "Rank": rank,
                "Adapter parameters": adapter,
                "Share of the model (%)": 100 * adapter / (card.weights_for(task).total_parameters + adapter),
                "Against a full update (%)": 100 * adapter / weights if weights else float("nan"),
                "Alpha": at_rank.effective_alpha,
                "Scaling": at_rank.scaling,
                "Capped layers": sum(rank > min(shape) for shape in shapes.values()),
            }
        )
    return pd.DataFrame(rows)
