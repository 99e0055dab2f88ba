"""The pre-training loop.

In: a recipe and a folder. Out: a stream of steps, and files from which training can resume. Step ``n`` depends only on
the seed, ``n`` and the state, so a killed training resumes exactly. The learning rate is constant after the warm-up;
the averaged weights can be used at any time, and a decay lowers the rate in a branch of its own (warm-up, stable,
decay: Hu et al. 2024, arXiv 2404.06395).
"""

import copy
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

from tabtune_core.errors import CheckpointError
from tabtune_core.models.checkpoints import sha256_of
from tabtune_core.models.pretraining.episodes import PretrainingEpisode, Size, draw_episode
from tabtune_core.models.pretraining.families import RECIPES, Recipe
from tabtune_core.models.pretraining.held_out import held_out
from tabtune_core.models.pretraining.state import (
    STATE,
    Progress,
    check_same,
    code_now,
    read_milestone,
    read_state,
    weights_file,
    write_milestone,
    write_state,
)

EMA_DECAY = 0.998
WARMUP_STEPS, STEP_PASSES, RECENT = 50, 4, 100
SMALL = Size(128, 8)
"""Size of the tables at the first step."""
BLOCK = re.compile(r"(.*blocks)\.(\d+)\.(.*)")
GIVING = re.compile(r"(out_proj|linear2)\.(weight|bias)")
"""Weights and biases whose outputs a block of TabICL adds to its input."""


def _orthogonal(grad: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> torch.Tensor:
    """Runs the Newton-Schulz iteration of ``torch.optim.Muon``, whose bfloat16 takes thirteen times as long on a CPU
    without bfloat16.
    """
    a, b, c = coefficients
    is_tall = grad.shape[0] > grad.shape[1]
    x = grad.T if is_tall else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def make_optimizers(model: nn.Module, outer: tuple[str, ...]) -> list[torch.optim.Optimizer]:
    """Makes Muon (Jordan et al. 2024) for the hidden matrices, and AdamW for vectors and matrices next to inputs and
    outputs.
    """
    hidden = [
        p
        for n, p in model.named_parameters()
        if p.requires_grad and p.ndim == 2 and not any(part in n for part in outer)
    ]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
    muon = torch.optim.Muon(hidden, momentum=0.9, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, weight_decay=0.01)]


def rate_factor(progress: Progress) -> float:
    """Returns the learning rate as a share of the peak: linear warm-up, then 1; in a decay a linear fall to 2 %."""
    falling = 0.0 if progress.decay_from is None else (progress.step - progress.decay_from) / progress.decay_steps
    return min((progress.step - progress.fresh + 1) / WARMUP_STEPS, 1 - 0.98 * falling, 1.0)


def size_at(step: int, growth: int, full: Size) -> Size:
    """Returns the largest rows and features of a step's tables: they grow from ``SMALL`` to ``full`` by the same factor
    at every step.
    """
    part = min(1.0, step / max(1, growth))
    rows, features = (
        round(min(low, high) * (high / min(low, high)) ** part)
        for low, high in ((SMALL.rows, full.rows), (SMALL.features, full.features))
    )
    return replace(full, rows=rows, features=features)


