"""Adapters of one base, opened once for all requests; the rows of requests that arrive together are one batch.

In: packages, and the tables that they were trained on. Out: adapters by name, which turn lots of rows into predictions.
They do not change afterwards, and one thread computes, so predictions cannot interfere.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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

    def predict(self, lots: Sequence[pd.DataFrame]) -> list[NDArray[np.float64]]:
        """Returns probabilities ``(rows, classes)`` or numbers ``(rows,)`` of each lot; predicts all at once."""
        read = [self.shown.read(rows) for rows in lots]
        predicted = finite(self.adapted.model, self.ask(np.concatenate(read)))
        return np.split(predicted, np.cumsum([len(x_NF) for x_NF in read])[:-1])


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
        served[path.stem] = Served(
            path.stem, adapted, shown, shown.scorer.keep(adapted.model), _about(path.stem, adapted, shown.context)
        )
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


WINDOW_SECONDS = 0.003
"""How long the first request waits for others; those that arrive while a batch computes form the next anyway."""
Answer = NDArray[np.float64] | BaseException


class Batches:
    """Collects requests into batches, one instance per server; ``count`` gets the number of requests of each batch."""

    def __init__(self, count: Callable[[int], None] = lambda requests: None) -> None:
        self._thread, self._count = ThreadPoolExecutor(1, thread_name_prefix="predict"), count
        self._waiting: list[tuple[Served, pd.DataFrame, asyncio.Future[NDArray[np.float64]]]] = []
        self._going: asyncio.Task[None] | None = None

    async def predict(self, served: Served, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Returns the predictions of these rows."""
        answer: asyncio.Future[NDArray[np.float64]] = asyncio.get_running_loop().create_future()
        self._waiting.append((served, rows, answer))
        if self._going is None or self._going.done():
            self._going = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            await asyncio.sleep(WINDOW_SECONDS)
            batches = defaultdict(list)
            for served, rows, answer in self._waiting:
                batches[served.name].append((served, rows, answer))
            self._waiting.clear()
            for batch in batches.values():
                self._count(len(batch))
                answers = await self._ask(batch[0][0], [rows for _, rows, _ in batch])
                for (_, _, waiting), result in zip(batch, answers, strict=True):
                    if waiting.done():  # its client has disconnected
                        continue
                    if isinstance(result, BaseException):
                        waiting.set_exception(result)
                    else:
                        waiting.set_result(result)

    async def _ask(self, served: Served, lots: Sequence[pd.DataFrame]) -> Sequence[Answer]:
        asked = asyncio.get_running_loop().run_in_executor(self._thread, served.predict, lots)
        (result,) = await asyncio.gather(asked, return_exceptions=True)
        if not isinstance(result, BaseException):
            return result
        return [result] if len(lots) == 1 else [answer for rows in lots for answer in await self._ask(served, [rows])]
