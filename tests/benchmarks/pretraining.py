"""Pre-trains a small base model on synthetic tables, from random weights or those of ``--start``.

``python tests/benchmarks/pretraining.py tabicl-mini FOLDER --steps 2000 --decay 200`` writes averaged weights in the
upstream package's own schema, ``state.pt``, from which the same command resumes, and ``curve.json`` with the loss on
held-out tables. Step ``n`` depends only on the seed, ``n`` and the state.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes, V bins or
quantiles.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import tiny
import torch
from safetensors.torch import load_file
from synthetic_tables import MOST_CLASSES, Array, draw_table
from torch import nn
from torch.nn import functional as F

from tabtune_core.files.whole import in_one_move
from tabtune_core.models.mitra.family import MITRA_MINI_CLASSIFIER, MITRA_MINI_REGRESSOR
from tabtune_core.models.mitra.model import outputs_of
from tabtune_core.models.tabdpt.family import TABDPT_MINI
from tabtune_core.models.tabicl.family import MINI, MINI_REGRESSOR
from tabtune_core.models.tabicl.lean_forward import lean
from tabtune_core.models.tabicl.model import TEMPERATURE

NOT_SCORED, OUTLYING = -100, 4.0  # the second: standard deviations beyond which tabicl softly clips numbers
CELLS, MOST_TABLES, FEWEST_ROWS, FEWEST_FEATURES = 48_000, 16, 64, 2  # the first: cells of one pass
HELD_OUT_SEED, HELD_OUT_EPISODES = 2**40, 8
EMA_DECAY, WARMUP_STEPS, STEP_PASSES, LOOKS = 0.998, 50, 4, 100
SMALLEST = (128, 8)  # rows and features of the tables at the first step


@dataclass(frozen=True)
class Episode:
    """``x_BTF``; ``y_BC`` of the context; ``targets_BQ``; for classes also their number in each table."""

    x_BTF: torch.Tensor
    y_BC: torch.Tensor
    targets_BQ: torch.Tensor
    classes_B: torch.Tensor | None = None


def draw_episode(rng: np.random.Generator, rows: int, features: int, *, classes: bool) -> Episode:
    """Draws tables with log-uniform numbers of rows and features; 30 to 80 % of the rows are the context."""
    rows, features = (
        int(np.exp(rng.uniform(np.log(min(low, high)), np.log(high + 1))))
        for low, high in ((FEWEST_ROWS, rows), (FEWEST_FEATURES, features))
    )
    count = min(MOST_TABLES, max(1, round(CELLS / rows / features)))
    tables = [draw_table(rng, rows, features, classes=classes) for _ in range(count)]
    context = int(rows * rng.uniform(0.3, 0.8))
    x_BTF = torch.from_numpy(np.stack([_preprocessed(x_TF, context) for x_TF, _ in tables])).float()
    y_BT = torch.from_numpy(np.stack([y_T for _, y_T in tables]))
    if classes:  # query rows of a class that the context lacks are not scored
        y_BT = y_BT.long()
        seen_BK = torch.zeros(count, MOST_CLASSES, dtype=torch.bool).scatter_(1, y_BT[:, :context], True)
        targets_BQ = y_BT[:, context:].masked_fill(~seen_BK.gather(1, y_BT[:, context:]), NOT_SCORED)
        return Episode(x_BTF, y_BT[:, :context].float(), targets_BQ, y_BT.amax(1) + 1)
    mean_B1, std_B1 = y_BT[:, :context].mean(1, keepdim=True), y_BT[:, :context].std(1, keepdim=True)
    usable_B = std_B1[:, 0] > 1e-3 * y_BT.std(1)  # without tables whose context is constant
    y_BT = ((y_BT - mean_B1) / (std_B1 + 1e-6)).clamp(-10, 10).float()[usable_B]
    return Episode(x_BTF[usable_B], y_BT[:, :context], y_BT[:, context:])


def _preprocessed(x_TF: Array, context: int) -> Array:
    """Fills missing cells with the context's mean, standardizes and softly clips outliers, as ``tabicl`` does."""
    x_TF = np.where(np.isnan(x_TF[:context]).all(0), 0.0, x_TF)
    mean_F = np.nanmean(x_TF[:context], axis=0)
    x_TF = np.where(np.isnan(x_TF), mean_F, x_TF)
    x_TF = np.clip((x_TF - mean_F) / (x_TF[:context].std(0) + 1e-6), -100, 100)
    inside_CF = np.where(np.abs(x_TF[:context]) > OUTLYING, np.nan, x_TF[:context])
    middle_F, reach_F = np.nanmean(inside_CF, axis=0), OUTLYING * np.maximum(np.nanstd(inside_CF, axis=0, ddof=1), 1e-6)
    x_TF = np.maximum(middle_F - reach_F - np.log1p(np.abs(x_TF)), x_TF)
    return np.asarray(np.minimum(middle_F + reach_F + np.log1p(np.abs(x_TF)), x_TF))


