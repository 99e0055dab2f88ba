"""Rows of requests that arrive together become one batch of their adapter; one thread computes, so that no two predictions meet.

In: rows, request by request. Out: to each request the predictions of its own rows. A batch that fails is asked again request by request.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabtune_core.serving.adapters import Served

WINDOW_SECONDS = 0.003
"""How long the first request waits for others; those that arrive while a batch computes are the next one anyway."""
Answer = NDArray[np.float64] | BaseException


class Batches:
    """One a server. ``told`` is told how many requests each batch had."""

    def __init__(self, told: Callable[[int], None] = lambda requests: None) -> None:
        self._thread, self._told = ThreadPoolExecutor(1, thread_name_prefix="predict"), told
        self._waiting: list[tuple[Served, pd.DataFrame, asyncio.Future[NDArray[np.float64]]]] = []
        self._going: asyncio.Task[None] | None = None

    async def predict(self, served: Served, rows: pd.DataFrame) -> NDArray[np.float64]:
        """The predictions of these rows."""
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
                self._told(len(batch))
                answers = await self._ask(batch[0][0], [rows for _, rows, _ in batch])
                for (_, _, waiting), found in zip(batch, answers, strict=True):
                    if waiting.done():  # its client has left
                        continue
                    if isinstance(found, BaseException):
                        waiting.set_exception(found)
                    else:
                        waiting.set_result(found)

    async def _ask(self, served: Served, lots: Sequence[pd.DataFrame]) -> Sequence[Answer]:
        asked = asyncio.get_running_loop().run_in_executor(self._thread, served.predict, lots)
        (found,) = await asyncio.gather(asked, return_exceptions=True)
        if not isinstance(found, BaseException):
            return found
        return [found] if len(lots) == 1 else [answer for rows in lots for answer in await self._ask(served, [rows])]
