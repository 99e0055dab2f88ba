"""Synthetic tables: numbered groups, each made from its number alone, kept on disk and shared by every model that trains.

Shape letters: B tables of one group, T rows, F features.
"""

import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tabtune_core.files.whole import in_one_move

GROUP_TABLES = 8
ROWS = (96, 400)
MAX_FEATURES, FEATURE_SHARES = (4, 8, 12, 20, 32, 48), (0.15, 0.25, 0.25, 0.17, 0.11, 0.07)
PRIORS = (("mix_scm", True), ("graph_scm", True), ("graph_scm", False))
"""Name of the prior, and whether its target is a number; a number becomes classes when a classifier asks for them."""
PRIOR_SHARES = (0.8, 0.1, 0.1)


@dataclass(frozen=True, slots=True)
class Group:
    """Tables of one shape: ``x_BTF`` and ``y_BT`` float32; ``y_BT`` holds class ids where ``is_numeric`` is false."""

    x_BTF: torch.Tensor
    y_BT: torch.Tensor
    is_numeric: bool


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """``tabicl.prior`` draws from three global generators: seeds them, and puts them back."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def make_group(seed: int, number: int) -> Group:
    """Draws the group ``number`` of the stream ``seed``."""
    from tabicl.prior import PriorDataset

    rng = np.random.default_rng([seed, number])
    prior, is_numeric = PRIORS[int(rng.choice(len(PRIORS), p=PRIOR_SHARES))]
    rows = int(np.exp(rng.uniform(*np.log(ROWS))))
    width = int(rng.choice(MAX_FEATURES, p=FEATURE_SHARES))
    with _global_seed(int(rng.integers(2**31))), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            x, y, widths, *_ = PriorDataset(
                regression=is_numeric,
                batch_size=GROUP_TABLES,
                batch_size_per_gp=GROUP_TABLES,
                min_features=2,
                max_features=width,
                max_classes=10,
                max_seq_len=rows,
                prior_type=prior,
                n_jobs=1,
            ).get_batch()
            x_BTF = torch.stack(list(x.unbind())).float()[:, :, : int(widths.max())]
            y_BT = torch.stack(list(y.unbind())).float()
            usable_B = torch.isfinite(y_BT).all(1) & (y_BT.amin(1) < y_BT.amax(1))
            if usable_B.any():
                return Group(torch.nan_to_num(x_BTF[usable_B]).clamp(-100, 100), y_BT[usable_B], is_numeric)


class Pool:
    """A folder of groups; what is missing is made on the spot, so a filler may run ahead or not at all."""

    def __init__(self, folder: Path, groups: int, seed: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.groups, self.seed = folder, groups, seed

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.seed}-{number:06d}.safetensors"

    def group(self, number: int) -> Group:
        """The group ``number``; after the last one the pool starts over."""
        number %= self.groups
        path = self._path(number)
        if not path.exists():
            made = make_group(self.seed, number)
            half = {"x": made.x_BTF.half().contiguous(), "y": made.y_BT.half().contiguous()}
            with in_one_move(path, mark=str(os.getpid())) as partial:
                save_file(half, partial, metadata={"numeric": str(made.is_numeric)})
        with safe_open(path, framework="pt") as file:
            return Group(file.get_tensor("x").float(), file.get_tensor("y").float(), file.metadata()["numeric"] == "True")

    def fill(self) -> Iterator[int]:
        """Makes every group that is missing, the last first so as not to meet a trainer, and yields how many are left."""
        for number in reversed(range(self.groups)):
            if not self._path(number).exists():
                self.group(number)
            yield number