def class_loss(logits_BQK: torch.Tensor, episode: Episode) -> torch.Tensor:
    """Computes the mean cross-entropy (nats) over the classes of each table."""
    beyond_B1K = torch.arange(logits_BQK.shape[-1]) >= episode.classes_B[:, None, None]
    logits_BQK = logits_BQK.masked_fill(beyond_B1K, float("-inf"))
    return F.cross_entropy(logits_BQK.flatten(0, 1), episode.targets_BQ.flatten(), ignore_index=NOT_SCORED)


def tabicl_classes(model: nn.Module, episode: Episode) -> torch.Tensor:
    """The cross-entropy (nats) at the temperature of predictions."""
    return class_loss(model(episode.x_BTF, episode.y_BC) / TEMPERATURE, episode)


def tabicl_numbers(model: nn.Module, episode: Episode) -> torch.Tensor:
    """The pinball loss over the quantiles 1/(V+1) to V/(V+1), in standard deviations of the context's target."""
    quantiles_BQV = model(episode.x_BTF, episode.y_BC)
    level_V = torch.linspace(0, 1, quantiles_BQV.shape[-1] + 2)[1:-1]
    gap_BQV = episode.targets_BQ[..., None] - quantiles_BQV
    return torch.maximum(level_V * gap_BQV, (level_V - 1) * gap_BQV).mean()


DPT = TABDPT_MINI["model"]


def _tabdpt_logits(model: nn.Module, episode: Episode, is_class: bool) -> torch.Tensor:
    padded_BTF = F.pad(episode.x_BTF, (0, DPT["max_num_features"] - episode.x_BTF.shape[2]))
    return model(padded_BTF, episode.y_BC, is_class).transpose(0, 1)


def tabdpt_classes(model: nn.Module, episode: Episode) -> torch.Tensor:
    return class_loss(_tabdpt_logits(model, episode, True)[..., : DPT["max_num_classes"]], episode)


def tabdpt_numbers(model: nn.Module, episode: Episode) -> torch.Tensor:
    """The cross-entropy (nats); a target is shared between the two nearest bin centres, so the expectation is exact."""
    logits_BQV = _tabdpt_logits(model, episode, False)[..., DPT["max_num_classes"] :]
    low, high, count = DPT["regression_bin_min"], DPT["regression_bin_max"], DPT["regression_bin_count"]
    place_BQ = ((episode.targets_BQ - low) / (high - low) * count - 0.5).clamp(0, count - 1.001)
    left_BQ = place_BQ.floor()
    near_BQ2 = torch.stack([left_BQ, left_BQ + 1], -1).long()
    share_BQ2 = torch.stack([left_BQ + 1 - place_BQ, place_BQ - left_BQ], -1)
    return -(logits_BQV.log_softmax(-1).gather(-1, near_BQ2) * share_BQ2).sum(-1).mean()


