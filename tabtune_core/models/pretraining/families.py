"""The models that can be pre-trained, one recipe each: how to build it, its losses, and how to save it.

Shape letters: B tables, T rows (context, then query), C context rows, Q query rows, F features, K classes, V bins or
quantiles.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from tabtune_core.models.mitra.family import MITRA_MINI_CLASSIFIER, MITRA_MINI_REGRESSOR
from tabtune_core.models.pretraining.episodes import PretrainingEpisode, Size, class_loss
from tabtune_core.models.tabdpt.family import TABDPT_MINI
from tabtune_core.models.tabicl.family import MINI, MINI_REGRESSOR

Loss = Callable[[nn.Module, PretrainingEpisode], torch.Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One model to pre-train."""

    file: str
    """File or folder of the weights."""
    config: dict[str, Any]
    """Architecture, as arguments of the upstream class; a state of another architecture is refused."""
    build: Callable[[dict[str, Any]], nn.Module]
    losses: dict[str, Loss]
    """Losses by ``classes`` or ``numbers``; the passes of a step alternate between them."""
    save: Callable[[nn.Module, dict[str, Any], Path], None]
    outer: tuple[str, ...]
    """Parts of the names of matrices next to inputs and outputs, which Muon does not train."""
    size: Size
    """Full size of its tables."""

    def make(self) -> nn.Module:
        """Builds the module with random weights, ready to train."""
        return self.build(self.config)


def _tabicl(config: dict[str, Any]) -> nn.Module:
    from tabicl._model.tabicl import TabICL

    from tabtune_core.models.tabicl.lean_forward import lean

    module: nn.Module = TabICL(**config).train()
    lean(module)
    return module


