"""LoRA on tabular foundation models: train, compare, save and load. Names load on first use; importing this package loads no torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabtune_core.api.leaderboard import TabularLeaderboard
    from tabtune_core.api.pipeline import TabularPipeline, merge_lora_weights
    from tabtune_core.data.table import read_table
    from tabtune_core.engine.adapted_model import AdaptedModel, load_adapter
    from tabtune_core.errors import TableWarning, TabTuneError
    from tabtune_core.lora.inject import inject, merge
    from tabtune_core.lora.layers import LoRALinear
    from tabtune_core.lora.standalone import LoraAdapter, load_lora_adapter
    from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings

_HOMES = {
    "AdaptedModel": "engine.adapted_model",
    "LoRALinear": "lora.layers",
    "LoraAdapter": "lora.standalone",
    "LoraSettings": "settings",
    "RunSettings": "settings",
    "SweepSettings": "settings",
    "TabTuneError": "errors",
    "TableWarning": "errors",
    "TabularLeaderboard": "api.leaderboard",
    "TabularPipeline": "api.pipeline",
    "TrainSettings": "settings",
    "inject": "lora.inject",
    "load_adapter": "engine.adapted_model",
    "load_lora_adapter": "lora.standalone",
    "merge": "lora.inject",
    "merge_lora_weights": "api.pipeline",
    "read_table": "data.table",
}

__all__ = [
    "AdaptedModel",
    "LoRALinear",
    "LoraAdapter",
    "LoraSettings",
    "RunSettings",
    "SweepSettings",
    "TabTuneError",
    "TableWarning",
    "TabularLeaderboard",
    "TabularPipeline",
    "TrainSettings",
    "inject",
    "load_adapter",
    "load_lora_adapter",
    "merge",
    "merge_lora_weights",
    "read_table",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tabtune_core' has no attribute {name!r}")
    return getattr(import_module(f"tabtune_core.{_HOMES[name]}"), name)
