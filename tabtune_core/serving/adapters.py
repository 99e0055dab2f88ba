"""Adapters of one base, opened once for all requests.

In: packages, and the tables that they were trained on. Out: adapters by name, which turn rows into predictions. They do
not change afterwards, and one thread computes, so predictions cannot interfere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.data.task import Context
from tabtune_core.engine.adapted_model import AdaptedModel, finite, open_base
from tabtune_core.errors import AdapterError
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.package import read_package
from tabtune_core.models.adaptation import put_on
from tabtune_core.models.base import Array, with_module
from tabtune_core.training.scoring import Shown


@dataclass(frozen=True, slots=True)
class Served:
    """One adapter with its context."""

    name: str
    adapted: AdaptedModel
    shown: Shown
    ask: Callable[[Array], NDArray[np.float64]]
    """Predicts with the context, which it caches if the model family can."""
    about: Mapping[str, Any]
    """What GET /adapters says about it."""

    def predict(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Returns probabilities ``(rows, classes)`` or numbers ``(rows,)``."""
        return finite(self.adapted.model, self.ask(self.shown.read(rows)))


def open_adapters(
    paths: Sequence[Path],
    table_of: Callable[[AdaptedModel], pd.DataFrame],
    *,
    checkpoint: Path | None = None,
    device: str = "auto",
    merged: bool = False,
) -> dict[str, Served]:
    """Opens packages on one base, each under the name of its file; ``table_of`` returns the table that an adapter was
    trained on.

    ``checkpoint`` has the base's weights if they are not in this package or the Hugging Face cache. ``merged`` predicts
    with copies of the adapted weights, which takes no more time than the base alone.

    Raises:
        AdapterError: a package cannot be opened, has another base than the first, the name of another, or another
        table.
        CheckpointError: the base's weights cannot be found.
    """
    packages = [(path, read_package(path)) for path in paths]
    first = packages[0][1].facts
    base = open_base(first.base.model, first.settings.task, first.base.sha256, checkpoint=checkpoint, device=device)
    adapters, served = AdapterSet(base.module), dict[str, Served]()
    for path, package in packages:
        settings, named = package.facts.settings, package.facts.base
        if settings.task != base.task or named.sha256 != base.source.sha256:
            raise AdapterError(
                f"{path.name} is for {settings.task} on {named.model} (SHA-256 {named.sha256[:12]}…), and "
                f"{paths[0].name} for {base.task} on {base.source.model} ({base.source.sha256[:12]}…). A server has "
                "one base: start another one for it."
            )
        put_on(adapters, base, settings.lora, package.tensors, path.stem)
        if merged:
            adapters.merge()
        adapted = AdaptedModel(with_module(base, adapters.module), settings, package.facts)
        shown = Shown.to(adapted.model, adapted.context(table_of(adapted)), views=settings.train.views)
        name, ask = path.stem, shown.scorer.keep(adapted.model)
        served[name] = Served(name, adapted, shown, ask, _about(name, adapted, shown.context))
    return served


def _about(name: str, adapted: AdaptedModel, context: Context) -> dict[str, Any]:
    facts, source = adapted.facts, adapted.model.source
    return {
        "adapter": name,
        "model": source.model,
        "base_sha256": source.sha256,
        "licence": str(source.licence),
        "context_sha256": context.sha256,
        "context_rows": len(context.y_C),
        "target": adapted.settings.target,
        "classes": list(context.labels.classes),
        "columns": {column: facts.kinds[column] for column in facts.features},
    }
