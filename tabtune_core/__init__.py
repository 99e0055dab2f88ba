"""LoRA on tabular foundation models: train, compare, save and load.

Names load on first use; importing this package loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabtune_core.api.leaderboard import TabularLeaderboard as TabularLeaderboard
    from tabtune_core.api.pipeline import TabularPipeline as TabularPipeline
    from tabtune_core.api.pipeline import merge_lora_weights as merge_lora_weights
    from tabtune_core.data.table import read_table as read_table
    from tabtune_core.engine.adapted_model import AdaptedModel as AdaptedModel
    from tabtune_core.engine.adapted_model import load_adapter as load_adapter
    from tabtune_core.errors import TableWarning as TableWarning
    from tabtune_core.errors import TabTuneError as TabTuneError
    from tabtune_core.lora.inject import inject as inject
    from tabtune_core.lora.inject import merge as merge
    from tabtune_core.lora.layers import LoRALinear as LoRALinear
    from tabtune_core.lora.standalone import LoraAdapter as LoraAdapter
    from tabtune_core.lora.standalone import load_lora_adapter as load_lora_adapter
    from tabtune_core.settings import LoraSettings as LoraSettings
    from tabtune_core.settings import RunSettings as RunSettings
    from tabtune_core.settings import SweepSettings as SweepSettings
    from tabtune_core.settings import TrainSettings as TrainSettings

_HOMES = {
    name: home
    for home, names in (
        ("api.leaderboard", ["TabularLeaderboard"]),
        ("api.pipeline", ["TabularPipeline", "merge_lora_weights"]),
        ("data.table", ["read_table"]),
        ("engine.adapted_model", ["AdaptedModel", "load_adapter"]),
        ("errors", ["TabTuneError", "TableWarning"]),
        ("lora.inject", ["inject", "merge"]),
        ("lora.layers", ["LoRALinear"]),
        ("lora.standalone", ["LoraAdapter", "load_lora_adapter"]),
        ("settings", ["LoraSettings", "RunSettings", "SweepSettings", "TrainSettings"]),
    )
    for name in names
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tabtune_core' has no attribute {name!r}")
    return getattr(import_module(f"tabtune_core.{_HOMES[name]}"), name)
