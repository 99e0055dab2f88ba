"""Held-out synthetic tables: choices are made by the loss on them. No real table is among them.

In: a task. Out: lists of episodes by name, the same at every call and in every process. ``other prior`` holds tables of
``tabicl``'s own generator, which training never uses: they show whether a model only learnt the quirks of our
generator. Needs the extra ``pretrain`` (xgboost, for trees).
"""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import torch

from tabtune_core.errors import MissingPackageError
from tabtune_core.models.pretraining.episodes import PretrainingEpisode, Size, draw_episode, read_episode

SEED = 2**40
"""First number of the held-out seeds, larger than the seeds of trainings."""
OTHER = "other prior"
ROWS = {
    "to 256 rows": (64, 256),
    "to 1,024 rows": (257, 1024),
    "to 2,048 rows": (1025, 2048),
    "to 4,096 rows": (2049, 4096),
}
PRIORS = ("mlp_scm", "tree_scm")
"""Without ``graph_scm``, which depends on the order of a set of strings, so its tables differ between processes."""


def held_out(size: Size, *, classes: bool, episodes: int = 8) -> dict[str, list[PretrainingEpisode]]:
    """Draws ``episodes`` episodes for each range of rows within the size, and half as many of the other prior.

    Raises:
        MissingPackageError: xgboost is not installed.
    """
    if find_spec("xgboost") is None:
        raise MissingPackageError("Some held-out tables need xgboost. Run: pip install 'tabtune-dashboard[pretrain]'")
    lists = {}
    for number, (name, (low, high)) in enumerate(ROWS.items()):
        bounds = Size(min(high, size.rows), size.features, fewest_rows=low)
        seeds = [[SEED, number, i] for i in range(episodes)] if low < size.rows else []
        lists[name] = [draw_episode(np.random.default_rng(seed), bounds, classes=classes) for seed in seeds]
    lists[OTHER] = [
        _other(i, min(1024, size.rows), min(50, size.features), classes=classes) for i in range((episodes + 1) // 2)
    ]
    return {name: drawn for name, drawn in lists.items() if drawn}


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """Seeds the three global generators that ``tabicl.prior`` uses, and restores their states."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def _other(number: int, most_rows: int, features: int, *, classes: bool) -> PretrainingEpisode:
    from tabicl.prior import PriorDataset

    rng = np.random.default_rng([SEED, 3, number])  # however many ROWS there are: the tables of earlier curves
    rows = int(np.exp(rng.uniform(np.log(96), np.log(most_rows + 1))))
    with _global_seed(number), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            x, y, widths, *_ = PriorDataset(
                regression=not classes,
                batch_size=4,
                batch_size_per_gp=4,
                max_features=features,
                max_classes=10,
                max_seq_len=rows,
                prior_type=PRIORS[number % len(PRIORS)],
                n_jobs=1,
            ).get_batch()
            x_BTF = torch.stack(list(x.unbind())).double()[:, :, : int(widths.max())]
            y_BT = torch.stack(list(y.unbind())).double()
            usable_B = torch.isfinite(y_BT).all(1) & (y_BT.amin(1) < y_BT.amax(1))
            if usable_B.any():
                x_BTF = torch.nan_to_num(x_BTF[usable_B]).clamp(-100, 100)
                return read_episode(list(x_BTF.numpy()), list(y_BT[usable_B].numpy()), rows // 2, classes=classes)
