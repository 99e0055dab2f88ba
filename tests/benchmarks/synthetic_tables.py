"""Synthetic tables for pre-training: latent columns, a target that depends on them, and the form that a table shows.

Every table is drawn from its own random process, so a stream of seeds never ends; no real table is used.
Shape letters: T rows, F features, H hidden values, M trees, N nodes of a tree, K scores of a row.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST_CLASSES, FEWEST_OF_A_CLASS, EASY = 10, 3, 0.1
"""Rows below which a class joins the largest; the share of plain weighted sums with little noise."""
ACTIVATIONS: tuple[Callable[[Array], Array], ...] = (
    *(np.tanh, np.sin, np.abs, lambda h: np.maximum(h, 0.0), lambda h: h, np.sign, lambda h: np.exp(-h * h)),
    *(lambda h: np.clip(h, -1, 1) ** 2, lambda h: np.floor(2 * h)),
)


def draw_table(rng: np.random.Generator, rows: int, features: int, *, classes: bool) -> tuple[Array, Array]:
    """Draws features with NaN in missing cells, and numbers or class ids from 0, all of which occur."""
    easy = rng.random() < EASY
    latent_TF, hidden_T = _columns(rng, rows, features)
    effect_TF, x_TF = (latent_TF, latent_TF.copy()) if easy else _shown(rng, latent_TF)
    relevant = int(np.exp(rng.uniform(0, np.log(features + 1)))) if rng.random() < 0.7 else features
    known_TR = effect_TF[:, rng.permutation(features)[:relevant]]
    if not classes:
        score_T = _scores(rng, known_TR, hidden_T, 1, easy)[:, 0]
        y_T = score_T + 0.05 * rng.normal(size=rows) if easy else _numbers(rng, score_T, np.clip(known_TR[:, 0], -3, 3))
    else:
        y_T = _class_ids(rng, known_TR, hidden_T, easy).astype(float)
    if not easy:
        _hide(rng, x_TF)
    return x_TF, y_T


def _standard(values: Array) -> Array:
    return np.asarray((values - values.mean(0)) / (values.std(0) + 1e-9))


def _columns(rng: np.random.Generator, rows: int, features: int) -> tuple[Array, Array]:
    """Draws latent columns ``(T, F)`` as nodes of a random network of causes, and a hidden cause that none shows."""
    depth = int(rng.integers(0, 5))
    causes = features + 1 if depth == 0 else int(np.exp(rng.uniform(np.log(2), np.log(features + 3))))
    h_TH = rng.normal(size=(rows, causes)) if rng.random() < 0.7 else rng.uniform(-1.7, 1.7, (rows, causes))
    if rng.random() < 0.35:
        centres = rng.normal(size=(int(rng.integers(2, 13)), causes)) * rng.uniform(0.5, 3.0)
        of_T = rng.choice(len(centres), rows, p=rng.dirichlet(np.full(len(centres), 2.0)))
        h_TH = centres[of_T] + h_TH * rng.uniform(0.2, 1.0)
    nodes, width = [h_TH], int(max(4, features * rng.uniform(0.5, 1.5)))
    for _ in range(depth):
        weights_HH = rng.normal(size=(h_TH.shape[1], width))
        weights_HH *= rng.random((h_TH.shape[1], width)) < rng.uniform(0.1, 1.0)
        mixed_TH = _standard(h_TH @ weights_HH + 1e-3 * rng.normal(size=(rows, width))) * rng.uniform(0.5, 2.0)
        mixed_TH = mixed_TH + rng.normal(size=width)
        h_TH = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))](mixed_TH)
        h_TH = h_TH + rng.normal(size=(rows, width)) * rng.uniform(0.0, 0.5)
        nodes.append(h_TH)
    nodes_TH = np.concatenate(nodes[1:] if depth and rng.random() < 0.5 else nodes, 1)
    while nodes_TH.shape[1] <= features:
        nodes_TH = np.concatenate([nodes_TH, nodes_TH + rng.normal(size=nodes_TH.shape) * rng.uniform(0.2, 1.0)], 1)
    if depth == 0 and rng.random() < 0.4:
        nodes_TH = nodes_TH @ (rng.normal(size=(nodes_TH.shape[1],) * 2) / np.sqrt(nodes_TH.shape[1])) + 0.3 * nodes_TH
    chosen = rng.permutation(nodes_TH.shape[1])[: features + 1]
    nodes_TH = _standard(nodes_TH[:, chosen])
    unrelated = np.flatnonzero(rng.random(features) < (rng.uniform(0.1, 0.7) if rng.random() < 0.3 else 0.0))
    nodes_TH[:, unrelated] = rng.permuted(nodes_TH[:, unrelated], axis=0)  # unrelated to the others
    return nodes_TH[:, :features], nodes_TH[:, features]


def _shown(rng: np.random.Generator, latent_TF: Array) -> tuple[Array, Array]:
    """Returns ``(effect, shown)``: the numbers that the target may depend on, and those in the table, each ``(T, F)``."""
    rows, features = latent_TF.shape
    effect_TF, shown_TF = latent_TF.copy(), latent_TF.copy()
    kinds = (_plain, _tailed, _coarse, _category, _often_zero, _outlying)
    shares = rng.dirichlet((1.5, 0.7, 0.7, 1.2, 0.3, 0.2))
    for feature in range(features):
        kind = kinds[int(rng.choice(len(kinds), p=shares))]
        effect_TF[:, feature], shown_TF[:, feature] = kind(rng, latent_TF[:, feature])
    if features >= 4 and rng.random() < 0.15:
        effect_TF[:, :3], shown_TF[:, :3] = _date(rng, rows)
    return _standard(effect_TF), shown_TF


def _plain(rng: np.random.Generator, z_T: Array) -> tuple[Array, Array]:
    return z_T, z_T


def _tailed(rng: np.random.Generator, z_T: Array) -> tuple[Array, Array]:
    """Heavy-tailed numbers such as incomes, counts and areas."""
    is_power = rng.random() >= 0.7
    x_T = np.sign(z_T) * np.abs(z_T) ** rng.uniform(1.5, 4.0) if is_power else np.exp(z_T * rng.uniform(0.5, 2.0))
    x_T = np.floor(x_T * rng.uniform(1, 20)) if rng.random() < 0.4 else x_T
    return (z_T if rng.random() < 0.7 else x_T), x_T


def _levels(rng: np.random.Generator, z_T: Array, most: int) -> NDArray[np.int64]:
    """Returns ids ``(T,)`` of intervals with random shares, in increasing order."""
    count = int(np.exp(rng.uniform(np.log(2), np.log(most + 1))))
    shares = np.cumsum(rng.dirichlet(np.full(count, rng.uniform(0.4, 5.0))))[:-1]
    return np.searchsorted(np.quantile(z_T, shares), z_T)


def _coarse(rng: np.random.Generator, z_T: Array) -> tuple[Array, Array]:
    """Ordered levels such as grades, scores and rounded numbers."""
    level_T = _levels(rng, z_T, 20).astype(float)
    return level_T, level_T


def _category(rng: np.random.Generator, z_T: Array) -> tuple[Array, Array]:
    """Categories with arbitrary codes, each with its own effect; at most 60, and at most a tenth of the rows."""
    level_T = _levels(rng, z_T if rng.random() < 0.6 else rng.normal(size=len(z_T)), min(60, max(2, len(z_T) // 10)))
    names = int(level_T.max()) + 1
    effects = rng.normal(size=names) + rng.uniform(0, 1) * np.linspace(-1, 1, names)
    return effects[level_T], rng.permutation(names)[level_T].astype(float)


def _often_zero(rng: np.random.Generator, z_T: Array) -> tuple[Array, Array]:
    """Numbers that are mostly 0, such as pixels or rare amounts."""
    x_T = np.maximum(z_T - np.quantile(z_T, rng.uniform(0.3, 0.95)), 0.0) ** rng.uniform(1.0, 2.0)
    return x_T, x_T


def _outlying(rng: np.random.Generator, z_T: Array) -> tuple[Array, Array]:
    """Numbers with random outliers, such as typing errors or faulty readings, that have no effect."""
    slip_T = rng.random(len(z_T)) < rng.uniform(0.001, 0.03)
    return z_T, np.where(slip_T, rng.normal(size=len(z_T)) * 10 ** rng.uniform(1, 3), z_T)


def _date(rng: np.random.Generator, rows: int) -> tuple[Array, Array]:
    """Draws a date as days since 1970, month and weekday, with the effects of a trend, a season and weekends."""
    first, share_T = rng.integers(0, 10**4), rng.random(rows) ** rng.uniform(0.5, 2.0)
    day_T = first + np.floor(share_T * np.exp(rng.uniform(np.log(60), np.log(8000))))
    weekday_T, month_T = (day_T + 3) % 7, np.floor(day_T % 365.25 / 30.45) + 1
    season_T = np.cos(2 * np.pi * (day_T / 365.25 - rng.random()))
    return np.stack([day_T, season_T, (weekday_T >= 5).astype(float)], 1), np.stack([day_T, month_T, weekday_T], 1)


def _numbers(rng: np.random.Generator, score_T: Array, spread_T: Array) -> Array:
    """Adds noise to a score, and shows it as a number, price, count, grade or share."""
    noise_T = rng.normal(size=len(score_T)) if rng.random() < 0.7 else rng.standard_t(3, len(score_T)) / np.sqrt(3)
    noise_T = noise_T * np.exp(spread_T * rng.uniform(0.2, 0.7)) if rng.random() < 0.3 else noise_T
    y_T = _standard(score_T + noise_T * np.exp(rng.uniform(np.log(0.03), np.log(1.5))))
    form, sign, size_T = rng.random(), rng.choice([-1.0, 1.0]), np.exp(np.clip(y_T * rng.uniform(0.3, 1.2), -6, 6))
    if form < 0.2:  # prices, times
        return np.asarray(size_T * sign)
    if form < 0.25:  # counts
        return np.asarray(rng.poisson(size_T * np.exp(rng.uniform(-0.5, 3.0))), float)
    if form < 0.3:  # rounded numbers
        return np.asarray(np.floor(size_T * rng.uniform(1, 20)))
    if form < 0.4:  # grades
        return np.asarray(_levels(rng, y_T, 20) * sign)
    if form < 0.45:  # amounts that are often 0
        return np.asarray(_often_zero(rng, y_T)[1] * sign)
    return np.tanh(y_T * rng.uniform(0.5, 2.0)) if form < 0.5 else y_T  # shares, or plain numbers


def _linear(rng: np.random.Generator, x_TF: Array, count: int) -> Array:
    return x_TF @ rng.standard_t(3, (x_TF.shape[1], count))


def _curves(rng: np.random.Generator, x_TF: Array, count: int) -> Array:
    """Sums one curve of each column, most of them monotone, such as the effects of an age, a dose or a distance."""
    z_TF = (x_TF - rng.normal(size=x_TF.shape[1])) * np.exp(rng.uniform(np.log(0.3), np.log(3.0), x_TF.shape[1]))
    slow_TF = np.sign(z_TF) * np.log1p(np.abs(z_TF))
    shapes_STF = np.stack([np.tanh(z_TF), np.maximum(z_TF, 0.0), slow_TF, np.exp(-z_TF * z_TF)])
    curve_TF = np.take_along_axis(shapes_STF, rng.integers(0, len(shapes_STF), (1, 1, x_TF.shape[1])), 0)[0]
    return np.asarray(_standard(curve_TF) @ rng.standard_t(3, (x_TF.shape[1], count)))


def _trees(rng: np.random.Generator, x_TF: Array, count: int) -> Array:
    """Sums random trees, whose nodes compare a column with its value in a random row."""
    trees, depth = int(np.exp(rng.uniform(0, np.log(40)))), int(rng.integers(1, 6))
    column_MN = rng.integers(0, x_TF.shape[1], (trees, 2**depth - 1))
    border_MN = x_TF[rng.integers(0, len(x_TF), column_MN.shape), column_MN]
    node_TM, tree_M, row_T1 = np.zeros((len(x_TF), trees), int), np.arange(trees), np.arange(len(x_TF))[:, None]
    for _ in range(depth):
        node_TM = 2 * node_TM + 1 + (x_TF[row_T1, column_MN[tree_M, node_TM]] > border_MN[tree_M, node_TM])
    leaf_MNK = rng.normal(size=(trees, 2**depth, count))
    return np.asarray(leaf_MNK[tree_M, node_TM - (2**depth - 1)].sum(1))


def _smooth(rng: np.random.Generator, x_TF: Array, count: int) -> Array:
    """Samples a Gaussian process by random features (Rahimi and Recht 2007)."""
    weights_FH = rng.normal(size=(x_TF.shape[1], 64)) / np.sqrt(x_TF.shape[1])
    weights_FH *= np.exp(rng.uniform(np.log(0.2), np.log(2.0)))
    return np.asarray(np.cos(x_TF @ weights_FH + rng.uniform(0, 2 * np.pi, 64)) @ rng.normal(size=(64, count)))


def _products(rng: np.random.Generator, x_TF: Array, count: int) -> Array:
    """Sums products of pairs of columns."""
    pairs = int(rng.integers(1, 6))
    left, right = rng.integers(0, x_TF.shape[1], (2, pairs))
    product_TP = np.clip(x_TF[:, left], -4, 4) * np.clip(x_TF[:, right], -4, 4)
    return np.asarray((np.sign(product_TP) if rng.random() < 0.3 else product_TP) @ rng.normal(size=(pairs, count)))


def _nearness(rng: np.random.Generator, x_TF: Array, count: int) -> Array:
    """Scores the nearness of a row to the nearest of a few centres per score."""
    centres = int(rng.integers(1, 4))
    centre_JF = x_TF[rng.integers(0, len(x_TF), centres * count)] * rng.uniform(0.3, 1.0)
    distance_TJ = (x_TF**2).sum(1)[:, None] - 2 * x_TF @ centre_JF.T + (centre_JF**2).sum(1)
    return np.asarray(-distance_TJ.reshape(len(x_TF), count, centres).min(-1) / np.sqrt(x_TF.shape[1]))


def _scores(rng: np.random.Generator, x_TF: Array, hidden_T: Array, count: int, easy: bool) -> Array:
    """Returns standardized scores ``(T, K)`` from a few functions of the columns, in some tables of the hidden cause."""
    if easy:
        return _standard(_linear(rng, x_TF, count))
    x_TF, total_TK = np.clip(x_TF, -8, 8), np.zeros((len(x_TF), count))
    functions = (_linear, _curves, _trees, _smooth, _products, _nearness)
    terms = int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15)))
    for function in rng.choice(len(functions), terms, p=(0.2, 0.2, 0.3, 0.15, 0.1, 0.05)):
        total_TK += _standard(functions[function](rng, x_TF, count)) * rng.uniform(0.3, 1.0)
    if rng.random() < 0.3:
        total_TK += hidden_T[:, None] * rng.normal(size=count) * rng.uniform(0.1, 1.0)
    return _standard(total_TK)


def _class_ids(rng: np.random.Generator, x_TF: Array, hidden_T: Array, easy: bool) -> NDArray[np.int64]:
    """Draws class ids: the highest of several noisy scores, or intervals of one score; without rare classes."""
    classes = 2 if rng.random() < 0.5 else int(rng.integers(2, MOST_CLASSES + 1))
    noise = 0.05 if easy else float(np.exp(rng.uniform(np.log(0.05), np.log(1.5))))
    if rng.random() < 0.5:
        scores_TK = _scores(rng, x_TF, hidden_T, classes, easy) + noise * rng.gumbel(size=(len(x_TF), classes))
        ids_T = (scores_TK + rng.normal(size=classes) * rng.choice([0.0, 0.5, 1.5])).argmax(1)
    else:
        y_T = _scores(rng, x_TF, hidden_T, 1, easy)[:, 0] + noise * rng.normal(size=len(x_TF))
        intervals = classes * 2 if not easy and rng.random() < 0.2 else classes
        shares = np.cumsum(rng.dirichlet(np.full(intervals, rng.choice([0.5, 1.0, 4.0]))))[:-1]
        of_interval = np.concatenate([np.arange(classes), rng.integers(0, classes, intervals - classes)])
        ids_T = rng.permutation(of_interval)[np.searchsorted(np.quantile(y_T, shares), y_T)]
    if not easy and rng.random() < 0.15:  # wrong labels
        wrong_T = rng.random(len(ids_T)) < rng.uniform(0.01, 0.15)
        ids_T = np.where(wrong_T, rng.permutation(ids_T), ids_T)
    counts = np.bincount(ids_T, minlength=MOST_CLASSES)
    ids_T = np.where(counts[ids_T] < FEWEST_OF_A_CLASS, counts.argmax(), ids_T)
    if ids_T.min() == ids_T.max():  # a single class: split the table in two
        ids_T = (np.argsort(np.argsort(x_TF[:, 0] + 0.1 * rng.normal(size=len(x_TF)))) >= len(x_TF) // 2).astype(int)
    names_T = np.unique(ids_T, return_inverse=True)[1]
    return rng.permutation(int(names_T.max()) + 1)[names_T]


def _hide(rng: np.random.Generator, x_TF: Array) -> None:
    """Removes cells in a third of the tables, in place: at random, or where a number is high."""
    if rng.random() > 1 / 3:
        return
    for feature in np.flatnonzero(rng.random(x_TF.shape[1]) < rng.uniform(0.1, 1.0)):
        share = rng.uniform(0.01, 0.6) if rng.random() < 0.5 else rng.uniform(0.01, 0.1)
        by_chance, cells_T = rng.random() < 0.7, x_TF[:, feature]
        x_T = rng.random(len(x_TF)) if by_chance else cells_T + 0.3 * rng.normal(size=len(x_TF)) * cells_T.std()
        x_TF[x_T > np.quantile(x_T, 1 - share), feature] = np.nan
