"""Turns synthetic tables into the input of one training pass: tables of one shape, with features preprocessed as for a
model.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from tabtune_core.models.pretraining.prior import MOST_CLASSES, Array, draw_table

NOT_SCORED = -100
CELLS = 48_000
"""Cells of one pass: as many tables of a shape as fit, at least one."""
MOST_TABLES, FEWEST_FEATURES, FEWEST_ROWS = 16, 2, 64
OUTLYING = 4.0
"""Standard deviations beyond which numbers are softly clipped: the threshold of ``tabicl``'s own preprocessing."""


@dataclass(frozen=True, slots=True)
class Size:
    """Largest and smallest size of episodes."""

    rows: int
    """Most rows, context and query together."""
    features: int
    fewest_rows: int = FEWEST_ROWS


@dataclass(frozen=True, slots=True)
class PretrainingEpisode:
    """``x_BTF``; ``y_BC`` of the context; ``targets_BQ``; for classification also ``classes_B``, the number of classes
    of each table.
    """

    x_BTF: torch.Tensor
    y_BC: torch.Tensor
    targets_BQ: torch.Tensor
    classes_B: torch.Tensor | None = None


def draw_episode(rng: np.random.Generator, size: Size, *, classes: bool) -> PretrainingEpisode:
    """Draws tables with log-uniform numbers of rows and features; 30 to 80 % of the rows are the context."""
    rows, features = (
        int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))
        for low, high in (
            (min(size.fewest_rows, size.rows), size.rows),
            (min(FEWEST_FEATURES, size.features), size.features),
        )
    )
    tables = [
        draw_table(rng, rows, features, classes=classes)
        for _ in range(min(MOST_TABLES, max(1, round(CELLS / rows / features))))
    ]
    context = int(rows * rng.uniform(0.3, 0.8))
    return read_episode([table.x_TF for table in tables], [table.y_T for table in tables], context, classes=classes)


def read_episode(
    tables: Sequence[Array], targets: Sequence[Array], context: int, *, classes: bool
) -> PretrainingEpisode:
    """Makes an episode from tables ``(T, F)`` and targets ``(T,)`` of one shape."""
    x_BTF = torch.from_numpy(np.stack([_read(x_TF, context) for x_TF in tables])).float()
    return (class_episode if classes else number_episode)(x_BTF, torch.from_numpy(np.stack(targets)), context)


def _read(x_TF: Array, context: int) -> Array:
    """Preprocesses features as ``tabicl`` does, by the context: fills missing cells with the mean, standardizes, softly
    clips outliers.
    """
    x_TF = np.where(np.isnan(x_TF[:context]).all(0), 0.0, x_TF)
    mean_F = np.nanmean(x_TF[:context], axis=0)
    x_TF = np.where(np.isnan(x_TF), mean_F, x_TF)
    x_TF = np.clip((x_TF - mean_F) / (x_TF[:context].std(0) + 1e-6), -100, 100)
    inside_CF = np.where(np.abs(x_TF[:context]) > OUTLYING, np.nan, x_TF[:context])
    middle_F, reach_F = np.nanmean(inside_CF, axis=0), OUTLYING * np.maximum(np.nanstd(inside_CF, axis=0, ddof=1), 1e-6)
    x_TF = np.maximum(middle_F - reach_F - np.log1p(np.abs(x_TF)), x_TF)
    return np.asarray(np.minimum(middle_F + reach_F + np.log1p(np.abs(x_TF)), x_TF))


def class_episode(x_BTF: torch.Tensor, ids_BT: torch.Tensor, context: int) -> PretrainingEpisode:
    """Makes an episode from class ids, which start at 0 in each table.

    Query rows of a class that the context lacks are not scored.
    """
    ids_BT = ids_BT.long()
    y_BC, targets_BQ = ids_BT[:, :context], ids_BT[:, context:]
    seen_BK = torch.zeros(len(ids_BT), MOST_CLASSES, dtype=torch.bool).scatter_(1, y_BC, True)
    targets_BQ = targets_BQ.masked_fill(~seen_BK.gather(1, targets_BQ), NOT_SCORED)
    return PretrainingEpisode(x_BTF, y_BC.float(), targets_BQ, ids_BT.amax(1) + 1)


def number_episode(x_BTF: torch.Tensor, y_BT: torch.Tensor, context: int) -> PretrainingEpisode:
    """Makes an episode from numbers, standardized by the context. Tables whose context is constant are left out."""
    mean_B1, std_B1 = y_BT[:, :context].mean(1, keepdim=True), y_BT[:, :context].std(1, keepdim=True)
    usable_B = std_B1[:, 0] > 1e-3 * y_BT.std(1)
    y_BT = ((y_BT - mean_B1) / (std_B1 + 1e-6)).clamp(-10, 10).float()[usable_B]
    return PretrainingEpisode(x_BTF[usable_B], y_BT[:, :context], y_BT[:, context:])


def class_loss(logits_BQK: torch.Tensor, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes the mean cross-entropy (nats) over the classes of each table."""
    assert episode.classes_B is not None
    logits_BQK = logits_BQK.masked_fill(
        torch.arange(logits_BQK.shape[-1]) >= episode.classes_B[:, None, None], float("-inf")
    )
    return F.cross_entropy(logits_BQK.flatten(0, 1), episode.targets_BQ.flatten(), ignore_index=NOT_SCORED)