def start_from(model: nn.Module, path: Path) -> None:
    """Copies every weight of a checkpoint that has the same name and shape in the model.

    A model with a multiple of the blocks starts as the same function: each new block copies an old one, and its output
    starts at 0.

    Raises:
        CheckpointError: the file is truncated or not a checkpoint.
    """
    given, own = _read_weights(path), model.state_dict()
    if not given.keys() & own.keys():
        raise CheckpointError(f"{path} has no weight of this model.")
    blocks = [{(match[1], match[2]) for match in map(BLOCK.fullmatch, names) if match} for names in (given, own)]
    deep, deeper = (Counter(path for path, _ in paths) for paths in blocks)
    taken = {}
    for name, weight in own.items():
        source, is_new, match = name, False, BLOCK.fullmatch(name)
        if match and (times := deeper[match[1]] // max(1, deep[match[1]])) > 1:
            source, is_new = f"{match[1]}.{int(match[2]) // times}.{match[3]}", int(match[2]) % times > 0
        if source in given and given[source].shape == weight.shape:
            taken[name] = torch.zeros_like(weight) if is_new and GIVING.search(name) else given[source]
    model.load_state_dict({**own, **taken})


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    from tabtune_core.files.damaged import refused_as
    from tabtune_core.files.torch_files import read_torch_file
    from tabtune_core.models.opened_weights import WAY_OUT, read_safetensors

    file = weights_file(path)
    with refused_as(CheckpointError, f"{file} holds no weights", WAY_OUT):
        weights: dict[str, torch.Tensor]
        weights = read_safetensors(file)[0] if file.suffix == ".safetensors" else read_torch_file(file)["state_dict"]
    return weights


class Pretraining:
    """One training in a folder, new or resumed.

    Args:
        family: a name in ``RECIPES``.
        folder: for the state, the averaged weights and the JSON file about them.
        seed, rate, growth, rows: as in ``Progress``; None: those of the state, or the defaults.
        start: weights to start from; if they are a milestone, its counters and curve continue.
        looks: steps between two evaluations on the held-out tables, which ``lists`` makes once per task.

    Raises:
        CheckpointError: the state is damaged or of another training, or the weights to start from are truncated.
    """

    def __init__(
        self,
        family: str,
        folder: Path,
        *,
        seed: int | None = None,
        rate: float | None = None,
        growth: int | None = None,
        rows: list[int] | None = None,
        start: Path | None = None,
        looks: int = 100,
        saves: int = 10,
        recipes: Mapping[str, Recipe] = RECIPES,
        lists: Callable[..., dict[str, list[PretrainingEpisode]]] = held_out,
    ) -> None:
        torch.set_num_threads(1)
        self.recipe, self.folder, self.looks, self.saves = recipes[family], folder, looks, saves
        self._lists = lists
        self.other_code = False
        """Whether other code wrote the state: the weights are valid, but later steps differ from those of an
        uninterrupted training.
        """
        self.trouble: str | None = None
        """Why the last state could not be written."""
        asked = {
            "family": family,
            "config": self.recipe.config,
            "seed": seed,
            "rate": rate,
            "growth": growth,
            "rows": rows,
        }
        torch.manual_seed(seed or 0)  # for the initial weights
        self.model = self.recipe.make()
        self.optimizers = make_optimizers(self.model, self.recipe.outer)
        if (folder / STATE).exists():
            self.progress, tensors = read_state(folder)
            check_same(self.progress, asked, folder)
            self.model.load_state_dict(tensors["model"])
            self.average = copy.deepcopy(self.model).requires_grad_(False)
            self.average.load_state_dict(tensors["average"])
            for optimizer, saved in zip(self.optimizers, tensors["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.other_code, self.progress.code = self.progress.code != code_now(), code_now()
        else:
            defaults: dict[str, Any] = {"seed": 0, "rate": 1e-3, "growth": 4000, "code": code_now()}
            self.progress = Progress(
                **{**defaults, **{name: value for name, value in asked.items() if value is not None}}
            )
            if start is not None:
                self._start(start, asked)
            self.average = copy.deepcopy(self.model).requires_grad_(False)

    def _start(self, start: Path, asked: Mapping[str, Any]) -> None:
        if not weights_file(start).is_file():
            raise CheckpointError(
                f"There are no weights at {start} to begin with. Name another file, or leave --start out."
            )
        if (led := read_milestone(start)) is not None:
            check_same(led, {"family": asked["family"], "config": asked["config"]}, start)
            chosen = {name: asked[name] for name in ("seed", "rate", "growth", "rows") if asked[name] is not None}
            self.progress = replace(
                led, fresh=led.step, decay_from=None, decay_steps=0, losses=[], code=code_now(), **chosen
            )
        self.progress.started_from = sha256_of(weights_file(start))
        start_from(self.model, start)

    def steps(self, until: int | None = None) -> Iterator[Progress]:
        """Trains, and yields the progress after each step: until step ``until``, the end of a decay, or without end.

        Saves regularly. If a state cannot be written, the previous one stays and writing is tried again later.

        Raises:
            MissingPackageError: the held-out tables need a package that is not installed.
        """
        progress = self.progress
        self._drawn = {task: self._lists(self._size, classes=task == "classes") for task in self.recipe.losses}
        end = min((step for step in (until, self._end) if step is not None), default=None)
        if not progress.history:
            self._look()
            self.save()
        started = time.process_time()
        while end is None or progress.step < end:
            progress.losses = [*progress.losses, self._step()][-RECENT:]
            progress.step += 1
            now = time.process_time()
            progress.seconds, started = progress.seconds + now - started, now
            if progress.step == self._end:
                self._round()
            if progress.step % self.looks == 0 or progress.step == end:
                self._look()
                started = time.process_time()  # evaluations do not count as training time
            if progress.step % self.saves == 0 or progress.step == end:
                self.save()
            yield progress

    @property
    def _end(self) -> int | None:
        return None if self.progress.decay_from is None else self.progress.decay_from + self.progress.decay_steps

    @property
    def _size(self) -> Size:
        size, rows = self.recipe.size, self.progress.rows
        return size if rows is None else replace(size, fewest_rows=rows[0], rows=rows[1])

    def _step(self) -> float:
        """Runs one step of all optimizers; returns the mean loss of its passes."""
        progress, losses, tasks = self.progress, [], list(self.recipe.losses)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = progress.rate * rate_factor(progress)
        for number in range(STEP_PASSES):
            rng, task = (
                np.random.default_rng([progress.seed, progress.step, number]),
                tasks[(progress.step + number) % len(tasks)],
            )
            size = size_at(progress.step, progress.growth, self._size)
            episode = draw_episode(rng, size, classes=task == "classes")
            progress.tables += len(episode.x_BTF)
            loss = self.recipe.losses[task](self.model, episode)
            if torch.isfinite(loss):  # NaN if no query row of the pass could be scored
                (loss / STEP_PASSES).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.item())
        usable = torch.isfinite(nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        for optimizer in self.optimizers:
            if usable:  # otherwise the step would make all weights NaN
                with patch("torch.optim._muon._zeropower_via_newtonschulz", _orthogonal):
                    optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._follow(min(EMA_DECAY, (progress.step - progress.fresh + 1) / (progress.step - progress.fresh + 11)))
        return float(np.mean(losses or [np.nan]))

    def _follow(self, decay: float) -> None:
        """Updates the averaged weights: an exponential moving average of the model's."""
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _round(self) -> None:
        """Rounds the averaged weights to bfloat16, the type of weights for use: half the size, and no loss that could
        be measured.
        """
        with torch.no_grad():
            for mean in self.average.state_dict().values():
                mean.copy_(mean.bfloat16())

    def _look(self) -> None:
        """Adds the loss of the averaged weights on held-out tables to the history."""
        progress, losses = self.progress, {}
        for task, loss in self.recipe.losses.items():
            with torch.no_grad():
                losses[task] = {
                    name: float(np.mean([loss(self.average, episode).item() for episode in episodes]))
                    for name, episodes in self._drawn[task].items()
                }
        size = size_at(progress.step, progress.growth, self._size)
        of_training = float(np.nanmean(progress.losses)) if progress.losses else None
        counters = {
            "step": progress.step,
            "tables": progress.tables,
            "hours": round(progress.hours, 4),
            "rows": size.rows,
        }
        progress.history.append(
            {**counters, "rate": progress.rate * rate_factor(progress), "loss": of_training, "held_out": losses}
        )

    def save(self) -> None:
        """Writes the state, the averaged weights and their JSON file; if that fails, as on a full disk, sets
        ``trouble``.
        """
        tensors = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        average = self.average if self.progress.step != self._end else copy.deepcopy(self.average).bfloat16()
        weights, save = self.folder / self.recipe.file, partial(self.recipe.save, average, self.recipe.config)
        try:
            write_state(
                self.folder,
                self.progress,
                {**tensors, "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]},
            )
            write_milestone(weights, save, self.progress)
            self.trouble = None
        except (OSError, RuntimeError) as error:  # the second is torch's own for a full disk
            self.trouble = f"The state could not be written, the one before stays: {error}"


def begin_decay(folder: Path, branch: Path, steps: int, rows: list[int] | None = None) -> None:
    """Copies the state of ``folder`` into ``branch``, for a decay of ``steps`` steps there; keeps a state that
    ``branch`` already has.

    ``rows`` are those of ``Progress``, for the decay; None: as in ``folder``.

    Raises:
        CheckpointError: ``folder`` has no valid state.
    """
    if (branch / STATE).exists():
        return
    if not (folder / STATE).exists():
        raise CheckpointError(f"There is no training in {folder} whose rate could fall. Train there first.")
    progress, tensors = read_state(folder)
    branch.mkdir(parents=True, exist_ok=True)
    write_state(
        branch, replace(progress, decay_from=progress.step, decay_steps=steps, rows=rows or progress.rows), tensors
    )
