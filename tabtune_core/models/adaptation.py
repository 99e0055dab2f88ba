"""Puts the adapter that settings describe on a base model, fresh or with the tensors of a file."""

from collections.abc import Mapping

from torch import Tensor

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.inject import LoraReport
from tabtune_core.models.base import BaseModel
from tabtune_core.settings import LoraSettings, RunSettings

OWN = "default"
"""Name of the adapter that a fit trains, as in PEFT."""
Tensors = Mapping[str, Tensor]


def adapt(model: BaseModel, settings: RunSettings, tensors: Tensors | None = None) -> LoraReport:
    """Puts an adapter on a model as ``put_on`` does; the model gets a new module over the same weights."""
    adapters = AdapterSet(model.module)
    report = put_on(adapters, model, settings.lora, tensors)
    model.module = adapters.module
    return report


def put_on(
    adapters: AdapterSet, model: BaseModel, lora: LoraSettings, tensors: Tensors | None = None, name: str = OWN
) -> LoraReport:
    """Adds an adapter to a set on the model's module, and makes it the active one.

    With ``tensors``, its values as files have them, it only predicts, and nothing trains; a fresh adapter trains.

    Raises:
        AdapterError: the tensors do not fit these settings or this model, or the name is taken; the set is not changed.
        TargetError: the settings do not fit the model, for a fresh adapter.
    """
    rules = model.card.family.rules(model.task, (path for path, _ in adapters.base.named_parameters()))
    try:
        report = adapters.add(name, lora, rules, tensors)
    except TargetError as error:
        if tensors is None:
            raise
        raise AdapterError(f"The adapter does not fit {model.source.model}: {error}") from error
    if tensors is not None:
        adapters.module_of(name).requires_grad_(False).eval()
    return report
