"""Several adapters on one base model, switched without loading anything again.

In: a plain module, and what each adapter is. Out: a module for each adapter, over the base's weights. The base itself is never changed,
nor is an adapter that is off: both come back bit by bit, and a thread that predicts with one of them does not see another switch.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tabtune_core.errors import AdapterError
from tabtune_core.lora.attach import adapter_at, view, weight_name
from tabtune_core.lora.inject import LoraReport, bias_owner, check_numbers, inject, load_factors
from tabtune_core.lora.names import NO_RULES, TargetRules
from tabtune_core.lora.package import factor_tensors
from tabtune_core.settings import LoraSettings


@dataclass(frozen=True, slots=True)
class _Adapter:
    report: LoraReport
    module: nn.Module
    """A view of the base with the adapter on it."""


class AdapterSet:
    """Named adapters of one module, which stays on its device.

    >>> adapters = AdapterSet(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)))
    >>> for name, rank in {"small": 1, "large": 2}.items():
    ...     report = adapters.add(name, LoraSettings(rank=rank, targets=("0",)))
    >>> adapters.set("small")
    >>> print(adapters.active)
    small
    """

    def __init__(self, base: nn.Module) -> None:
        self.base = base
        """Without an adapter."""
        self._adapters: dict[str, _Adapter] = {}
        self.on: tuple[str | None, bool, nn.Module] = None, False, base
        """The adapter that is on, whether it is in the weights, and the module that has it: changed all at once."""

    @property
    def active(self) -> str | None:
        """The adapter that is on."""
        return self.on[0]

    @property
    def merged(self) -> bool:
        """Whether it is in the weights."""
        return self.on[1]

    @property
    def module(self) -> nn.Module:
        """The module with the active adapter; a caller keeps this one, whatever is turned on later."""
        return self.on[2]

    def add(
        self, name: str, lora: LoraSettings, rules: TargetRules = NO_RULES, tensors: Mapping[str, torch.Tensor] | None = None
    ) -> LoraReport:
        """Makes an adapter and turns it on.

        Args:
            name: to call it by.
            lora: what the adapter is.
            rules: of its module, as ``inject`` takes them.
            tensors: its values, as an adapter package has them; fresh ones unless given.

        Raises:
            AdapterError: the name is taken, or the tensors belong to another adapter; the set is as it was.
            TargetError: see ``inject``; the set is as it was.
        """
        if name in self._adapters:
            raise AdapterError(f"There is an adapter {name!r} already. Choose another name.")
        module = view(self.base)
        report = inject(module, lora, rules, from_file=tensors is not None)
        for bias in report.biases:
            owner, attribute = bias_owner(module, bias)
            of_base = owner.get_parameter(attribute).requires_grad_(False)
            setattr(owner, attribute, nn.Parameter(of_base.detach().clone()))
        if tensors is not None:
            load_factors(module, report, tensors)
        self._adapters[name] = _Adapter(report, module)
        self.set(name)
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
        self.on = name, False, self.module_of(name)

    def module_of(self, name: str | None) -> nn.Module:
        """With an adapter, or None: the base alone; nothing is turned on or off.

        Raises:
            AdapterError: there is none of that name.
        """
        return self.base if name is None else self._get(name).module

    @property
    def names(self) -> tuple[str, ...]:
        """In the order in which they were added."""
        return tuple(self._adapters)

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """Copies on the CPU of everything that trained of an adapter, as ``add`` takes them.

        Raises:
            AdapterError: there is none of that name.
        """
        adapter = self._get(name)
        return factor_tensors(adapter.module, adapter.report)

    def merge(self) -> None:
        """Puts the active adapter into the weights: predictions cost what the base's cost.

        Raises:
            AdapterError: no adapter is on, or merging would put NaN or Infinity into a weight.
        """
        if self.active is None:
            raise AdapterError(f"No adapter is on. Turn one on first: {self._names()}.")
        name, adapter, module = self.active, self._get(self.active), view(self.base)
        parameters: dict[str, torch.Tensor] = {}
        for path in (layer.path for layer in adapter.report.layers):
            weight = self.base.get_parameter(weight_name(path))
            parameters[weight_name(path)] = adapter_at(adapter.module, path).updated(weight).detach()
        for bias in adapter.report.biases:
            owner, attribute = bias_owner(adapter.module, bias)
            parameters[bias] = owner.get_parameter(attribute).detach()
        check_numbers(parameters, "Merged, it would damage the model.")
        for path, parameter in parameters.items():
            part, _, attribute = path.rpartition(".")
            setattr(module.get_submodule(part), attribute, nn.Parameter(parameter, requires_grad=False))
        self.on = name, True, module

    def unmerge(self) -> None:
        """Takes the active adapter out of the weights again; it stays on."""
        self.set(self.active)

    def _get(self, name: str) -> _Adapter:
        if name not in self._adapters:
            raise AdapterError(f"There is no adapter {name!r}; there are {self._names()}.")
        return self._adapters[name]

    def _names(self) -> str:
        return ", ".join(map(repr, self._adapters)) or "none yet"
