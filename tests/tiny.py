"""Small random checkpoints in the upstream packages' own formats, for tests that need no trained weights."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tabtune_core.lora.inject import LoraReport, adapter_factors
from tabtune_core.models.adaptation import adapt
from tabtune_core.models.base import BaseModel
from tabtune_core.models.catalogue import CATALOGUE
from tabtune_core.settings import LoraSettings, RunSettings

TABICL = {
    **{"embed_dim": 16, "col_num_blocks": 1, "col_nhead": 2, "col_num_inds": 8, "row_num_blocks": 1},
    **{"row_nhead": 2, "row_num_cls": 2, "icl_num_blocks": 2, "icl_nhead": 2},
}


def _build_tabicl(config: dict) -> nn.Module:
    from tabicl._model.tabicl import TabICL

    return TabICL(**config)


def _save_tabicl(module: nn.Module, config: dict, path: Path) -> None:
    torch.save({"config": config, "state_dict": module.state_dict()}, path)


TABDPT = {
    "model": {
        **{"enc_cell_dim": -1, "max_num_classes": 4, "nhead": 2, "ff_dim": 32, "emsize": 32, "nlayers": 2},
        **{"regression_bin_count": 128, "regression_bin_min": -10, "regression_bin_max": 10, "max_num_features": 16},
        **{"min_eval_context": 8, "max_eval_context": 4096, "y_encoder_dim": 16},
        **{"num_col_attn_layers": 2, "n_thinking_rows": 4},
    }
}
TABDPT_NAMES = {
    **{"emsize": "ninp", "ff_dim": "nhid", "max_num_features": "num_features", "max_num_classes": "n_out"},
    **{"min_eval_context": "base_len", "max_eval_context": "max_len"},
}
"""Names of the configuration that the module calls otherwise."""


def _build_tabdpt(config: dict) -> nn.Module:
    from tabdpt.model import TabDPTModel

    sizes = {TABDPT_NAMES.get(name, name): value for name, value in config["model"].items()}
    return TabDPTModel(dropout=0.0, use_flash=False, **sizes)


def _save_tabdpt(module: nn.Module, config: dict, path: Path) -> None:
    save_file(module.state_dict(), path, metadata={"cfg": json.dumps(config)})


MITRA = {"dim": 16, "n_layers": 2, "n_heads": 4}


def _build_mitra(config: dict) -> nn.Module:
    tab2d = pytest.importorskip("autogluon.tabular.models.mitra._internal.models.tab2d", reason="Mitra needs AutoGluon")
    return tab2d.Tab2D(**config, use_pretrained_weights=False, path_to_weights="", device="cpu")


def _save_mitra(module: nn.Module, config: dict, path: Path) -> None:
    module.save_pretrained(str(path))


TABPFN = {"emsize": 24, "nlayers": 2, "nhead": 2, "num_buckets": 40}


def _build_tabpfn(config: dict) -> nn.Module:
    modules = pytest.importorskip("tabpfn.architectures", reason="TabPFN needs its package").ARCHITECTURES
    upstream = modules[re.sub(r"\W", "_", config["name"].lower())]
    return upstream.get_architecture(upstream.parse_config(config)[0])


def _save_tabpfn(module: nn.Module, config: dict, path: Path) -> None:
    """Saves in the released format: v2 without an architecture's name, and a regressor with its bars."""
    state, buckets = dict(module.state_dict()), config["num_buckets"]
    if not config["max_num_classes"]:
        state["criterion.borders"] = torch.linspace(-3, 3, buckets + 1)
        state["criterion.losses_per_bucket"] = torch.zeros(buckets)
    named = {"TabPFN-v2.5": "base", "TabPFN-v2.6": "tabpfn_v2_6"}.get(config["name"])
    torch.save({"config": config, "state_dict": state, **({"architecture_name": named} if named else {})}, path)


FAMILIES = {
    "TabICL": (TABICL, _build_tabicl, _save_tabicl),
    "TabDPT": (TABDPT, _build_tabdpt, _save_tabdpt),
    "Mitra": (MITRA, _build_mitra, _save_mitra),
    "TabPFN": (TABPFN, _build_tabpfn, _save_tabpfn),
}
"""By family: the smaller sizes, the function that builds the upstream module, and the one that saves it."""


def build(family: str, config: dict) -> nn.Module:
    """The upstream module of an architecture, for tests that need no weights."""
    return FAMILIES[family][1](config)


def tiny_config(name: str, task: str = "classification") -> dict:
    card = CATALOGUE[name]
    return {**card.weights_for(task).config, **FAMILIES[card.family.name][0]}


_BY_SIZES = {
    (card.family.name, task, str(tiny_config(name, task))): (name, task)
    for name, card in CATALOGUE.items()
    for task in card.weights
}
ARCHITECTURES = tuple(_BY_SIZES.values())
"""A model and a task of each architecture in the catalogue."""


def _is_quick(name: str, task: str) -> bool:
    """Whether a case is in the default suite: TabICL's, and one of each other family."""
    family = CATALOGUE[name].family
    first = next(name for name, card in CATALOGUE.items() if card.family is family)
    return family.name == "TabICL" or (name == first and task == "classification")


CASES = [pytest.param(case, marks=() if _is_quick(*case) else pytest.mark.slow) for case in ARCHITECTURES]


def tiny_module(name: str = "tabicl-v2", seed: int = 0, task: str = "classification") -> nn.Module:
    """A module with random weights only: adapters before weights that upstream initialises to zero have no effect."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        module = build(CATALOGUE[name].family.name, tiny_config(name, task))
        for parameter in module.parameters():
            if parameter.requires_grad and parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return module


def tiny_checkpoint(path: Path, name: str = "tabicl-v2", seed: int = 0, task: str = "classification") -> Path:
    FAMILIES[CATALOGUE[name].family.name][2](tiny_module(name, seed, task), tiny_config(name, task), path)
    return path


def needs(name: str) -> None:
    """Skips the test if the package of the model's family is not installed."""
    if not CATALOGUE[name].family.installed:
        pytest.skip(str(CATALOGUE[name].family.missing_package()))


def adapted(model: BaseModel) -> LoraReport:
    """Adapts the model's own targets, with factors far enough from their start to change its predictions."""
    lora = LoraSettings(rank=4, alpha=8, dropout=0.1)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        report = adapt(model, RunSettings(dataset="-", target="-", task=model.task, model=model.card.name, lora=lora))
    for _, b in adapter_factors(model.module, report).values():
        nn.init.normal_(b, std=0.1, generator=torch.Generator().manual_seed(1))
    model.module.eval()
    return report


UNUSED_OF_TABDPT = ("reg_y_encoders",)
"""Modules that classification never calls."""
TARGETS_OF_TABDPT = ("transformer_encoder", "encoder", "cls_y_encoders", "head")


def tiny_tabdpt(seed: int = 0) -> nn.Module:
    """Frozen and in eval(): in train() query rows see each other, and frozen layers differ in the last bit."""
    return tiny_module("tabdpt-1.3", seed).requires_grad_(False).eval()


def tabdpt_logits(module: nn.Module, seed: int = 0) -> torch.Tensor:
    """Logits ``(queries, tables, classes)`` of a random classification episode."""
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 24, 16, generator=generator), torch.randint(0, 4, (2, 16), generator=generator).float()
    return module(x, y, is_cls=True)[..., :4]
