"""From a group to what one training step sees: fresh rows, features, class ids or scales at every use.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from tabtune_core.models.pretraining.tables import Group

CLASSES = 10
SKEWED = 0.25
"""Share of the groups whose numeric targets get a skewed scale, as prices and counts have."""
COARSE, NOISY = 0.35, 0.35
"""Shares of the groups whose columns get few levels, and whose numeric targets get noise."""
NOT_SCORED = -100


@dataclass(frozen=True, slots=True)
class Size:
    """What the episodes of a phase are like."""

    rows: int
    """Most rows, context and query."""
    features: int
    """Most features."""
    linear: float = 0.2
    """Share of the groups whose numeric target is replaced by a weighted sum of the features: tables that are easy to learn from."""
    clusters: float = 0.0
    """Share of the groups in whose place tables of ``_clusters`` are drawn."""
    multinomial: float = 0.0
    """Share of the groups with a numeric target whose classes are drawn from a multinomial logistic model of the features instead."""


@dataclass(frozen=True, slots=True)
class PretrainingEpisode:
    """``x_BTF``; ``y_BC`` of the context; ``targets_BQ``; for classes also ``classes_B``, how many ids each table may have."""

    x_BTF: torch.Tensor
    y_BC: torch.Tensor
    targets_BQ: torch.Tensor
    classes_B: torch.Tensor | None = None


def _subset(group: Group, size: Size, rng: np.random.Generator) -> Group:
    """Rows and features in a fresh order, cut to the size, in half of the uses to fewer features still."""
    _, rows, features = group.x_BTF.shape
    most = min(rows, size.rows)
    rows_kept = int(np.exp(rng.uniform(np.log(min(48, most)), np.log(most + 1))))
    widest = min(features, size.features)
    kept = widest if rng.random() < 0.5 else int(rng.integers((widest + 1) // 2, widest + 1))
    rows_T = torch.from_numpy(rng.permutation(rows)[:rows_kept])
    features_F = torch.from_numpy(rng.permutation(features)[:kept])
    return Group(group.x_BTF[:, rows_T][:, :, features_F], group.y_BT[:, rows_T], group.is_numeric)


def _vary(group: Group, size: Size, rng: np.random.Generator) -> Group:
    """What the prior has too little of: columns of few levels, targets that are a weighted sum, and targets with noise."""
    x_BTF, y_BT = group.x_BTF.clone(), group.y_BT
    if rng.random() < COARSE:
        levels = int(rng.integers(1, 6))
        for feature in np.flatnonzero(rng.random(x_BTF.shape[2]) < rng.uniform(0.3, 1.0)):
            cuts = torch.quantile(x_BTF[:, :, feature], torch.from_numpy(np.sort(rng.uniform(0.02, 0.98, levels))).float(), dim=1).T
            x_BTF[:, :, feature] = torch.searchsorted(cuts.contiguous(), x_BTF[:, :, feature].contiguous()).float()
    if group.is_numeric:
        if rng.random() < size.linear:
            scaled_BTF = (x_BTF - x_BTF.mean(1, keepdim=True)) / (x_BTF.std(1, keepdim=True) + 1e-6)
            weights_BF1 = torch.from_numpy(rng.standard_t(3, (len(x_BTF), x_BTF.shape[2], 1))).float()
            y_BT = (scaled_BTF @ weights_BF1)[..., 0]
        if rng.random() < NOISY:
            noise_BT = torch.from_numpy(rng.normal(size=tuple(y_BT.shape))).float()
            y_BT = y_BT + float(rng.uniform(0.2, 2.0)) * y_BT.std(1, keepdim=True) * noise_BT
    return Group(x_BTF, y_BT, group.is_numeric)


def _context_rows(group: Group, rng: np.random.Generator) -> int:
    return int(group.x_BTF.shape[1] * rng.uniform(0.3, 0.8))


def _to_classes(y_T: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Cuts a numeric target at random quantiles; the intervals get class ids in random order, in a third of the tables several each."""
    classes = 2 if rng.random() < 0.5 else int(rng.integers(2, CLASSES + 1))
    intervals = classes * 2 if rng.random() < 1 / 3 else classes
    shares = rng.dirichlet(np.full(intervals, 2.0))
    cuts = torch.quantile(y_T, torch.from_numpy(np.cumsum(shares)[:-1]).float().clamp(0, 1))
    ids = np.concatenate([np.arange(classes), rng.integers(0, classes, intervals - classes)])
    return torch.from_numpy(rng.permutation(ids))[torch.bucketize(y_T, cuts)]


