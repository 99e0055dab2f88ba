"""Shared by benchmarks: full-size models with random weights, an episode of noise, and the training steps of a run."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny

from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel, load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import LoraSettings, RunSettings
from tabtune_core.training.array_cache import SharedArrays
from tabtune_core.training.episodes import Episode
from tabtune_core.training.prefix_cache import SharedPrefix
from tabtune_core.training.step import Precision, episode_loss, make_optimizer, take_step

CPU = torch.device("cpu")
CLASSES, CONTEXT_SHARE = 3, 0.8


def random_weights(name: str, folder: Path) -> Path:
    """A checkpoint with a model's architecture and random weights, in the released format; written once per folder."""
    card, path = get_card(name), folder / name
    if not path.exists():
        config = card.weights_for("classification").config
        torch.manual_seed(0)
        tiny.FAMILIES[card.family.name][2](tiny.build(card.family.name, config), config, path)
    return path / "model.safetensors" if path.is_dir() else path


def opened(name: str, folder: Path, device: torch.device = CPU) -> BaseModel:
    """A classifier: a mini with its own weights, a full-size model with random ones."""
    return load_model(
        get_card(name), "classification", device, None if "mini" in name else random_weights(name, folder)
    )


def noise(rows: int, features: int) -> Episode:
    rng, context = np.random.default_rng(0), round(CONTEXT_SHARE * rows)
    y_T = np.arange(rows) % CLASSES
    return Episode(rng.normal(size=(rows, features)).astype(np.float32), y_T[:context], y_T[context:])


@dataclass(slots=True)
class Steps:
    """A model that trains step by step, as a run does."""

    model: BaseModel
    targets: tuple[str, ...] | None
    """LoRA's targets, empty for the model's own; None trains every parameter that requires a gradient."""
    cache: Path | None = None
    """Folder for the cached outputs of frozen parts."""
    rank: int = 8
    dropout: float = 0.0
    optimizer: torch.optim.Optimizer = field(init=False)
    _open: ExitStack = field(init=False, default_factory=ExitStack)

    def __post_init__(self) -> None:
        name = self.model.card.name
        if self.targets is not None:
            lora = LoraSettings(rank=self.rank, dropout=self.dropout, targets=self.targets)
            adapt(self.model, RunSettings(dataset="-", target="-", model=name, lora=lora))
        module = self.model.module
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            named, optimizer="adamw", learning_rate=2e-5, weight_decay=0.01, betas=(0.9, 0.999), eps=1e-8
        )
        if self.cache is not None:
            prefix = SharedPrefix(module, self.model.card.family.code("model").stages(module), SharedArrays(self.cache))
            assert prefix.cut, "no frozen part before the trained one can be cached"
            self._open.enter_context(prefix.use())
        module.train()

    def step(self, episode: Episode, precision: Precision | None = None) -> float:
        """Does one step and returns its loss; the default precision is fp32."""
        device = next(self.model.module.parameters()).device
        precision = precision or Precision.of("off", device)
        self.optimizer.zero_grad(set_to_none=True)
        with precision.autocast():
            loss = episode_loss(self.model, episode, CLASSES, device)
        return take_step(loss, self.optimizer, clip_norm=1.0, precision=precision)[0]
