"""What a training step costs with the frozen parts cached, against a step of full fine-tuning on the same episode: CPU seconds, in turn.

``python tests/benchmarks/cached_step.py --models tabicl-v2 --sizes 256x10 1024x10 --targets icl_predictor late_layers`` prints Markdown; one
thread, one process. Models are full-size with random weights, in the file format of the released ones; a step is the product's own:
``episode_loss``, ``take_step`` with clipping, and AdamW. The first cached step, which makes what the others take, is not counted.

Other benchmarks call ``Steps`` for one such step.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from readme_block import markdown_table
from safetensors.torch import save_file
from torch import nn

from tabtune_core.data.episodes import Episode, EpisodeSize, draw_episodes
from tabtune_core.fitting import adapt
from tabtune_core.models.adapter import BaseModel, load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.parts import PARTS
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.loop import episode_loss, take_step
from tabtune_core.training.optimizer import make_optimizer
from tabtune_core.training.precision import Precision
from tabtune_core.training.prefix import SharedPrefix
from tabtune_core.training.shared import SharedArrays

CPU = torch.device("cpu")
CLASSES, CONTEXT_SHARE = 3, 0.8


def random_weights(model: str, folder: Path) -> Path:
    """A full-size classifier whose weights say nothing, as a file that ``load_model`` opens. Weights that start at zero are random too."""
    card = get_card(model)
    config = card.weights_for("classification").config
    torch.manual_seed(0)
    if card.family.name == "TabICL":
        from tabicl._model.tabicl import TabICL

        module, path = TabICL(**config), folder / f"{model}.ckpt"
        torch.save({"config": config, "state_dict": _all_random(module).state_dict()}, path)
    elif card.family.name == "TabDPT":
        from tabdpt.model import TabDPTModel

        other = {"emsize": "ninp", "ff_dim": "nhid", "max_num_features": "num_features", "max_num_classes": "n_out",
                 "min_eval_context": "base_len", "max_eval_context": "max_len"}  # fmt: skip
        sizes = {other.get(name, name): value for name, value in config["model"].items()}
        module, path = TabDPTModel(dropout=0.0, use_flash=False, **sizes), folder / f"{model}.safetensors"
        save_file(_all_random(module).state_dict(), path, metadata={"cfg": json.dumps(config)})
    else:
        from autogluon.tabular.models.mitra._internal.models.tab2d import Tab2D

        module, path = Tab2D(**config, use_pretrained_weights=False, path_to_weights="", device="cpu"), folder / model
        _all_random(module).save_pretrained(str(path))
    return path


def _all_random(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        if parameter.requires_grad and parameter.ndim == 2 and not parameter.any():
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return module


def episode_of(rows: int, features: int) -> Episode:
    """Noise, four fifths of it context."""
    rng, context = np.random.default_rng(0), round(CONTEXT_SHARE * rows)
    x_NF = rng.normal(size=(rows, features)).astype(np.float32)
    return next(draw_episodes(x_NF, np.arange(rows) % CLASSES, CLASSES, EpisodeSize(context, rows - context), rng))


@dataclass(slots=True)
class Steps:
    """A model that trains, step by step, as a run does. ``targets`` None is full fine-tuning; ``cache`` is a folder for frozen parts."""

    model: BaseModel
    targets: tuple[str, ...] | None
    cache: Path | None = None
    rank: int = 8
    dropout: float = LoraSettings().dropout
    optimizer: torch.optim.Optimizer = field(init=False)
    prefix: SharedPrefix | None = field(init=False, default=None)
    _open: ExitStack = field(init=False, default_factory=ExitStack)

    def __post_init__(self) -> None:
        module = self.model.module
        if self.targets is None:
            module.requires_grad_(True)
        else:
            lora = LoraSettings(rank=self.rank, dropout=self.dropout, targets=self.targets)
            adapt(self.model, RunSettings(dataset="-", target="-", model=self.model.card.name, lora=lora))
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            named, optimizer="adamw", learning_rate=1e-5, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8, lr_ratio=1.0
        )
        if self.cache is not None:
            self.prefix = SharedPrefix(module, PARTS[self.model.card.family.name](module), SharedArrays(self.cache))
            self._open.enter_context(self.prefix.use())
        module.train()

    def step(self, episode: Episode) -> float:
        """One step of a run, and its loss."""
        loss = episode_loss(self.model, episode, CLASSES, CPU)
        return take_step(loss, self.optimizer, clip_norm=1.0, precision=Precision.of("off", CPU))[0]

    def close(self) -> None:
        """Takes the cache off the model."""
        self._open.close()


def cpu_seconds() -> float:
    """Of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def in_turn(contenders: dict[str, Steps], episode: Episode, rounds: int) -> dict[str, float]:
    """Median CPU seconds of a step; each takes one step a round, after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, steps in contenders.items():
            before = cpu_seconds()
            steps.step(episode)
            if number:
                taken[name].append(cpu_seconds() - before)
    return {name: statistics.median(values) for name, values in taken.items()}


def cells(model: str, weights: Path, size: tuple[int, int], targets: list[str], rounds: int, folder: Path) -> Iterator[list[str]]:
    """Rows of the table, of one model and size of episode."""
    card, episode = get_card(model), episode_of(*size)
    contenders = {"full": Steps(load_model(card, "classification", CPU, weights), None)}
    for target in targets:
        for name, cache in ((target, None), (f"{target}, cached", folder / target)):
            contenders[name] = Steps(load_model(card, "classification", CPU, weights), (target,), cache)
    found = in_turn(contenders, episode, rounds)
    for name, seconds in found.items():
        steps = contenders[name]
        cut = steps.prefix.cut or "-" if steps.prefix else "-"
        yield [card.title, f"{size[0]} x {size[1]}", name, f"{seconds:.3f}", f"{seconds / found['full']:.3f}", cut]
        steps.close()


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=["tabicl-v2", "tabdpt-1.3", "mitra-v2"])
    parser.add_argument("--sizes", nargs="+", default=["256x10"])
    parser.add_argument("--targets", nargs="+", default=["late_layers"])
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.models:
            weights = random_weights(model, Path(folder))
            for size in asked.sizes:
                shape = (int(size.partition("x")[0]), int(size.partition("x")[2]))
                for row in cells(model, weights, shape, asked.targets, asked.rounds, Path(folder) / f"{model}-{size}"):
                    rows.append(row)
                    print(" | ".join(row), file=sys.stderr)
    print(markdown_table(["Model", "Rows x columns", "Trains", "CPU seconds a step", "Of full fine-tuning", "Cached up to"], rows))


if __name__ == "__main__":
    main()
