"""Finished fits of a leaderboard on disk, so that one that was stopped goes on where it was.

In: settings and rows. Out: one small JSON file a fit, known by a hash of both. A failed fit is not kept: what stopped it may be mended.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tabtune_core.data.arrays import read_rows
from tabtune_core.data.values import words
from tabtune_core.errors import StoreError, TabTuneError
from tabtune_core.events import RunFinished, from_json
from tabtune_core.files.damaged import Damaged, read_text, refused_as
from tabtune_core.files.plain_values import fits, read_json
from tabtune_core.files.whole import write_text
from tabtune_core.models.catalogue import get_card, named_checkpoint
from tabtune_core.models.checkpoints import identities_of
from tabtune_core.settings import RunSettings
from tabtune_core.upstream import DISTRIBUTION

FORMAT = 2
"""Grows when the same settings come to stand for another fit: since 2, predictions are shown all rows, in the test validation rows too."""


MOST_BYTES = 4_000_000
"""Of a file; it has some kilobytes."""


@dataclass(frozen=True, slots=True)
class Fit:
    """One entry under one seed."""

    settings: RunSettings
    result: RunFinished | None
    peaks: Mapping[str, int | None]
    """Bytes by phase, on the meter that ``result`` names."""
    error: str = ""
    """Why there is no result."""


def hash_of(*rows: Any) -> str:
    """Of the content of frames, arrays and labels, their column names and kinds."""
    digest = hashlib.sha256()
    for part in rows:
        frame = read_rows(part) if np.ndim(part) == 2 else pd.DataFrame({"y": np.asarray(part)})
        digest.update(repr([(name, str(kind)) for name, kind in frame.dtypes.items()]).encode())
        frame = frame.assign(**{str(name): words(frame[name]) for name in frame if frame[name].dtype.kind == "O"})  # lists have no hash
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def file_of(folder: Path, settings: RunSettings, data_sha256: str) -> Path:
    """Where a fit is kept: it is the same fit if its settings, rows, named weights and this package are the same."""
    about = {
        "settings": settings.to_dict(),
        "data": data_sha256,
        "version": version(DISTRIBUTION),
        "format": FORMAT,
        "weights": _named_weights(settings),
    }
    return folder / f"{hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]}.json"


def _named_weights(settings: RunSettings) -> str | None:
    """SHA-256 of the weights that the settings name, or of those in the box; None of others, and of what the fit will refuse."""
    try:
        card = get_card(settings.model)
        if settings.checkpoint is None:
            return card.weights_for(settings.task).sha256
        file = named_checkpoint(card, settings.task, settings.checkpoint)
        return identities_of(file, card.weights_for(settings.task).beside)[0]
    except TabTuneError:
        return None


def write_fit(path: Path, fit: Fit) -> None:
    """Writes a fit with a result in one move: a half-written file never bears the final name."""
    assert fit.result is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"result": dataclasses.asdict(fit.result), "peaks": fit.peaks}
    write_text(path, json.dumps({**content, "sha256": _sha256_of(content)}), mark=str(os.getpid()))  # two leaderboards may share a folder


def read_fit(path: Path, settings: RunSettings) -> Fit | None:
    """A fit that was kept; None where there is none.

    Raises:
        StoreError: the file is damaged, or was changed after it was written. A file of an earlier version has no hash and is believed.
    """
    if not path.is_file():
        return None
    with refused_as(StoreError, f"{path} is no finished fit of a leaderboard", " Delete it, and the fit runs again."):
        content = read_json(read_text(path, most_bytes=MOST_BYTES).encode())
        sha256 = content.pop("sha256", None)
        if sha256 is not None and sha256 != _sha256_of(content):
            raise Damaged("it was changed after it was written")
        result, peaks = from_json("RunFinished", json.dumps(content["result"])), content["peaks"]
        if not isinstance(result, RunFinished) or not fits(peaks, dict[str, int | None]):
            raise Damaged(f"peaks is {peaks!r:.60}")
        return Fit(settings, result, peaks)


def _sha256_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def seeds_of(settings: RunSettings, repeats: int) -> list[RunSettings]:
    """The settings under the seed that they name, and the ones after it."""
    return [dataclasses.replace(settings, seed=settings.seed + i) for i in range(repeats)]
