"""The adapter that settings describe, on a base model.

In: a base model, LoRA settings. Out: what ``inject``, or an ``AdapterSet``, is to be told; or the model with the adapter on it.
"""

from typing import Any

from tabtune_core.lora.inject import LoraReport, inject
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import LoraSettings, RunSettings

OWN = "default"
"""What the adapter that a fit trains is called, as in PEFT."""


def adapt(model: BaseModel, settings: RunSettings) -> LoraReport:
    """Puts the adapter that the settings describe on a model."""
    return inject(model.module, **adapter_arguments(model, settings.lora))


def adapter_arguments(model: BaseModel, lora: LoraSettings) -> dict[str, Any]:
    """What ``inject``, or an ``AdapterSet`` of the model's module, is to be told."""
    family, paths = model.card.family, (name for name, _ in model.module.named_parameters())
    return {
        "rank": lora.rank, "alpha": lora.alpha, "dropout": lora.dropout, "targets": lora.targets or family.targets, "bias": lora.bias,
        "groups": family.groups_in(model.task, paths), "passed_over": family.passed_over, "unused": family.unused[model.task],
        "use_rslora": lora.use_rslora, "use_dora": lora.use_dora, "rank_pattern": lora.rank_pattern, "alpha_pattern": lora.alpha_pattern,
    }  # fmt: skip
