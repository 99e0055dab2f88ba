"""Finished fits of a leaderboard, as runs of a workspace, so that one that was stopped goes on where it was.

In: settings and rows. Out: rows of the store. A fit is known by its settings, whose table is a hash of the rows and of all else that a fit
depends on. A failed fit is not kept: its cause may be fixed later.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.data.arrays import read_rows
from tabtune_core.data.values import with_column, words
from tabtune_core.errors import TabTuneError
from tabtune_core.events import Event, PhaseDone, RunFinished
from tabtune_core.models.catalogue import get_card, named_checkpoint
from tabtune_core.models.checkpoints import identities_of
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore
from tabtune_core.upstream import DISTRIBUTION

FORMAT = 3
"""Grows when the same settings come to stand for another fit: since 2, predictions are shown all rows, in the test validation rows too."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One entry under one seed."""

    settings: RunSettings
    result: RunFinished | None
    history: Sequence[Event] = ()
    """What it told before the result; of a kept one, the ends of its phases."""
    error: str = ""
    """Why the result is missing."""

    @property
    def peaks(self) -> Mapping[str, int | None]:
        """Bytes by phase, on the meter that ``result`` names."""
        meter = self.result.memory_meter if self.result else ""
        return {told.phase: told.peak_bytes.get(meter) for told in self.history if isinstance(told, PhaseDone)}


def hash_of(*rows: Any) -> str:
    """Of the content of frames, arrays and labels, their column names and kinds."""
    digest = hashlib.sha256()
    for part in rows:
        frame = read_rows(part) if np.ndim(part) == 2 else pd.DataFrame({"y": np.asarray(part)})
        digest.update(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
        for name in (name for name in frame.columns if frame[name].dtype.kind == "O"):  # lists have no hash
            frame = with_column(frame, str(name), words(frame[name]))
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def known_by(settings: RunSettings, data_sha256: str) -> RunSettings:
    """The settings of a fit as the store has them: the same if settings, rows, named weights and this package are the same."""
    about = [data_sha256, version(DISTRIBUTION), FORMAT, _named_weights(settings)]
    return dataclasses.replace(settings, dataset=hashlib.sha256(json.dumps(about).encode()).hexdigest())


def _named_weights(settings: RunSettings) -> str | None:
    """SHA-256 of the named weights or those in this package; None for downloads, and for weights that the fit will refuse."""
    try:
        card = get_card(settings.model)
        if settings.checkpoint is None:
            return card.weights_for(settings.task).sha256
        file = named_checkpoint(card, settings.task, settings.checkpoint)
        return identities_of(file, card.weights_for(settings.task).beside)[0]
    except TabTuneError:
        return None


def kept_fit(store: RunStore, settings: RunSettings) -> Fit | None:
    """A fit with these settings, as ``known_by`` made them; None if there is no such fit, or it cannot be read."""
    run = next((run for run in store.runs() if run.settings == settings and run.result), None)
    if run is None:
        return None
    return Fit(
        settings, run.result, [told for stored in store.events(run.id, ["PhaseDone"]) if isinstance(told := stored.event, PhaseDone)]
    )


def keep_fit(store: RunStore, name: str, settings: RunSettings, fit: Fit) -> None:
    """Adds a fit with a result to the sweep of those on the same rows."""
    sweep = next((run.sweep for run in store.runs() if run.settings.dataset == settings.dataset), "")
    assert fit.result is not None
    store.add_ended(name, settings, fit.history, fit.result, sweep=sweep)


def seeds_of(settings: RunSettings, repeats: int) -> list[RunSettings]:
    """The settings under the seed that they name, and the ones after it."""
    return [dataclasses.replace(settings, seed=settings.seed + i) for i in range(repeats)]
