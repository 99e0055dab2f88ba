"""The one door for adapters: the adapter that settings describe, fresh or with the tensors of a file, on a base model.

In: a base model, LoRA settings, tensors. Out: a report, and the model with the adapter on it, or a set of adapters with one more.
"""

from collections.abc import Mapping

import torch

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.inject import LoraReport
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import LoraSettings, RunSettings

OWN = "default"
"""What the adapter that a fit trains is called, as in PEFT."""
Tensors = Mapping[str, torch.Tensor]


def adapt(model: BaseModel, settings: RunSettings, tensors: Tensors | None = None) -> LoraReport:
    """Puts an adapter on a model and gives it a new module over the same weights. Raises as ``put_on``."""
    adapters = AdapterSet(model.module)
    report = put_on(adapters, model, settings.lora, tensors)
    model.module = adapters.module
    return report


def put_on(adapters: AdapterSet, model: BaseModel, lora: LoraSettings, tensors: Tensors | None = None, name: str = OWN) -> LoraReport:
    """Adds an adapter to a set, and turns it on.

    Args:
        adapters: of the model's module.
        model: the base.
        lora: what the adapter is.
        tensors: its values, as files have them; a fresh one's unless given.
        name: to call it by.

    Raises:
        AdapterError: the tensors are not those of such an adapter on this model, or the name is taken; the set is as it was.
        TargetError: a fresh one cannot be made so.
    """
    rules = model.card.family.rules(model.task, (path for path, _ in adapters.base.named_parameters()))
    try:
        return adapters.add(name, lora, rules, tensors)
    except TargetError as error:
        if tensors is None:
            raise
        raise AdapterError(f"The adapter does not fit {model.source.model}: {error}") from error
