"""Several adapters on one base model, switched without loading anything again.

In: a plain module, and what ``inject`` takes. Out: the same module with one of the adapters on it, or none. The base's own parameters
are never written to, and an adapter that is off is kept as it is: both come back bit by bit.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tabtune_core.errors import AdapterError, TabTuneError, TargetError
from tabtune_core.lora.attach import attach, detach, weight_name
from tabtune_core.lora.inject import LoraReport, check_numbers, inject, load_factors
from tabtune_core.lora.layers import LowRank
from tabtune_core.lora.package import factor_tensors

Parameters = dict[str, nn.Parameter]


@dataclass(frozen=True, slots=True)
class _Adapter:
    report: LoraReport
    layers: dict[str, LowRank]
    """By path."""
    biases: Parameters
    """By their names in the base, in whose place they are while the adapter is on."""


class AdapterSet:
    """Named adapters of one module, which stays on its device.

    >>> adapters = AdapterSet(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    >>> for name, rank in {"small": 1, "large": 2}.items():
    ...     report = adapters.add(name, rank=rank, alpha=None, dropout=0.0, targets=["0"])
    >>> adapters.set("small")
    >>> with adapters.disabled():
    ...     print(adapters.active)
    None
    >>> print(adapters.active)
    small
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.active: str | None = None
        """The adapter that is on."""
        self.merged = False
        """Whether it is in the weights."""
        self._adapters: dict[str, _Adapter] = {}
        self._base: Parameters = {}
        """Those of the base's own parameters that the module has others for at the moment."""

    def add(self, name: str, tensors: Mapping[str, torch.Tensor] | None = None, **settings: Any) -> LoraReport:
        """Makes an adapter and turns it on.

        Args:
            name: to call it by.
            tensors: its values, as an adapter package has them; fresh ones unless given.
            settings: what ``inject`` takes.

        Raises:
            AdapterError: the name is taken, or the tensors belong to another adapter; the set is as it was.
            TargetError: see ``inject``, of a fresh one; the set is as it was.
        """
        if name in self._adapters:
            raise AdapterError(f"There is an adapter {name!r} already. Choose another name.")
        before, merged = self.active, self.merged
        self.set(None)
        try:
            report = inject(self.module, from_file=tensors is not None, **settings)
            layers = {layer.path: detach(self.module, layer.path) for layer in report.layers}
            self.module.requires_grad_(False)
            biases = {bias: nn.Parameter(self.module.get_parameter(bias).detach().clone()) for bias in report.biases}
            self._adapters[name] = _Adapter(report, layers, biases)
            self.set(name)
            if tensors is not None:
                load_factors(self.module, report, tensors)
        except TabTuneError as error:
            self.set(before)
            self._adapters.pop(name, None)
            if merged:
                self.merge()
            if tensors is not None and isinstance(error, TargetError):
                raise AdapterError(f"The adapter does not fit the model: {error}") from error
            raise
        return report

    def report(self, name: str) -> LoraReport:
        """What an adapter adapts.

        Raises:
            AdapterError: there is none of that name.
        """
        return self._get(name).report

    def set(self, name: str | None) -> None:
        """Turns an adapter on and the present one off; None: the base alone.

        Raises:
            AdapterError: there is none of that name.
        """
        adapter = None if name is None else self._get(name)
        if self.active is not None and not self.merged:
            for path in self._adapters[self.active].layers:
                detach(self.module, path)
        _put(self.module, self._base)
        self._base, self.active, self.merged = {}, name, False
        if adapter is not None:
            self._base = _put(self.module, adapter.biases)
            for path, layer in adapter.layers.items():
                attach(self.module, path, layer)

    @contextmanager
    def using(self, name: str | None) -> Iterator[nn.Module]:
        """Another adapter than the present one, or the base alone, for as long as the context lasts.

        Raises:
            AdapterError: there is none of that name.
        """
        before, merged = self.active, self.merged
        self.set(name)
        try:
            yield self.module
        finally:
            self.set(before)
            if merged:
                self.merge()

    def disabled(self) -> AbstractContextManager[nn.Module]:
        """The base alone, for as long as the context lasts."""
        return self.using(None)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they were added."""
        return tuple(self._adapters)

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """Copies on the CPU of everything that trained of an adapter, as ``add`` takes them.

        Raises:
            AdapterError: there is none of that name.
        """
        with self.using(name):
            return factor_tensors(self.module, self._get(name).report)

    def merge(self) -> None:
        """Puts the active adapter into the weights: predictions cost what the base's cost.

        Raises:
            AdapterError: no adapter is on, or with it a weight would be no number.
        """
        if self.active is None:
            raise AdapterError(f"No adapter is on. Turn one on first: {self._names()}.")
        name, adapter = self.active, self._adapters[self.active]
        self.set(None)
        merged = {}
        for path, layer in adapter.layers.items():
            weight = self.module.get_parameter(weight_name(path))
            merged[weight_name(path)] = nn.Parameter(layer.updated(weight).detach(), requires_grad=False)
        try:
            check_numbers(merged | adapter.biases, "Merged, it would damage the model.")
        except AdapterError:
            self.set(name)
            raise
        self._base = _put(self.module, merged | adapter.biases)
        self.active, self.merged = name, True

    def unmerge(self) -> None:
        """Takes the active adapter out of the weights again; it stays on."""
        self.set(self.active)

    def _get(self, name: str) -> _Adapter:
        if name not in self._adapters:
            raise AdapterError(f"There is no adapter {name!r}; there are {self._names()}.")
        return self._adapters[name]

    def _names(self) -> str:
        return ", ".join(map(repr, self._adapters)) or "none yet"


def _put(module: nn.Module, parameters: Parameters) -> Parameters:
    """Puts parameters into a plain module by name, and returns those that were in their place."""
    before = {name: module.get_parameter(name) for name in parameters}
    for name, parameter in parameters.items():
        path, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(path), attribute, parameter)
    return before
