"""What the adapters of a sweep cost in parameters, from the shapes in the catalogue; nothing is loaded."""

import dataclasses

import pandas as pd

from dashboard.views.new_run.typed_values import written
from tabtune_core.metrics import Task
from tabtune_core.models.adapter_size import adapter_size
from tabtune_core.models.cards import ModelCard
from tabtune_core.settings import SweepSettings
from tabtune_core.settings.labels import short_targets


def price_adapters(card: ModelCard, task: Task, sweep: SweepSettings) -> pd.DataFrame:
    """One row a rank and set of parts: what trains, its bytes, its share, how many times fewer that is than the adapted weights, alpha / r.

    Raises:
        TargetError: a pattern that names no adapted layer.
    """
    rows = []
    for rank in sweep.ranks:
        for targets in sweep.target_sets or (sweep.run.lora.targets,):
            lora = dataclasses.replace(sweep.run.lora, rank=rank, targets=targets)
            size = adapter_size(card, task, lora)
            total = card.weights_for(task).total_parameters + size.factors
            scalings = [dataclasses.replace(lora, alpha=alpha).scaling for alpha in sweep.alphas or (lora.alpha,)]
            rows.append(
                {
                    "Rank": rank,
                    "Parts": short_targets(targets),
                    "Trainable": size.trainable,
                    "Bytes": size.tensor_bytes,
                    "Share (%)": 100 * size.trainable / total,
                    "Compression": size.compression,
                    "Scaling": ", ".join(written(round(scaling, 3)) for scaling in scalings),
                    "Capped layers": size.capped_layers,
                }
            )
    return pd.DataFrame(rows)