def _clusters(size: Size, rng: np.random.Generator, tables: int = 8) -> Group:
    """Classes that lie around centres of their own, one or two each, told apart by many columns of which each says little."""
    rows = int(np.exp(rng.uniform(np.log(96), np.log(size.rows))))
    features = int(np.exp(rng.uniform(np.log(4), np.log(size.features + 1))))
    classes, modes = int(rng.integers(2, CLASSES + 1)), int(rng.integers(1, 3))
    said_F = rng.random(features) < rng.uniform(0.3, 1.0)
    centres_BMF = rng.normal(size=(tables, classes * modes, features)) * said_F * rng.uniform(1.0, 5.0) / np.sqrt(max(1, said_F.sum()))
    mode_BT = np.stack([rng.choice(classes * modes, rows, p=rng.dirichlet(np.full(classes * modes, 4.0))) for _ in range(tables)])
    noise_BTF = rng.normal(size=(tables, rows, features))
    if rng.random() < 0.5:  # columns that go together
        noise_BTF = 0.5 * noise_BTF + noise_BTF @ (rng.normal(size=(features, features)) / np.sqrt(features))
    x_BTF = np.take_along_axis(centres_BMF, mode_BT[..., None], 1) + noise_BTF
    if rng.random() < 0.3:  # columns that are often zero, as pixels and counts are
        x_BTF = np.maximum(0.0, x_BTF - rng.uniform(-0.5, 1.0))
    ids_BT = np.stack([np.unique(mode_T % classes, return_inverse=True)[1] for mode_T in mode_BT])
    return Group(torch.from_numpy(x_BTF).float(), torch.from_numpy(ids_BT).float(), False)


def _multinomial(x_BTF: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Class ids ``(B, T)``: the largest of several noisy weighted sums of the features."""
    scaled_BTF = (x_BTF - x_BTF.mean(1, keepdim=True)) / (x_BTF.std(1, keepdim=True) + 1e-6)
    classes, features = int(rng.integers(2, CLASSES + 1)), x_BTF.shape[2]
    weights_BFK = rng.standard_t(3, (len(x_BTF), features, classes)) * rng.uniform(0.5, 4.0) / np.sqrt(features)
    scores_BTK = scaled_BTF @ torch.from_numpy(weights_BFK).float() + torch.from_numpy(rng.gumbel(size=(*x_BTF.shape[:2], classes))).float()
    return torch.stack([torch.unique(ids_T, return_inverse=True)[1] for ids_T in scores_BTK.argmax(-1)])


def class_episode(group: Group, size: Size, rng: np.random.Generator) -> PretrainingEpisode:
    """A classification episode. Query rows whose class the context lacks say nothing about in-context learning: not scored."""
    group = _vary(_clusters(size, rng) if rng.random() < size.clusters else _subset(group, size, rng), size, rng)
    x_BTF, y_BT, context = group.x_BTF, group.y_BT, _context_rows(group, rng)
    if group.is_numeric and rng.random() < size.multinomial:
        ids_BT = _multinomial(x_BTF, rng)
    elif group.is_numeric:
        ids_BT = torch.stack([_to_classes(y_T, rng) for y_T in y_BT])
    else:
        ids_BT = y_BT.long()
    classes_B = ids_BT.amax(1) + 1
    new_BK = torch.stack([F.pad(torch.from_numpy(rng.permutation(int(k))), (0, CLASSES - int(k))) for k in classes_B])
    ids_BT = new_BK.gather(1, ids_BT)
    y_BC, targets_BQ = ids_BT[:, :context], ids_BT[:, context:]
    seen_BK = torch.zeros(len(ids_BT), CLASSES, dtype=torch.bool).scatter_(1, y_BC, True)
    return PretrainingEpisode(x_BTF, y_BC.float(), targets_BQ.masked_fill(~seen_BK.gather(1, targets_BQ), NOT_SCORED), classes_B)


def number_episode(group: Group, size: Size, rng: np.random.Generator) -> PretrainingEpisode:
    """A regression episode; targets are standard scores by the context. Tables whose context is constant are left out."""
    group = _vary(_subset(group, size, rng), size, rng)
    x_BTF, y_BT, context = group.x_BTF, group.y_BT, _context_rows(group, rng)
    if rng.random() < SKEWED:
        y_BT = torch.exp(y_BT * float(rng.uniform(0.3, 1.0) * rng.choice([-1, 1])))
    mean_B1, std_B1 = y_BT[:, :context].mean(1, keepdim=True), y_BT[:, :context].std(1, keepdim=True)
    usable_B = std_B1[:, 0] > 1e-3 * y_BT.std(1)
    y_BT = ((y_BT - mean_B1) / (std_B1 + 1e-6)).clamp(-10, 10)[usable_B]
    return PretrainingEpisode(x_BTF[usable_B], y_BT[:, :context], y_BT[:, context:])


def standard_score(episode: PretrainingEpisode) -> torch.Tensor:
    """Features as standard scores by the context, clipped: what a package's preprocessing gives at prediction."""
    context_BCF = episode.x_BTF[:, : episode.y_BC.shape[1]]
    return ((episode.x_BTF - context_BCF.mean(1, keepdim=True)) / (context_BCF.std(1, keepdim=True) + 1e-6)).clamp(-8, 8)


def class_loss(logits_BQK: torch.Tensor, episode: PretrainingEpisode) -> torch.Tensor:
    """Mean cross-entropy (nats) among the ids that each table may have."""
    assert episode.classes_B is not None
    logits_BQK = logits_BQK.masked_fill(torch.arange(logits_BQK.shape[-1]) >= episode.classes_B[:, None, None], float("-inf"))
    return F.cross_entropy(logits_BQK.flatten(0, 1), episode.targets_BQ.flatten(), ignore_index=NOT_SCORED)
