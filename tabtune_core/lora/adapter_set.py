"""Several adapters on one base model, switched without loading anything or changing a bit of the base."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from tabtune_core.errors import AdapterError
from tabtune_core.lora.attach import view
from tabtune_core.lora.inject import LoraReport, bias_owner, check_numbers, inject, load_factors, merge
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
        """The module without an adapter."""
        self._adapters: dict[str, _Adapter] = {}
        self.on: tuple[str | None, bool, nn.Module] = None, False, base
        """Name of the active adapter, whether it is merged, and its module: replaced in one assignment."""

    @property
    def active(self) -> str | None:
        """Name of the active adapter; None: the base alone."""
        return self.on[0]

    @property
    def merged(self) -> bool:
        """Whether the active adapter is merged into the weights."""
        return self.on[1]

    @property
    def module(self) -> nn.Module:
        """The module with the active adapter; later switches do not change it."""
        return self.on[2]

    def add(
        self, name: str, lora: LoraSettings, rules: TargetRules = NO_RULES, tensors: Mapping[str, Tensor] | None = None
    ) -> LoraReport:
        """Adds an adapter and makes it the active one.

        Args:
            name: the adapter's name.
            lora: the adapter's settings.
            rules: target rules of the module, as for ``inject``.
            tensors: its values, as in an adapter package; fresh ones by default.

        Raises:
            AdapterError: the name is taken, or the tensors belong to another adapter; the set is not changed.
            TargetError: see ``inject``; the set is not changed.
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
        """Returns the report on an adapter's layers; raises AdapterError if no adapter has that name."""
        return self._get(name).report

    def set(self, name: str | None) -> None:
        """Makes an adapter the active one; None: the base alone. Raises AdapterError for an unknown name."""
        self.on = name, False, self.module_of(name)

    @contextmanager
    def disabled(self) -> Iterator[nn.Module]:
        """Turns all adapters off in a ``with`` block, and yields the base; an adapter set meanwhile stays active."""
        before, off = self.on, (None, False, self.base)
        self.on = off
        try:
            yield self.base
        finally:
            if self.on is off:
                self.on = before

    def module_of(self, name: str | None) -> nn.Module:
        """Returns the module with an adapter, or for None the base; raises AdapterError for an unknown name."""
        return self.base if name is None else self._get(name).module

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the adapters, in the order in which they were added."""
        return tuple(self._adapters)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Returns copies on the CPU of an adapter's tensors, as ``add`` takes them."""
        adapter = self._get(name)
        return factor_tensors(adapter.module, adapter.report)

    def merge(self) -> None:
        """Merges the active adapter into the weights; raises AdapterError without one, or with NaN in a weight."""
        if self.active is None:
            raise AdapterError(f"No adapter is on. Turn one on first: {self._names()}.")
        adapter = self._get(self.active)
        module = merge(view(adapter.module), adapter.report)
        check_numbers(dict(module.named_parameters()), "Merging it would damage the model.")
        self.on = self.active, True, module

    def unmerge(self) -> None:
        """Takes the active adapter out of the weights again; it stays active."""
        if self.merged:
            self.set(self.active)

    def _get(self, name: str) -> _Adapter:
        if name not in self._adapters:
            raise AdapterError(f"There is no adapter {name!r}; there are {self._names()}.")
        return self._adapters[name]

    def _names(self) -> str:
        return ", ".join(map(repr, self._adapters)) or "none yet"