def mitra_classes(model: nn.Module, episode: Episode) -> torch.Tensor:
    return class_loss(outputs_of(model, episode.x_BTF, episode.y_BC), episode)


def mitra_numbers(model: nn.Module, episode: Episode) -> torch.Tensor:
    """The Huber loss on standardized targets; the model's input and output use the context's min-max scale."""
    low_B1, high_B1 = episode.y_BC.amin(1, keepdim=True), episode.y_BC.amax(1, keepdim=True)
    outputs_BQ = outputs_of(model, episode.x_BTF, (episode.y_BC - low_B1) / (high_B1 - low_B1))
    return F.huber_loss(outputs_BQ * (high_B1 - low_B1) + low_B1, episode.targets_BQ)


@dataclass(frozen=True)
class Recipe:
    """One model to pre-train, with the largest rows and features of its tables.

    The passes of a step alternate between the losses, which are named ``classes`` or ``numbers``. ``outer`` are parts
    of the names of matrices next to inputs and outputs, which Muon does not train.
    """

    family: str
    file: str
    config: dict[str, Any]
    losses: dict[str, Callable[[nn.Module, Episode], torch.Tensor]]
    rows: int
    features: int
    outer: tuple[str, ...]

    def make(self) -> nn.Module:
        module = tiny.build(self.family, self.config).eval()  # TabDPT then standardizes by the context alone
        if self.family == "TabICL":
            lean(module.train())
        return module


_TABICL = 2048, 100, ("in_linear", "y_encoder", "decoder.2", "cls_tokens", "ind_vectors")
_TABDPT = 2048, 48, ("encoder.weight", "y_encoders", "head.2", "thinking_embed", "q_gate")
_MITRA = 1024, 24, ("x_embedding", "y_embedding", "y_mask", "final_layer")
_BOTH = {"classes": tabdpt_classes, "numbers": tabdpt_numbers}
RECIPES = {
    Path(recipe.file).stem: recipe
    for recipe in (
        Recipe("TabICL", "tabicl-mini.ckpt", MINI, {"classes": tabicl_classes}, *_TABICL),
        Recipe("TabICL", "tabicl-mini-regressor.ckpt", MINI_REGRESSOR, {"numbers": tabicl_numbers}, *_TABICL),
        Recipe("TabDPT", "tabdpt-mini.safetensors", TABDPT_MINI, _BOTH, *_TABDPT),
        Recipe("Mitra", "mitra-mini-classifier", MITRA_MINI_CLASSIFIER, {"classes": mitra_classes}, *_MITRA),
        Recipe("Mitra", "mitra-mini-regressor", MITRA_MINI_REGRESSOR, {"numbers": mitra_numbers}, *_MITRA),
    )
}


