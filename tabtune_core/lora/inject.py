"""Puts LoRA into a model: freezes everything, adapts the named parts, and tells layer by layer what was done.

In: a module and settings. Out: the same module, adapted in place, and a report that the optimizer and the pages trust.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from tabtune_core.errors import AdapterError, TargetError
from tabtune_core.lora.layers import LoRALinear, LowRankUpdate

Kind = Literal["linear", "weight"]


@dataclass(frozen=True, slots=True)
class AdaptedLayer:
    """One adapted weight."""

    path: str
    """Of the weight in the module, without a trailing ``.weight``."""
    target: str
    """The target that matched it."""
    kind: Kind
    """``linear`` is called (LoRALinear), ``weight`` is read (LowRankUpdate)."""
    out_features: int
    in_features: int
    rank: int
    """As used: capped at the smaller side of the weight."""
    alpha: float
    """Scaled with a capped rank, so that alpha / rank stays what was asked."""

    @property
    def parameters(self) -> int:
        """Of A and B together."""
        return self.rank * (self.in_features + self.out_features)


@dataclass(frozen=True, slots=True)
class LoraReport:
    """What an injection did."""

    layers: tuple[AdaptedLayer, ...]
    trainable_parameters: int
    total_parameters: int
    """Base and adapter together."""
    left_out: tuple[str, ...]
    """Layers under a target that were passed over because an adapter there would be larger than the weight."""

    def rows(self) -> tuple[dict[str, Any], ...]:
        """The layers as plain values."""
        return tuple({**asdict(layer), "parameters": layer.parameters} for layer in self.layers)


def adaptable_weights(module: nn.Module) -> Iterator[tuple[str, Kind, nn.Module, str, torch.Tensor]]:
    """Yields ``(path, kind, owner, attribute, weight)`` of every weight that LoRA can reach.

    A plain ``nn.Linear`` is called. Its subclasses (attention's output projection, layers that take class ids or skip rows) and
    attention's packed projection are read or called in other ways, so that only their weight can be updated.
    """
    for path, child in module.named_modules():
        if isinstance(child, nn.Linear):
            kind: Kind = "linear" if type(child) is nn.Linear else "weight"
            yield path, kind, child, "weight", child.weight
        elif isinstance(child, nn.MultiheadAttention) and child.in_proj_weight is not None:
            yield f"{path}.in_proj_weight", "weight", child, "in_proj_weight", child.in_proj_weight


def _under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + ".")


def resolve_targets(targets: Sequence[str], groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Path prefixes that each target stands for: a group name stands for its parts, anything else for itself."""
    return {target: tuple(groups.get(target, (target,))) for target in targets}


def inject(
    module: nn.Module,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
    groups: Mapping[str, Sequence[str]] | None = None,
    passed_over: Sequence[str] = (),
) -> LoraReport:
    """Freezes ``module`` and adapts the weights under ``targets`` in place.

    Args:
        module: the base model.
        rank: width of the factors, capped in each layer at the smaller side of its weight.
        alpha: the update is scaled by alpha / rank.
        dropout: on the input of A, while training.
        targets: layer names, path prefixes or group names.
        groups: names for several parts.
        passed_over: parts of a path that are adapted only when a target names them.

    Raises:
        TargetError: a target that matches nothing, or a rank above the cap of every target.
    """
    prefixes = resolve_targets(targets, groups or {})
    found: dict[str, list[tuple[str, Kind, nn.Module, str, torch.Tensor]]] = {target: [] for target in targets}
    left_out, everything = [], list(adaptable_weights(module))
    for entry in everything:
        path = entry[0]
        matches = [t for t in targets if any(_under(path, prefix) for prefix in prefixes[t]) or t in path.split(".")]
        if not matches:
            continue
        if any(part in path.split(".") and not any(part in t for t in matches) for part in passed_over):
            left_out.append(path)
        else:
            found[matches[0]].append(entry)
    _refuse_missed(prefixes, [t for t in targets if not found[t]], [entry[0] for entry in everything], left_out)
    largest = max(min(weight.shape) for entries in found.values() for *_, weight in entries)
    if rank > largest:
        raise TargetError(
            f"Rank {rank} is above the cap of every target: their largest weight allows {largest}. Choose a rank up to {largest}."
        )

    module.requires_grad_(False)  # all of it: norms and packed projections are inside no wrapped layer
    total = sum(p.numel() for p in module.parameters())
    layers = []
    for target, entries in found.items():
        for path, kind, owner, attribute, weight in entries:
            capped = min(rank, *weight.shape)
            layer = AdaptedLayer(path, target, kind, weight.shape[0], weight.shape[1], capped, alpha * capped / rank)
            if kind == "linear":
                parent, _, name = path.rpartition(".")
                assert isinstance(owner, nn.Linear)
                setattr(module.get_submodule(parent), name, LoRALinear(owner, capped, layer.alpha, dropout))
            else:
                update = LowRankUpdate(weight, capped, layer.alpha, dropout).train(owner.training)
                parametrize.register_parametrization(owner, attribute, update)
                owner.parametrizations[attribute].original.requires_grad_(False)  # type: ignore[index,union-attr]
            layers.append(layer)
    trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert trainable == sum(layer.parameters for layer in layers), "something beside the adapters would be trained"
    return LoraReport(tuple(layers), trainable, total + trainable, tuple(left_out))


def _refuse_missed(prefixes: Mapping[str, Sequence[str]], missed: Sequence[str], paths: Sequence[str], left_out: Sequence[str]) -> None:
    if not missed and prefixes:
        return
    parts = sorted({".".join(path.split(".")[:2]) for path in paths})
    asked = ", ".join(repr(t) for t in missed) or "an empty list of targets"
    only_small = [path for path in left_out if any(_under(path, prefix) for t in missed for prefix in prefixes[t])]
    if only_small:
        raise TargetError(
            f"Under {asked} there are only layers smaller than an adapter would be ({', '.join(only_small)}). "
            f"Name one of them to adapt it all the same."
        )
    raise TargetError(f"No linear layer under {asked}. Parts that have some: {', '.join(parts)}.")


def adapter_factors(module: nn.Module, report: LoraReport) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """A and B of every adapted layer by path; the model's own parameters, not copies."""
    factors: dict[str, tuple[nn.Parameter, nn.Parameter]] = {}
    for layer in report.layers:
        if layer.kind == "linear":
            wrapped = module.get_submodule(layer.path)
            assert isinstance(wrapped, LoRALinear)
            a, b = wrapped.lora_A.weight, wrapped.lora_B.weight
            assert isinstance(a, nn.Parameter)
            assert isinstance(b, nn.Parameter)
            factors[layer.path] = (a, b)
        else:
            update = _update(module, layer)
            factors[layer.path] = (update.lora_A, update.lora_B)
    return factors


def _owner(module: nn.Module, layer: AdaptedLayer) -> tuple[nn.Module, str]:
    if layer.path.endswith(".in_proj_weight"):
        return module.get_submodule(layer.path.rpartition(".")[0]), "in_proj_weight"
    return module.get_submodule(layer.path), "weight"


def _update(module: nn.Module, layer: AdaptedLayer) -> LowRankUpdate:
    owner, attribute = _owner(module, layer)
    update = owner.parametrizations[attribute][0]  # type: ignore[index]
    assert isinstance(update, LowRankUpdate)
    return update


def load_factors(module: nn.Module, report: LoraReport, values: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Copies A and B of every layer into the model.

    Raises:
        AdapterError: for missing, additional or differently shaped layers; nothing has been copied then.
    """
    factors = adapter_factors(module, report)
    if factors.keys() != values.keys():
        odd = sorted(factors.keys() ^ values.keys())
        raise AdapterError(
            f"The adapter and the model disagree on {len(odd)} layers, for example {odd[0]!r}; "
            f"it belongs to another model or other targets."
        )
    for path, pair in factors.items():
        shapes, wanted = [tuple(v.shape) for v in values[path]], [tuple(p.shape) for p in pair]
        if shapes != wanted:
            raise AdapterError(f"Layer {path!r} of the adapter has shapes {shapes}, the model needs {wanted}.")
    with torch.no_grad():
        for path, pair in factors.items():
            for parameter, value in zip(pair, values[path], strict=True):
                parameter.copy_(value)


def dead_adapters(module: nn.Module, report: LoraReport) -> list[str]:
    """Layers of which neither factor received a gradient in the last backward pass; A's is zero while B is."""
    return [path for path, (_, b) in adapter_factors(module, report).items() if b.grad is None or not b.grad.any()]


def merge(module: nn.Module, report: LoraReport) -> nn.Module:
    """Adds every update to its weight in place and takes the adapters out: the upstream class's own keys are left."""
    for layer in report.layers:
        if layer.kind == "linear":
            _merge_called(module, layer.path)
        else:
            _merge_read(_owner(module, layer)[0])
    return module


def merged_copy(module: nn.Module) -> nn.Module:
    """A plain copy of an adapted module, of the same function; the module itself stays as it is.

    Raises:
        AdapterError: there is no adapter in it.
    """
    plain = copy.deepcopy(module)
    called = [path for path, child in plain.named_modules() if isinstance(child, LoRALinear)]
    read = [child for child in plain.modules() if parametrize.is_parametrized(child)]
    if not called and not read:
        raise AdapterError("The model has no LoRA adapter to merge; its weights are plain as they are.")
    for path in called:
        _merge_called(plain, path)
    for owner in read:
        _merge_read(owner)
    return plain


def _merge_called(module: nn.Module, path: str) -> None:
    parent, _, name = path.rpartition(".")
    wrapped = module.get_submodule(path)
    assert isinstance(wrapped, LoRALinear)
    setattr(module.get_submodule(parent), name, wrapped.merged())


def _merge_read(owner: nn.Module) -> None:
    """Not by torch's ``remove_parametrizations``: a copy shares its class with the original, which that would change."""
    parametrizations = owner.parametrizations
    assert isinstance(parametrizations, nn.ModuleDict)
    parametrizations.eval()  # the merged weight has no dropout in it
    weights = {attribute: getattr(owner, attribute).detach() for attribute in parametrizations}
    owner.__class__ = parametrize.type_before_parametrizations(owner)
    del owner.parametrizations
    for attribute, weight in weights.items():
        owner.register_parameter(attribute, nn.Parameter(weight, requires_grad=False))
