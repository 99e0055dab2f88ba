"""The adapters of a fitted pipeline: several on one base, switched without loading the base again.

In: files, or the adapter that the fit trained. Out: the base with an active adapter, a merged one or none.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from tabtune_core.errors import AdapterError
from tabtune_core.lora.adapter_set import AdapterSet
from tabtune_core.lora.inject import LoraReport, adapter_updates, merged_copy
from tabtune_core.lora.standalone import LoraAdapter, load_lora_adapter, write_plain
from tabtune_core.models.adaptation import put_on
from tabtune_core.models.base import BaseModel, with_module
from tabtune_core.settings import LoraSettings

BASE = "base"
"""The column of the base alone in ``predict_each``, and so not the name of an adapter."""


class Factors:
    """The factors A, or the factors B, of an adapter; a copy of the module that has them has its own."""

    def __init__(self, factors: dict[str, torch.Tensor]) -> None:
        self._factors = factors

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns the factors by the path of the layer; A ``(r, in)``, B ``(out, r)``."""
        return {path: factor.detach() for path, factor in self._factors.items()}


class WithAdapters:
    """The methods of a pipeline for adapters. The adapter that the fit trained is named 'default'."""

    _base: BaseModel
    _adapters: AdapterSet
    _lora: dict[str, LoraSettings]
    _params: dict[str, Any]

    @property
    def _fitted(self) -> AdapterSet:
        """The adapters; scikit-learn's NotFittedError before a fit."""
        check_is_fitted(self)
        return self._adapters

    @property
    def model(self) -> nn.Module:
        """The upstream package's module with the active adapter.

        ``model.lora_A.state_dict()`` and ``model.lora_B.state_dict()`` have the factors of each adapted layer by its
        path, as the guide's section 10.1 saves them, A ``(r, in)`` and B ``(out, r)`` (with PiSSA those of the update,
        of twice the rank). Without an active adapter, or while it is merged, neither attribute exists.
        """
        active, merged, module = self._fitted.on
        if active is not None and not merged:
            updates = adapter_updates(module, self._adapters.report(active))
            for i, side in enumerate(("lora_A", "lora_B")):
                setattr(module, side, Factors({path: pair[i] for path, pair in updates.items()}))
        return module

    @property
    def report(self) -> LoraReport | None:
        """The layers of the active adapter, one by one; None without an adapter."""
        return None if self._fitted.active is None else self._adapters.report(self._fitted.active)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters, in the order in which they were added."""
        return self._fitted.names

    @property
    def active_adapter(self) -> str | None:
        """Name of the active adapter; None: the base alone predicts."""
        return self._fitted.active

    def set_adapter(self, name: str | None) -> None:
        """Makes an adapter the active one for all later predictions; None: the base alone. AdapterError if unknown."""
        self._fitted.set(name)

    def disable_adapter(self) -> AbstractContextManager[nn.Module]:
        """Turns all adapters off in a ``with`` block, for all threads; one set meanwhile stays active."""
        return self._fitted.disabled()

    def load_adapter(self, source: str | Path | LoraAdapter, name: str | None = None) -> str:
        """Adds an adapter to the pipeline and makes it the active one.

        It predicts with this pipeline's context rows, whatever table it was trained on.

        Args:
            source: ``lora_adapters.pt``, a run's package (zip), or what ``load_lora_adapter`` read.
            name: the adapter's name; by default the file's name without its ending.

        Returns:
            The adapter's name.

        Raises:
            AdapterError: it is for another task, base or architecture, or the name is taken; nothing is changed.
        """
        check_is_fitted(self)
        if name is None and isinstance(source, LoraAdapter):
            raise AdapterError("The adapter has no name; give it one with name=.")
        adapter = source if isinstance(source, LoraAdapter) else load_lora_adapter(source)
        name = name or Path(str(source)).stem
        if name == BASE:
            other = "Give the adapter another name with name=."
            raise AdapterError(f"{BASE!r} names the base alone in predict_each. {other}")
        adapter.check_task(self._base.task)
        if self._params["tuning_strategy"] == "base-ft":
            own = "An adapter belongs to pretrained weights, and this pipeline trained its own (base-ft)"
            raise AdapterError(f"{own}. Fit one with tuning_strategy='peft' or 'inference'.")
        if adapter.base_sha256 not in (None, self._base.source.sha256):
            own = f"this pipeline has {self._base.source.model} with {self._base.source.sha256}"
            its = f"weights of {adapter.model} with the SHA-256 {adapter.base_sha256}"
            raise AdapterError(f"The adapter was trained on {its}; {own}.")
        put_on(self._adapters, self._base, adapter.settings, adapter.tensors, name)
        self._lora[name] = adapter.settings
        return name

    def save_adapter(self, path: str | Path, name: str | None = None) -> None:
        """Writes rank, alpha, ``lora_a`` and ``lora_b`` by layer as plain tensors, as in the guide's section 10.1.

        ``torch.load(path, weights_only=True)`` reads the file; the update of a layer's weight is ``lora_b @ lora_a *
        alpha / rank`` (with rsLoRA or patterns ``* scaling``, by layer; for an embedding its transpose).
        ``load_adapter`` and ``load_lora_adapter`` read it too.

        Args:
            path: the file.
            name: which adapter; by default the active one.

        Raises:
            AdapterError: there is no adapter.
        """
        name = name or self._fitted.active
        if name is None:
            known = f"Turn one on, or name one of {', '.join(self.adapters)}."
            hint = known if self.adapters else "Fit with tuning_strategy='peft'."
            raise AdapterError(f"The pipeline has no LoRA adapter to save. {hint}")
        report = self._adapters.report(name)
        source = self._base.source
        adapter = LoraAdapter(
            settings=self._lora[name],
            tensors=self._adapters.tensors(name),
            task=self._base.task,
            model=source.model,
            base_sha256=source.sha256,
        )
        write_plain(path, adapter, report, source.licence)

    def merge_lora_weights(self) -> None:
        """Merges the active adapter into the weights; ``unmerge`` restores every bit. AdapterError without one."""
        self._fitted.merge()

    def unmerge(self) -> None:
        """Takes a merged adapter out of the weights; it stays active."""
        self._fitted.unmerge()

    def save_merged(self, path: str | Path) -> None:
        """Writes the weights with the active adapter merged, as a checkpoint that the upstream package opens.

        ``tuning_params={'checkpoint': path}`` opens it here.
        """
        active, merged, module = self._fitted.on
        with_module(self._base, module if active is None or merged else plain_copy(module)).save(Path(path))


def plain_copy(model: nn.Module) -> nn.Module:
    """Returns a copy of an adapted module with the update in its weights; AdapterError if it has no adapter."""
    plain = merged_copy(model)
    for side in ("lora_A", "lora_B"):
        plain.__dict__.pop(side, None)
    return plain
