"""Small random TabICL checkpoints in the upstream schema, for tests that need the class and not its skill."""

from pathlib import Path

import torch
from tabicl._model.tabicl import TabICL
from torch import nn

from tabtune_core.models.catalogue import CATALOGUE, ModelCard

TINY = {"embed_dim": 16, "col_num_blocks": 1, "col_nhead": 2, "col_num_inds": 8, "row_num_blocks": 1, "row_nhead": 2, "row_num_cls": 2,
        "icl_num_blocks": 2, "icl_nhead": 2}  # fmt: skip


def tiny_config(card: ModelCard) -> dict:
    return {**card.config, **TINY}


def tiny_module(name: str = "tabicl-v2", seed: int = 0) -> TabICL:
    """A module whose weights are all random: upstream starts some at zero, and adapters before those would look dead."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = TabICL(**tiny_config(CATALOGUE[name]))
        for parameter in module.parameters():
            if parameter.requires_grad and parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return module


def tiny_checkpoint(path: Path, name: str = "tabicl-v2", seed: int = 0) -> Path:
    module = tiny_module(name, seed)
    torch.save({"config": tiny_config(CATALOGUE[name]), "state_dict": module.state_dict()}, path)
    return path