def tabicl_class_loss(model: nn.Module, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes the cross-entropy (nats) at the temperature of predictions."""
    from tabtune_core.models.tabicl.model import TEMPERATURE

    return class_loss(model(episode.x_BTF, episode.y_BC) / TEMPERATURE, episode)


def tabicl_number_loss(model: nn.Module, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes the pinball loss over the quantiles 1/(V+1) to V/(V+1), in standard deviations of the context's target."""
    quantiles_BQV = model(episode.x_BTF, episode.y_BC)
    count = quantiles_BQV.shape[-1]
    level_V = torch.arange(1, count + 1) / (count + 1)
    gap_BQV = episode.targets_BQ[..., None] - quantiles_BQV
    return torch.maximum(level_V * gap_BQV, (level_V - 1) * gap_BQV).mean()


def _save_tabicl(module: nn.Module, config: dict[str, Any], path: Path) -> None:
    torch.save({"config": config, "state_dict": module.state_dict()}, path)


def _tabdpt(config: dict[str, Any]) -> nn.Module:
    from tabdpt.model import TabDPTModel

    part: dict[str, Any] = config["model"]
    names = dict(
        max_num_classes="n_out",
        ff_dim="nhid",
        emsize="ninp",
        max_num_features="num_features",
        min_eval_context="base_len",
        max_eval_context="max_len",
    )
    module: nn.Module = TabDPTModel(
        dropout=0.0, use_flash=False, **{names.get(name, name): value for name, value in part.items()}
    )
    return module.eval()  # only in this mode features are standardized by the context alone; there is no dropout


def _tabdpt_logits(model: nn.Module, episode: PretrainingEpisode, is_class: bool) -> torch.Tensor:
    width = TABDPT_MINI["model"]["max_num_features"]
    padded_BTF = F.pad(episode.x_BTF, (0, width - episode.x_BTF.shape[2]))
    logits: torch.Tensor = model(padded_BTF, episode.y_BC, is_class).transpose(0, 1)
    return logits


def tabdpt_class_loss(model: nn.Module, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes the cross-entropy (nats)."""
    return class_loss(_tabdpt_logits(model, episode, True)[..., : TABDPT_MINI["model"]["max_num_classes"]], episode)


def tabdpt_number_loss(model: nn.Module, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes the cross-entropy (nats); a target is shared between the two nearest bin centres, so that the
    expectation is exact.
    """
    part = TABDPT_MINI["model"]
    logits_BQV = _tabdpt_logits(model, episode, False)[..., part["max_num_classes"] :]
    low, high, count = part["regression_bin_min"], part["regression_bin_max"], part["regression_bin_count"]
    place_BQ = ((episode.targets_BQ - low) / (high - low) * count - 0.5).clamp(0, count - 1.001)
    left_BQ = place_BQ.floor()
    near_BQ2 = torch.stack([left_BQ, left_BQ + 1], -1).long()
    share_BQ2 = torch.stack([left_BQ + 1 - place_BQ, place_BQ - left_BQ], -1)
    return -(logits_BQV.log_softmax(-1).gather(-1, near_BQ2) * share_BQ2).sum(-1).mean()


def _save_tabdpt(module: nn.Module, config: dict[str, Any], path: Path) -> None:
    save_file(
        {name: value.contiguous() for name, value in module.state_dict().items()},
        path,
        metadata={"cfg": json.dumps(config)},
    )


def _mitra(config: dict[str, Any]) -> nn.Module:
    from autogluon.tabular.models.mitra._internal.models.tab2d import Tab2D

    module: nn.Module = Tab2D(**config, use_pretrained_weights=False, path_to_weights="", device="cpu")
    return module


def _mitra_output(model: nn.Module, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes outputs without upstream's recomputation, which takes a third more time to save memory that a mini does
    not need.
    """
    from autogluon.tabular.models.mitra._internal.models import tab2d

    from tabtune_core.models.mitra.model import outputs_of

    with patch.object(tab2d, "checkpoint", lambda layer, *values, use_reentrant: layer(*values)):
        return outputs_of(model, episode.x_BTF, episode.y_BC)


def mitra_class_loss(model: nn.Module, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes the cross-entropy (nats)."""
    return class_loss(_mitra_output(model, episode), episode)


def mitra_number_loss(model: nn.Module, episode: PretrainingEpisode) -> torch.Tensor:
    """Computes the Huber loss on targets standardized by the context; the model's input and output use the context's
    min-max scale.

    A squared error would give most weight to the few targets far outside of their context.
    """
    low_B1, high_B1 = episode.y_BC.amin(1, keepdim=True), episode.y_BC.amax(1, keepdim=True)
    scaled = PretrainingEpisode(episode.x_BTF, (episode.y_BC - low_B1) / (high_B1 - low_B1), episode.targets_BQ)
    return F.huber_loss(_mitra_output(model, scaled) * (high_B1 - low_B1) + low_B1, episode.targets_BQ)


def _save_mitra(module: nn.Module, config: dict[str, Any], path: Path) -> None:
    module.save_pretrained(str(path))  # type: ignore[operator]


_TABICL = Recipe(
    file="tabicl-mini.ckpt",
    config=MINI,
    build=_tabicl,
    losses={"classes": tabicl_class_loss},
    save=_save_tabicl,
    outer=("in_linear", "y_encoder", "decoder.2", "cls_tokens", "ind_vectors"),
    size=Size(2048, 100),
)
_MITRA = Recipe(
    file="mitra-mini-classifier",
    config=MITRA_MINI_CLASSIFIER,
    build=_mitra,
    losses={"classes": mitra_class_loss},
    save=_save_mitra,
    outer=("x_embedding", "y_embedding", "y_mask", "final_layer"),
    size=Size(1024, 24),
)

RECIPES: dict[str, Recipe] = {
    "tabicl-mini": _TABICL,
    "tabicl-mini-regressor": replace(
        _TABICL, file="tabicl-mini-regressor.ckpt", config=MINI_REGRESSOR, losses={"numbers": tabicl_number_loss}
    ),
    "tabdpt-mini": Recipe(
        file="tabdpt-mini.safetensors",
        config=TABDPT_MINI,
        build=_tabdpt,
        losses={"classes": tabdpt_class_loss, "numbers": tabdpt_number_loss},
        save=_save_tabdpt,
        outer=("encoder.weight", "y_encoders", "head.2", "thinking_embed", "q_gate"),
        size=Size(2048, 48),
    ),
    "mitra-mini-classifier": _MITRA,
    "mitra-mini-regressor": replace(
        _MITRA, file="mitra-mini-regressor", config=MITRA_MINI_REGRESSOR, losses={"numbers": mitra_number_loss}
    ),
}