def make_optimizers(model: nn.Module, outer: Sequence[str]) -> list[torch.optim.Optimizer]:
    """Makes Muon (Jordan et al. 2024) for the hidden matrices, and AdamW for everything else."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    hidden = [p for name, p in trained if p.ndim == 2 and not any(part in name for part in outer)]
    rest = [p for _, p in trained if not any(p is one for one in hidden)]
    muon = torch.optim.Muon(hidden, momentum=0.9, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, weight_decay=0.01)]


class Pretraining:
    """One training in a folder, new or resumed."""

    def __init__(self, asked: argparse.Namespace) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(asked.seed)
        self.recipe, self.folder, self.asked, self.step = RECIPES[asked.family], asked.folder, asked, 0
        self.curve: list[dict[str, Any]] = []
        self.model = self.recipe.make()
        self.optimizers = make_optimizers(self.model, self.recipe.outer)
        if asked.start:
            is_plain, own = asked.start.suffix == ".safetensors", self.model.state_dict()
            given = load_file(asked.start) if is_plain else torch.load(asked.start, weights_only=True)["state_dict"]
            fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
            self.model.load_state_dict({**own, **fitting})
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        if (state_file := self.folder / "state.pt").exists():
            state = torch.load(state_file, weights_only=True)
            self.step, self.curve = state["step"], state["curve"]
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)

    def size(self) -> tuple[int, int]:
        """Most rows and features of this step's tables: they grow by the same factor at every step."""
        part = min(1.0, self.step / max(1, self.asked.growth))
        sizes = zip(SMALLEST, (self.recipe.rows, self.recipe.features), strict=True)
        return tuple(round(min(low, high) * (high / min(low, high)) ** part) for low, high in sizes)

    def rate(self) -> float:
        """Linear warm-up, the peak, then over the last ``--decay`` steps a linear fall to 2 % (arXiv 2404.06395)."""
        left = (self.asked.steps - self.step) / self.asked.decay if self.asked.decay else 1.0
        return self.asked.rate * min((self.step + 1) / WARMUP_STEPS, 0.02 + 0.98 * left, 1.0)

    def train_step(self) -> float:
        losses, tasks = [], list(self.recipe.losses)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = self.rate()
        for number in range(STEP_PASSES):
            rng = np.random.default_rng([self.asked.seed, self.step, number])
            task = tasks[(self.step + number) % len(tasks)]
            loss = self.recipe.losses[task](self.model, draw_episode(rng, *self.size(), classes=task == "classes"))
            if torch.isfinite(loss):  # NaN if no query row of the pass could be scored
                (loss / STEP_PASSES).backward()
                losses.append(loss.item())
        usable = torch.isfinite(nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        for optimizer in self.optimizers:
            if usable:  # otherwise the step would make all weights NaN
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        decay = min(EMA_DECAY, (self.step + 1) / (self.step + 11))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
                mean.lerp_(value, 1 - decay)
        self.step += 1
        return float(np.mean(losses or [np.nan]))

    def look(self, loss: float) -> None:
        """Adds the averaged weights' loss on held-out synthetic tables to the curve, and writes everything."""
        held_out = {}
        for task, of in self.recipe.losses.items():
            rngs = [np.random.default_rng([HELD_OUT_SEED, number]) for number in range(HELD_OUT_EPISODES)]
            size, classes = (self.recipe.rows, self.recipe.features), task == "classes"
            with torch.no_grad():
                drawn = [of(self.average, draw_episode(rng, *size, classes=classes)).item() for rng in rngs]
            held_out[task] = round(float(np.nanmean(drawn)), 4)
        self.curve.append({"step": self.step, "rate": self.rate(), "loss": loss, "held_out": held_out})
        print(self.curve[-1], flush=True)
        is_last = self.step == self.asked.steps  # then in the type of weights for use, of half the size
        average = copy.deepcopy(self.average).bfloat16() if is_last else self.average
        self.folder.mkdir(parents=True, exist_ok=True)
        tiny.FAMILIES[self.recipe.family][2](average, self.recipe.config, self.folder / self.recipe.file)
        (self.folder / "curve.json").write_text(json.dumps(self.curve, indent=1))
        tensors = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        with in_one_move(self.folder / "state.pt") as partial:
            torch.save({"step": self.step, "curve": self.curve, "optimizers": optimizers, **tensors}, partial)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=RECIPES)
    parser.add_argument("folder", type=Path, help="for state.pt, the averaged weights and curve.json")
    parser.add_argument("--steps", type=int, default=2000, help="in all (default: 2000)")
    parser.add_argument("--decay", type=int, default=0, help="last steps, over which the rate falls (default: 0)")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate (default: 0.001)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the tables (default: 0)")
    parser.add_argument("--growth", type=int, default=4000, help="steps in which tables grow to their full size")
    parser.add_argument("--start", type=Path, help="weights to begin with, if the folder has no state")
    asked = parser.parse_args(given)
    training = Pretraining(asked)
    while training.step < asked.steps:
        loss = training.train_step()
        if training.step % LOOKS == 0 or training.step == asked.steps:
            training.look(loss)


if __name__ == "__main__":
    main()
