"""The adapter that settings describe, on a base model.

In: a base model, LoRA settings. Out: what ``inject``, or an ``AdapterSet``, needs to know; or the model with the adapter on it.
"""

from collections.abc import Mapping
from typing import Any

import torch

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.inject import LoraReport, inject, load_factors, take_off
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import LoraSettings, RunSettings

OWN = "default"
"""What the adapter that a fit trains is called, as in PEFT."""


def adapt(model: BaseModel, settings: RunSettings, tensors: Mapping[str, torch.Tensor] | None = None) -> LoraReport:
    """Puts the adapter that the settings describe on a model: a fresh one, or with the tensors of a package.

    Raises:
        AdapterError: the tensors are not those of such an adapter on this model.
        TargetError: a fresh one cannot be made so.
    """
    try:
        report = inject(model.module, from_file=tensors is not None, **adapter_arguments(model, settings.lora))
    except TargetError as error:
        if tensors is None:
            raise
        raise AdapterError(f"The adapter does not fit {model.source.model}: {error}") from error
    if tensors is not None:
        try:
            load_factors(model.module, report, tensors)
        except BaseException:
            take_off(model.module)
            raise
    return report


def adapter_arguments(model: BaseModel, lora: LoraSettings) -> dict[str, Any]:
    """What ``inject``, or an ``AdapterSet`` of the model's module, needs to know."""
    family, paths = model.card.family, (name for name, _ in model.module.named_parameters())
    return {
        "rank": lora.rank,
        "alpha": lora.alpha,
        "dropout": lora.dropout,
        "targets": lora.targets or family.targets,
        "bias": lora.bias,
        "groups": family.groups_in(model.task, paths),
        "passed_over": family.passed_over,
        "unused": family.unused[model.task],
        "use_rslora": lora.use_rslora,
        "variant": lora.variant,
        "rank_pattern": lora.rank_pattern,
        "alpha_pattern": lora.alpha_pattern,
    }
